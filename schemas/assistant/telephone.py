"""The telephone line: the keys that are pressed, and how Twilio carries the call."""

from typing import Annotated, Literal

from typing_extensions import TypeAliasType

from schemas.base import Number, Range, StrictModel

KeypadDelimiter = TypeAliasType("KeypadDelimiter", Literal["#", "*", ""])
RecordingChannels = TypeAliasType("RecordingChannels", Literal["mono", "dual"])


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
