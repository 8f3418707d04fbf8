"""Turn-taking: when an assistant starts to speak and when it stops."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.base import Number, Range, Reason, StrictModel

RegexOptionType = TypeAliasType("RegexOptionType", Literal["ignore-case", "whole-word", "multi-line"])
OneSidedEndpointingRuleType = TypeAliasType("OneSidedEndpointingRuleType", Literal["assistant", "customer"])
SmartEndpointingProvider = TypeAliasType("SmartEndpointingProvider", Literal["vapi", "livekit"])

_Phrase = Annotated[str, Field(max_length=240)]
_Pause = Annotated[Number, Range(0, 3)]
_RuleTimeout = Annotated[Number, Range(0, 15)]

ACKNOWLEDGEMENTS = (
    *("i understand", "i see", "i got it", "i hear you", "im listening", "im with you", "right"),
    *("okay", "ok", "sure", "alright", "got it", "understood", "yeah", "yes", "uh-huh"),
    *("mm-hmm", "gotcha", "mhmm", "ah", "yeah okay", "yeah sure"),
)
INTERRUPTIONS = (
    *("stop", "shut", "up", "enough", "quiet", "silence", "but", "dont", "not", "no", "hold"),
    *("wait", "cut", "pause", "nope", "nah", "nevermind", "never", "bad", "actually"),
)


class RegexOption(StrictModel):
    """One switch of a regular expression."""

    type: RegexOptionType
    enabled: bool


class OneSidedEndpointingRule(StrictModel):
    """A rule on what the assistant or the customer said last."""

    type: OneSidedEndpointingRuleType
    regex: str
    regex_options: list[RegexOption] | None = None
    timeout_seconds: _RuleTimeout


class BothCustomEndpointingRule(StrictModel):
    """A rule on what both said last."""

    type: Literal["both"]
    assistant_regex: str
    assistant_regex_options: list[RegexOption] | None = None
    customer_regex: str
    customer_regex_options: list[RegexOption] | None = None
    timeout_seconds: _RuleTimeout


EndpointingRule = Annotated[OneSidedEndpointingRule | BothCustomEndpointingRule, Field(discriminator="type")]


class SmartEndpointingPlan(StrictModel):
    """Either variant of the plan: both take both providers, so nothing tells them apart."""

    provider: SmartEndpointingProvider
    wait_function: str | None = None


class TranscriptionEndpointingPlan(StrictModel):
    """Pauses by what the transcript ends with."""

    on_punctuation_seconds: _Pause | None = None
    on_no_punctuation_seconds: _Pause | None = None
    on_number_seconds: _Pause | None = None


class StartSpeakingPlan(StrictModel):
    """When the assistant begins."""

    wait_seconds: Annotated[Number, Range(0, 5)] | None = None
    smart_endpointing_enabled: (
        Annotated[bool | Literal["livekit"], Reason("must be true, false or 'livekit'")] | None
    ) = Field(default=None, json_schema_extra={"deprecated": True})
    smart_endpointing_plan: SmartEndpointingPlan | None = None
    custom_endpointing_rules: list[EndpointingRule] | None = None
    transcription_endpointing_plan: TranscriptionEndpointingPlan | None = None


class StopSpeakingPlan(StrictModel):
    """When the assistant lets itself be interrupted."""

    num_words: Annotated[Number, Range(0, 10)] | None = None
    voice_seconds: Annotated[Number, Range(0, 0.5)] | None = None
    backoff_seconds: Annotated[Number, Range(0, 10)] | None = None
    acknowledgement_phrases: list[_Phrase] | None = Field(default_factory=lambda: list(ACKNOWLEDGEMENTS))
    interruption_phrases: list[_Phrase] | None = Field(default_factory=lambda: list(INTERRUPTIONS))
