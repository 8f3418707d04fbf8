"""Speech to text, by `provider`."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.base import JsonObject, ProviderBlock
from schemas.server import Server

# The formatter would give each value a line of its own.
# fmt: off

PlainTranscriberProvider = TypeAliasType("PlainTranscriberProvider", Literal[
    "assembly-ai", "azure", "deepgram", "11labs", "gladia", "google", "speechmatics",
    "talkscriber", "cartesia"
])

# fmt: on

OpenAITranscriberModelName = TypeAliasType(
    "OpenAITranscriberModelName", Literal["gpt-4o-transcribe", "gpt-4o-mini-transcribe"]
)


class TranscriberBlock(ProviderBlock):
    """The fields that every variant may carry: others to fall back on, kept as they came."""

    fallback_plan: JsonObject | None = None


class PlainTranscriber(TranscriberBlock):
    """The variants that require nothing besides `provider`."""

    provider: PlainTranscriberProvider


class CustomTranscriber(TranscriberBlock):
    """A transcriber of one's own, behind a server."""

    provider: Literal["custom-transcriber"]
    server: Server


class OpenAITranscriber(TranscriberBlock):
    """Requires its model."""

    provider: Literal["openai"]
    model: OpenAITranscriberModelName


Transcriber = Annotated[
    PlainTranscriber | CustomTranscriber | OpenAITranscriber, Field(discriminator="provider")
]
