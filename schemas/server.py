"""The server that events of an assistant or a number are sent to."""

from typing import Annotated, Literal

from typing_extensions import TypeAliasType

from schemas.base import JsonObject, Number, Range, StrictModel

BackoffType = TypeAliasType("BackoffType", Literal["fixed", "exponential"])


class BackoffPlan(StrictModel):
    """How a failed call of a server is repeated."""

    type: BackoffType
    max_retries: Annotated[Number, Range(0, 10)]
    base_delay_seconds: Annotated[Number, Range(0, 10)]


class Server(StrictModel):
    """An HTTP target. The values of `headers` are secret."""

    timeout_seconds: Annotated[Number, Range(1, 300)] | None = None
    url: str | None = None
    headers: JsonObject | None = None
    backoff_plan: BackoffPlan | None = None
