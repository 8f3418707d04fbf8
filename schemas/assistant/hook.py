"""The hooks of an assistant, by the event in `on`, and their actions, by `type`."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.assistant.destination import Destination
from schemas.base import JsonObject, StrictModel, Text1000
from schemas.server import Server

SpeechInterruption = TypeAliasType(
    "SpeechInterruption", Literal["assistant.speech.interrupted", "customer.speech.interrupted"]
)


class AssistantHookFilter(StrictModel):
    """A condition: the value under `key` is one of a list."""

    type: Literal["oneOf"]
    key: Text1000
    one_of: list[Text1000]


class TransferAssistantHookAction(StrictModel):
    """Hand the call over."""

    type: Literal["transfer"]
    destination: Destination | None = None


class FunctionCallAssistantHookAction(StrictModel):
    """Call a function of a server."""

    # The fields of tool messages and of a function are not part of this contract: free-form.
    messages: list[JsonObject] | None = None
    type: Literal["function"]
    # A word that Python reserves.
    async_: bool | None = Field(
        default=None,
        validation_alias="async",
        serialization_alias="async",
    )
    server: Server | None = None
    function: JsonObject | None = None


class SayAssistantHookAction(StrictModel):
    """Say something."""

    type: Literal["say"]
    exact: JsonObject


class AssistantHookCallEnding(StrictModel):
    """What is done when a call ends; nothing is said any more."""

    on: Literal["call.ending"]
    do: list[
        Annotated[
            TransferAssistantHookAction | FunctionCallAssistantHookAction,
            Field(discriminator="type"),
        ]
    ]
    filters: list[AssistantHookFilter] | None = None


class AssistantHookSpeechInterrupted(StrictModel):
    """What is done when the assistant or the customer is interrupted."""

    on: SpeechInterruption
    do: list[
        Annotated[
            TransferAssistantHookAction | FunctionCallAssistantHookAction | SayAssistantHookAction,
            Field(discriminator="type"),
        ]
    ]


AssistantHook = Annotated[AssistantHookCallEnding | AssistantHookSpeechInterrupted, Field(discriminator="on")]
