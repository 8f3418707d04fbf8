"""The detection of voicemail, by `provider`."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.base import Number, Range, StrictModel

# The formatter would give each value a line of its own.
# fmt: off

VoicemailDetectionType = TypeAliasType("VoicemailDetectionType", Literal[
    "machine_start", "human", "fax", "unknown", "machine_end_beep", "machine_end_silence",
    "machine_end_other"
])

# fmt: on

ModelVoicemailDetectionProvider = TypeAliasType(
    "ModelVoicemailDetectionProvider", Literal["google", "openai", "vapi"]
)


class VoicemailDetectionBackoffPlan(StrictModel):
    """When and how often it is looked for."""

    start_at_seconds: Annotated[Number, Range(0)] | None = 5
    frequency_seconds: Annotated[Number, Range(2.5)] | None = 5
    max_retries: Annotated[Number, Range(1, 10)] | None = 6


class ModelVoicemailDetectionPlan(StrictModel):
    """Detection by a model that listens."""

    provider: ModelVoicemailDetectionProvider
    beep_max_await_seconds: Annotated[Number, Range(0, 30)] | None = 30
    backoff_plan: VoicemailDetectionBackoffPlan | None = None


class TwilioVoicemailDetectionPlan(StrictModel):
    """Detection by Twilio."""

    provider: Literal["twilio"]
    voicemail_detection_types: list[VoicemailDetectionType] | None = None
    enabled: bool | None = None
    machine_detection_timeout: Annotated[Number, Range(3, 59)] | None = None
    machine_detection_speech_threshold: Annotated[Number, Range(1000, 6000)] | None = None
    machine_detection_speech_end_threshold: Annotated[Number, Range(500, 5000)] | None = None
    machine_detection_silence_timeout: Annotated[Number, Range(2000, 10000)] | None = None


VoicemailDetection = Annotated[
    ModelVoicemailDetectionPlan | TwilioVoicemailDetectionPlan, Field(discriminator="provider")
]
