"""What programs send to have something changed. Each has a reason, which the audit keeps."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import QueryParams

from schemas import FailureCode
from worker.console.api.parameters import MOMENT
from worker.console.dead_filters import MOST_IDS
from worker.console.filtering import filter_of
from worker.console.forms import LONGEST_REASON
from worker.console.pages.dead_actions import MOST_EDITS
from worker.console.reading import LEAST_RATE, MOST_RATE
from worker.operations.bulk import LEAST_A_SECOND, MOST_A_SECOND
from worker.operations.filters import MOST_LISTED, Delivered, Filter, State
from worker.operations.selections import Action
from worker.rules import Scope

_ANY = r"^[^\u0000]*$"
Text = Annotated[str, Field(min_length=1, max_length=2_000, pattern=_ANY)]
QueueName = Annotated[str, Field(min_length=1, max_length=255, pattern=_ANY)]
Moment = Annotated[str, Field(min_length=1, max_length=100, pattern=_ANY, json_schema_extra=MOMENT)]
Ahead = Annotated[
    str, Field(min_length=1, max_length=100, pattern=_ANY, description="a time, or how far ahead it is: +30m")
]
Rate = Annotated[float, Field(ge=LEAST_RATE, le=MOST_RATE, description="so many in a second at most")]


class Body(BaseModel):
    """A part of what is sent; a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Change(Body):
    """A change, and why it is made."""

    reason: Annotated[
        str, Field(min_length=1, max_length=LONGEST_REASON, pattern=r"^[^\u0000]*[^\s\u0000][^\u0000]*$")
    ]


class RequestFilter(Body):
    """Which requests are meant: as `session-worker requests list` has it."""

    org: Text | None = None
    user: Text | None = None
    status: State | None = None
    code: FailureCode | None = None
    reason: Text | None = None
    worker: Text | None = None
    build: Text | None = None
    session: Text | None = None
    correlation: Text | None = None
    reply_to: Text | None = None
    response: Delivered | None = None
    attempt: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    since: Moment | None = None
    until: Moment | None = None

    def read(self, now: datetime) -> Filter:
        """Return it as operations have it; raises a problem for a time that is none."""
        given = self.model_dump(mode="json", exclude_none=True)
        return filter_of({name: str(value) for name, value in given.items()}, now)


class NewSelection(Change):
    """Requests to freeze: those with these ids, or all that match the filter."""

    action: Action
    ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST_LISTED)] | None = None
    filter: RequestFilter | None = None
    to: Annotated[QueueName, Field(description="answers go to this queue")] | None = None
    answer: Annotated[Literal["none"], Field(description="a retry's answers go to no requester")] | None = (
        None
    )
    rate: Annotated[float, Field(ge=LEAST_A_SECOND, le=MOST_A_SECOND)] = 50.0
    begin: Annotated[bool, Field(description="begin at once; else `continue` does")] = False


class NewMute(Change):
    """A group of failures, named by one of them, and until when it is muted."""

    like: UUID
    until: Ahead


class DeadFilter(Body):
    """Which dead letters are meant. All of them have to be meant in so many words."""

    all: bool = False
    ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST_IDS)] | None = None
    app: Text | None = None
    no_app: bool = False
    user: Text | None = None
    reason: Text | None = None
    like: UUID | None = None
    since: Moment | None = None
    until: Moment | None = None

    @property
    def query(self) -> QueryParams:
        """Return it as an address has it."""
        given: dict[str, Any] = self.model_dump(mode="json", exclude_none=True, exclude={"all", "ids"})
        named = [(name, "1" if value is True else str(value)) for name, value in given.items() if value]
        return QueryParams([*named, *(("id", str(each)) for each in self.ids or ())])


class ChangeOfDead(Change):
    """A change of dead letters."""

    which: DeadFilter


class Replay(ChangeOfDead):
    """Dead letters to send again. A dry run says what would become of the first ones, behind `skip`."""

    edits: Annotated[list[Text], Field(max_length=MOST_EDITS, examples=[["set org_id=org-7"]])] = []
    rate: Rate = 50.0
    dry_run: bool = False
    skip: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class Redirect(ChangeOfDead):
    """Dead letters to send to another queue, as they are."""

    to: QueueName
    rate: Rate = 50.0


class NewLimit(Change):
    """A limit: for all requests together, for each organisation, or for one. What is not given stays."""

    scope: Scope = "org"
    org: Text | None = None
    rate: Annotated[float, Field(gt=0)] | None = None
    burst: Annotated[int, Field(ge=1)] | None = None
    running: Annotated[int, Field(ge=0)] | None = None
    weight: Annotated[float, Field(gt=0)] | None = None


class NoLimit(Change):
    """A limit to be cleared."""

    scope: Scope = "org"
    org: Text | None = None


class NoPause(Change):
    """What goes on: an organisation, a worker (its id), or without both everything."""

    org: Text | None = None
    worker: UUID | None = None


class NewPause(NoPause):
    """What is paused: an organisation, a worker (its id), or without both everything."""

    until: Ahead | None = None


class Rotate(Change):
    """What an old key has sealed is to be sealed with a new one."""

    model_config = ConfigDict(validate_by_alias=True, validate_by_name=False)

    old: Annotated[Text, Field(alias="from")]
    new: Annotated[Text, Field(alias="to")]
    rate: Rate = 500.0


class RunRetention(Change):
    """What is older than this is to be deleted."""

    older: Annotated[str, Field(pattern=r"^[0-9]{1,4}[hd]$", examples=["7d"])]
    rate: Rate = 2_000.0
