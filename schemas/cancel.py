"""The message that cancels a request."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import StrictModel
from schemas.request import RequestId


class CancelSessionRequest(StrictModel):
    """Cancels the request of this id if it is not finished; `reason` is told to who asked for the session."""

    request_id: RequestId
    operation: Literal["cancel_session"]
    reason: Annotated[str, Field(max_length=500)] | None = None
