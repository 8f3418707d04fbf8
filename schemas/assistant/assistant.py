"""The inline assistant and the changes to it for one customer."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.assistant.analysis import AnalysisPlan
from schemas.assistant.artifact import ArtifactPlan, CompliancePlan
from schemas.assistant.credential import Credential
from schemas.assistant.denoising import BackgroundSpeechDenoisingPlan
from schemas.assistant.hook import AssistantHook
from schemas.assistant.model import Model
from schemas.assistant.monitoring import LangfuseObservabilityPlan, MonitorPlan
from schemas.assistant.silence import MessagePlan
from schemas.assistant.speaking import StartSpeakingPlan, StopSpeakingPlan
from schemas.assistant.telephone import KeypadInputPlan, TransportConfigurationTwilio
from schemas.assistant.transcriber import Transcriber
from schemas.assistant.voice import Voice
from schemas.assistant.voicemail import VoicemailDetection
from schemas.base import (
    BackgroundSound,
    JsonObject,
    Number,
    Range,
    StrictModel,
    Text40,
    Text1000,
)
from schemas.server import Server

# The formatter would give each value a line of its own.
# fmt: off

ClientMessage = TypeAliasType("ClientMessage", Literal[
    "conversation-update", "function-call", "function-call-result", "hang", "language-changed",
    "metadata", "model-output", "speech-update", "status-update", "transcript", "tool-calls",
    "tool-calls-result", "tool.completed", "transfer-update", "user-interrupted", "voice-input",
    "workflow.node.started"
])

ServerMessage = TypeAliasType("ServerMessage", Literal[
    "conversation-update", "end-of-call-report", "function-call", "hang", "language-changed",
    "language-change-detected", "model-output", "phone-call-control", "speech-update",
    "status-update", "transcript", 'transcript[transcriptType="final"]', "tool-calls",
    "transfer-destination-request", "transfer-update", "user-interrupted", "voice-input"
])

FirstMessageMode = TypeAliasType("FirstMessageMode", Literal[
    "assistant-speaks-first", "assistant-speaks-first-with-model-generated-message",
    "assistant-waits-for-user"
])

# fmt: on


class _Assistant(StrictModel):
    transcriber: Transcriber | None = None
    model: Model | None = None
    voice: Voice | None = None
    first_message: str | None = None
    first_message_interruptions_enabled: bool | None = False
    first_message_mode: FirstMessageMode | None = None
    voicemail_detection: VoicemailDetection | None = None
    client_messages: list[ClientMessage] | None = None
    server_messages: list[ServerMessage] | None = None
    silence_timeout_seconds: Annotated[Number, Range(10, 3600)] | None = None
    max_duration_seconds: Annotated[Number, Range(10, 43200)] | None = None
    background_sound: BackgroundSound | None = Field(default=None, description="`off`, `office` or a URI")
    background_denoising_enabled: bool | None = Field(default=None, json_schema_extra={"deprecated": True})
    model_output_in_messages_enabled: bool | None = None
    transport_configurations: list[TransportConfigurationTwilio] | None = None
    observability_plan: LangfuseObservabilityPlan | None = None
    credentials: list[Credential] | None = None
    hooks: list[AssistantHook] | None = None
    name: Text40 | None = None
    voicemail_message: Text1000 | None = None
    end_call_message: Text1000 | None = None
    end_call_phrases: list[Annotated[str, Field(min_length=2, max_length=140)]] | None = None
    compliance_plan: CompliancePlan | None = None
    metadata: JsonObject | None = None
    background_speech_denoising_plan: BackgroundSpeechDenoisingPlan | None = None
    analysis_plan: AnalysisPlan | None = None
    artifact_plan: ArtifactPlan | None = None
    message_plan: MessagePlan | None = None
    start_speaking_plan: StartSpeakingPlan | None = None
    stop_speaking_plan: StopSpeakingPlan | None = None
    monitor_plan: MonitorPlan | None = None
    credential_ids: list[str] | None = None
    server: Server | None = None
    keypad_input_plan: KeypadInputPlan | None = None


class CreateAssistantDTO(_Assistant):
    """An assistant; no field of it is required. `credentials` are secret as a whole."""


class AssistantOverrides(_Assistant):
    """The same fields, and the values of the customer's template variables."""

    variable_values: JsonObject | None = None
