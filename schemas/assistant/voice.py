"""Text to speech, by `provider`. A preset is only a suggestion: any id of one's own passes."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.base import JsonObject, ProviderBlock, Reason
from schemas.server import Server

# The formatter would give each value a line of its own.
# fmt: off

AnyIdVoiceProvider = TypeAliasType("AnyIdVoiceProvider", Literal[
    "azure", "cartesia", "11labs", "hume", "lmnt", "openai", "playht", "rime-ai", "smallest-ai",
    "tavus"
])

DeepgramVoiceId = TypeAliasType("DeepgramVoiceId", Literal[
    "asteria", "luna", "stella", "athena", "hera", "orion", "arcas", "perseus", "angus", "orpheus",
    "helios", "zeus", "thalia", "andromeda", "helena", "apollo", "aries", "amalthea", "atlas",
    "aurora", "callista", "cora", "cordelia", "delia", "draco", "electra", "harmonia", "hermes",
    "hyperion", "iris", "janus", "juno", "jupiter", "mars", "minerva", "neptune", "odysseus",
    "ophelia", "pandora", "phoebe", "pluto", "saturn", "selene", "theia", "vesta"
])

VapiVoiceId = TypeAliasType("VapiVoiceId", Literal[
    "Elliot", "Kylie", "Rohan", "Lily", "Savannah", "Hana", "Neha", "Cole", "Harry", "Paige",
    "Spencer"
])

# fmt: on


class VoiceBlock(ProviderBlock):
    """The fields that every variant may carry: others to fall back on, kept as they came."""

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
