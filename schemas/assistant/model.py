"""Language models, by `provider`."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.assistant.model_names import (
    AnthropicModelName,
    CerebrasModelName,
    DeepSeekModelName,
    GoogleModelName,
    GroqModelName,
    InflectionAIModelName,
    OpenAIModelName,
    XaiModelName,
)
from schemas.base import JsonObject, Number, ProviderBlock, Range

ModelMessageRole = TypeAliasType(
    "ModelMessageRole", Literal["assistant", "function", "user", "system", "tool"]
)
AnyNameModelProvider = TypeAliasType(
    "AnyNameModelProvider", Literal["anyscale", "deepinfra", "openrouter", "perplexity-ai", "together-ai"]
)


class ModelMessage(ProviderBlock):
    """A message as the model's provider takes it: `content` has to be there and may be null."""

    role: ModelMessageRole
    content: str | None


class ModelBlock(ProviderBlock):
    """The fields that every variant may carry. Tools and the knowledge base are kept as they came."""

    messages: list[ModelMessage] | None = None
    tools: list[JsonObject] | None = None
    tool_ids: list[str] | None = None
    knowledge_base: JsonObject | None = None
    knowledge_base_id: str | None = None
    temperature: Annotated[Number, Range(0, 2)] | None = None
    max_tokens: Annotated[Number, Range(50, 10000)] | None = None
    emotion_recognition_enabled: bool | None = None
    num_fast_turns: Annotated[Number, Range(0)] | None = None


class AnyNameModel(ModelBlock):
    """The variants that take a model of any name."""

    provider: AnyNameModelProvider
    model: str


class AnthropicModel(ModelBlock):
    """Takes the names of a list."""

    provider: Literal["anthropic"]
    model: AnthropicModelName


class CerebrasModel(ModelBlock):
    """Takes the names of a list."""

    provider: Literal["cerebras"]
    model: CerebrasModelName


class CustomLLMModel(ModelBlock):
    """A model of one's own, behind a URL."""

    provider: Literal["custom-llm"]
    url: str
    model: str


class DeepSeekModel(ModelBlock):
    """Takes the names of a list."""

    provider: Literal["deep-seek"]
    model: DeepSeekModelName


class GoogleModel(ModelBlock):
    """Takes the names of a list."""

    provider: Literal["google"]
    model: GoogleModelName


class GroqModel(ModelBlock):
    """Takes the names of a list."""

    provider: Literal["groq"]
    model: GroqModelName


class InflectionAIModel(ModelBlock):
    """Takes the names of a list."""

    provider: Literal["inflection-ai"]
    model: InflectionAIModelName


class OpenAIModel(ModelBlock):
    """Takes the names of a list."""

    provider: Literal["openai"]
    model: OpenAIModelName


class XaiModel(ModelBlock):
    """Takes the names of a list."""

    provider: Literal["xai"]
    model: XaiModelName


Model = Annotated[
    AnyNameModel
    | AnthropicModel
    | CerebrasModel
    | CustomLLMModel
    | DeepSeekModel
    | GoogleModel
    | GroqModel
    | InflectionAIModel
    | OpenAIModel
    | XaiModel,
    Field(discriminator="provider"),
]
