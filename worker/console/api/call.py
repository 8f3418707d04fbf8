"""The frame of everything that programs ask for: what it takes is checked, what it gives is JSON, and what it
changes is done once for each key.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from worker.console.access import Right
from worker.console.api.once import Told, key_of, once
from worker.console.context import Desk, desk_of
from worker.console.forms import body_of
from worker.console.problems import Problem, bad
from worker.console.route import GET, POST, Route
from worker.operations.json_text import as_json

BASE: Final = "/api/v1"
MOST_BYTES: Final = 1 << 20
_JSON: Final = "application/json"
_MOST_ERRORS: Final = 20
_LONGEST_POINTER: Final = 200


class Parameter(NamedTuple):
    """A field of the address."""

    name: str
    schema: Mapping[str, Any]
    about: str
    many: bool = False  # it may be there several times


class Ask(NamedTuple):
    """What somebody asks for."""

    request: Request
    desk: Desk
    query: QueryParams
    body: Any  # of the call's model; None where it takes none

    @property
    def id(self) -> str:
        """Return the id that stands in the address."""
        return str(self.request.path_params["id"])


Answer = Callable[[Ask], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Call:
    """Something that programs ask for. What takes a body changes something: a POST; the rest is a GET."""

    path: str  # under BASE
    right: Right
    name: str
    group: str
    title: str
    answer: Answer
    gives: type[BaseModel]
    query: tuple[Parameter, ...] = ()
    takes: type[BaseModel] | None = None
    status: HTTPStatus = HTTPStatus.OK

    @property
    def row(self) -> Route:
        """Return its row for ROUTES."""
        return Route(BASE + self.path, POST if self.takes else GET, self.right, self, f"api_{self.name}")

    async def __call__(self, request: Request) -> Response:
        desk, query = desk_of(request), self._query(request)
        if self.takes is None:
            return _response(Told(self.status, as_json(await self.answer(Ask(request, desk, query, None)))))
        key = key_of(request)
        text = await _body(request)
        body = _read(self.takes, text)

        async def do() -> Told:
            return Told(self.status, as_json(await self.answer(Ask(request, desk, query, body))))

        asked = (request.method, request.url.path, request.url.query)
        return _response(await once(desk, key, asked, text, do))

    def _query(self, request: Request) -> QueryParams:
        """Return the fields of the address; raise a 400 for one that there is not, is empty or twice."""
        query = request.query_params
        known = {each.name: each for each in self.query}
        for name in query:
            if name not in known:
                told = f"There are {', '.join(known)}." if known else "There are none here."
                raise bad(f"{name[:200]}: there is no such field of this address. {told}")
            if not all(text.strip() for text in query.getlist(name)):
                raise bad(f"{name}: it is empty")
            if not known[name].many and len(query.getlist(name)) > 1:
                raise bad(f"{name}: it is given twice")
        return query


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"What is sent here is {_JSON}. Nothing was done.",
            more={"accepted": [_JSON]},
        )  # fmt: skip
    return await body_of(request, MOST_BYTES)


def _read(model: type[BaseModel], text: bytes) -> BaseModel:
    """Read a body; raise a 422 that names what is wrong in it, and never repeats it."""
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        errors = [
            {"pointer": _pointer(each["loc"]), "detail": each["msg"]}
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        ]
    first = errors[0]
    raise Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"The body is not what is taken here: {first['pointer'] or '(all of it)'}: {first['detail']}. "
        "Nothing was done.",
        more={"errors": errors[:_MOST_ERRORS]},
    )


def _pointer(place: tuple[int | str, ...]) -> str:
    """Write where in the body something is (RFC 6901)."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in place)
    return "".join(f"/{part}" for part in parts)[:_LONGEST_POINTER]


def _response(told: Told) -> Response:
    response = Response(told.text, told.status, media_type=told.media_type)
    response.headers["Cache-Control"] = "no-store"
    if told.again:
        response.headers["Idempotency-Replayed"] = "true"
    return response
