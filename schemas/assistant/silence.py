"""The messages to a customer who says nothing."""

from typing import Annotated

from schemas.base import Number, Range, StrictModel, Text1000


class MessagePlan(StrictModel):
    """The fixed messages for a silent customer."""

    idle_messages: list[Text1000] | None = None
    idle_message_max_spoken_count: Annotated[Number, Range(1, 10)] | None = None
    idle_message_reset_count_on_user_speech_enabled: bool | None = None
    idle_timeout_seconds: Annotated[Number, Range(5, 60)] | None = None
    silence_timeout_message: Text1000 | None = None
