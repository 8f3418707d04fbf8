"""The inline assistant and the changes to it for one customer."""

from typing import Annotated

from pydantic import Field

from schemas.assistant.choices import ClientMessage, FirstMessageMode, ServerMessage
from schemas.assistant.credential import Credential
from schemas.assistant.hook import AssistantHook
from schemas.assistant.model import Model
from schemas.assistant.plan import (
    AnalysisPlan,
    ArtifactPlan,
    BackgroundSpeechDenoisingPlan,
    CompliancePlan,
    KeypadInputPlan,
    LangfuseObservabilityPlan,
    MessagePlan,
    MonitorPlan,
    TransportConfigurationTwilio,
)
from schemas.assistant.speaking import StartSpeakingPlan, StopSpeakingPlan
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
