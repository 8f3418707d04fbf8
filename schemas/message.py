"""The chat history: five kinds of messages, told apart by `role`."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import AnyNumber, StrictModel, Text40, Text10000


class SystemMessage(StrictModel):
    """Instructions to the model, with the moment they were given."""

    role: Literal["system"]
    message: str
    time: AnyNumber
    seconds_from_start: AnyNumber


class UserMessage(StrictModel):
    """What the user said, with its place in time."""

    role: Literal["user"]
    message: str
    time: AnyNumber
    end_time: AnyNumber
    seconds_from_start: AnyNumber
    duration: AnyNumber | None = None


class ToolCallFunction(StrictModel):
    """A function and its arguments as one string."""

    arguments: str
    name: Text40


class ToolCall(StrictModel):
    """A call the assistant asks for; a tool message answers it by `id`."""

    id: str
    type: str
    function: ToolCallFunction


class AssistantMessage(StrictModel):
    """What the assistant said, refused or asked of its tools."""

    role: Literal["assistant"]
    content: Text10000 | None = None
    refusal: Text10000 | None = None
    tool_calls: list[ToolCall] | None = None
    name: Text40 | None = None


class ToolMessage(StrictModel):
    """A tool's answer to the call `tool_call_id`."""

    role: Literal["tool"]
    content: Text10000
    tool_call_id: str
    name: Text40 | None = None


class DeveloperMessage(StrictModel):
    """Instructions of the developer."""

    role: Literal["developer"]
    content: Text10000
    name: Text40 | None = None


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage | DeveloperMessage,
    Field(discriminator="role"),
]
