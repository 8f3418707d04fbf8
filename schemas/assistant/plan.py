"""The plans of an assistant that are not about turn-taking."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.assistant.choices import KeypadDelimiter, RecordingChannels, RecordingFormat, Rubric
from schemas.base import JsonObject, Number, Range, StrictModel, Text1000

_Timeout = Annotated[Number, Range(1, 60)]


class LangfuseObservabilityPlan(StrictModel):
    """Where traces go."""

    provider: Literal["langfuse"]
    tags: list[str]
    metadata: JsonObject | None = None


class CompliancePlan(StrictModel):
    """What must not be kept."""

    hipaa_enabled: bool | None = None
    pci_enabled: bool | None = None


class SmartDenoisingPlan(StrictModel):
    """Noise removal by a model."""

    enabled: bool | None = False


class FourierDenoisingPlan(StrictModel):
    """Noise removal by spectrum."""

    enabled: bool | None = False
    media_detection_enabled: bool | None = True
    static_threshold: Annotated[Number, Range(-80, 0)] | None = -35
    baseline_offset_db: Annotated[Number, Range(-30, -5)] | None = -15
    window_size_ms: Annotated[Number, Range(1000, 30000)] | None = 3000
    baseline_percentile: Annotated[Number, Range(1, 99)] | None = 85


class BackgroundSpeechDenoisingPlan(StrictModel):
    """The two ways of removing noise, in the order they run."""

    smart_denoising_plan: SmartDenoisingPlan | None = None
    fourier_denoising_plan: FourierDenoisingPlan | None = None


class SummaryPlan(StrictModel):
    """How a call is summarised."""

    messages: list[JsonObject] | None = None
    enabled: bool | None = None
    timeout_seconds: _Timeout | None = None


class StructuredDataPlan(StrictModel):
    """What is extracted from a call."""

    messages: list[JsonObject] | None = None
    enabled: bool | None = None
    # Python's models have a `schema` of their own.
    schema_: JsonObject | None = Field(
        default=None,
        validation_alias="schema",
        serialization_alias="schema",
    )
    timeout_seconds: _Timeout | None = None


class StructuredDataMultiPlan(StrictModel):
    """One extraction among several."""

    key: str
    plan: StructuredDataPlan


class SuccessEvaluationPlan(StrictModel):
    """How a call's success is judged."""

    rubric: Rubric | None = None
    messages: list[JsonObject] | None = None
    enabled: bool | None = None
    timeout_seconds: _Timeout | None = None


class AnalysisPlan(StrictModel):
    """What is done with a finished call."""

    min_messages_threshold: Annotated[Number, Range(0)] | None = None
    summary_plan: SummaryPlan | None = None
    structured_data_plan: StructuredDataPlan | None = None
    structured_data_multi_plan: list[StructuredDataMultiPlan] | None = None
    success_evaluation_plan: SuccessEvaluationPlan | None = None


class TranscriptPlan(StrictModel):
    """How a transcript names its speakers."""

    enabled: bool | None = None
    assistant_name: str | None = None
    user_name: str | None = None


class ArtifactPlan(StrictModel):
    """What is recorded, and where it is put."""

    recording_enabled: bool | None = None
    recording_format: RecordingFormat | None = None
    video_recording_enabled: bool | None = None
    pcap_enabled: bool | None = None
    pcap_s3_path_prefix: str | None = None
    transcript_plan: TranscriptPlan | None = None
    recording_path: str | None = None


class MessagePlan(StrictModel):
    """The fixed messages for a silent customer."""

    idle_messages: list[Text1000] | None = None
    idle_message_max_spoken_count: Annotated[Number, Range(1, 10)] | None = None
    idle_message_reset_count_on_user_speech_enabled: bool | None = None
    idle_timeout_seconds: Annotated[Number, Range(5, 60)] | None = None
    silence_timeout_message: Text1000 | None = None


class MonitorPlan(StrictModel):
    """Who may listen in or take control."""

    listen_enabled: bool | None = None
    listen_authentication_enabled: bool | None = None
    control_enabled: bool | None = None
    control_authentication_enabled: bool | None = None


class KeypadInputPlan(StrictModel):
    """How keys pressed on a telephone are read; the empty string is a delimiter too."""

    enabled: bool | None = None
    timeout_seconds: Annotated[Number, Range(0, 10)] | None = None
    delimiters: KeypadDelimiter | None = None


class TransportConfigurationTwilio(StrictModel):
    """How Twilio carries the call."""

    provider: Literal["twilio"]
    timeout: Annotated[Number, Range(1, 600)] | None = None
    record: bool | None = None
    recording_channels: RecordingChannels | None = None
