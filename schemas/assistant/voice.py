"""Text to speech, by `provider`. A preset is only a suggestion: any id of one's own passes."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.assistant.choices import AnyIdVoiceProvider, DeepgramVoiceId, VapiVoiceId
from schemas.base import JsonObject, ProviderBlock, Reason
from schemas.server import Server


class VoiceBlock(ProviderBlock):
    """What every variant may carry: others to fall back on, kept as they came."""

    fallback_plan: JsonObject | None = None


class AnyIdVoice(VoiceBlock):
    """The variants that require an id and take any."""

    provider: AnyIdVoiceProvider
    voice_id: str


class CustomVoice(VoiceBlock):
    """A voice of one's own, behind a server."""

    provider: Literal["custom-voice"]
    server: Server


class DeepgramVoice(VoiceBlock):
    """Takes the ids of a list."""

    provider: Literal["deepgram"]
    voice_id: DeepgramVoiceId


class NeuphonicVoice(VoiceBlock):
    """Requires a language: an object by its type, a string by its example, so either passes."""

    provider: Literal["neuphonic"]
    voice_id: str
    language: Annotated[JsonObject | str, Reason("must be an object or a string")]


class VapiVoice(VoiceBlock):
    """Takes the ids of a list."""

    provider: Literal["vapi"]
    voice_id: VapiVoiceId


class SesameVoice(VoiceBlock):
    """Requires its model too."""

    provider: Literal["sesame"]
    voice_id: str
    model: Literal["csm-1b"]


Voice = Annotated[
    AnyIdVoice | CustomVoice | DeepgramVoice | NeuphonicVoice | VapiVoice | SesameVoice,
    Field(discriminator="provider"),
]
