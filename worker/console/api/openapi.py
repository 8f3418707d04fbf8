"""Makes the OpenAPI document of the API from its rows in ROUTES and the models of its calls."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from worker.console.access import GIVEN_BY, Right
from worker.console.api.call import BASE, Call, Parameter
from worker.console.api.models import ProblemDocument
from worker.console.api.once import HEADER, PATTERN, PROBLEM_JSON
from worker.console.problems import KINDS, TYPES
from worker.console.route import GET, Route

PATH: Final = f"{BASE}/openapi.json"
_REF: Final = "#/components/schemas/{model}"
_OF_ALL: Final = (
    HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE,
)  # fmt: skip
_OF_ONE: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
_OF_CHANGES: Final = (
    HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY,
)  # fmt: skip
_ABOUT: Final = f"""\
What the console's pages show and do. Who asks sends `Authorization: Bearer TOKEN`, of the console's tokens \
file; roles and rights are those of the console.

A list is read on at the address in `next`, until that is null. What goes wrong is a problem (RFC 9457), \
whose `type` is `{TYPES}` and a word that never changes: {", ".join(KINDS.values())}, \
idempotency-key-missing, idempotency-key-reused, idempotency-key-in-use, token-in-address, not-in-time.

A change needs an `{HEADER}`: for a day, whoever asks again with the same key gets the same answer, and \
nothing is done twice."""
_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}  # Pythons before 3.13 have older words


def document(rows: Sequence[Route]) -> dict[str, Any]:
    """Make the document of those rows that are calls."""
    calls = [row.endpoint for row in rows if isinstance(row.endpoint, Call)]
    _, made = models_json_schema([(model, "validation") for model in _models(calls)], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(call.row.path, {})[call.row.methods[0].lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {"title": "session-worker", "version": "1", "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {KINDS[status]: _problem(status) for status in KINDS},
            "schemas": dict(sorted(made["$defs"].items())),
        },
    }


def served(rows: Sequence[Route]) -> Route:
    """Make the row that serves the document, which is made when somebody asks for it first."""

    @cache
    def text() -> str:
        return json.dumps(document(rows))

    async def openapi(_request: Request) -> Response:
        return Response(text(), media_type="application/json")

    return Route(PATH, GET, Right.VIEW, openapi, "api_openapi")


def _models(calls: Iterable[Call]) -> list[type[BaseModel]]:
    models: list[type[BaseModel]] = [ProblemDocument]
    for call in calls:
        models += [each for each in (call.gives, call.takes) if each is not None]
    return models


def _operation(call: Call) -> dict[str, Any]:
    may_fail = {*_OF_ALL, *(_OF_ONE if "{" in call.path else ()), *(_OF_CHANGES if call.takes else ())}
    if any(each.name == "like" for each in call.query) or call.name == "doctor":
        may_fail.add(HTTPStatus.NOT_FOUND)
    if any(each.name == "sort" for each in call.query):
        may_fail.add(HTTPStatus.GONE)
    found: dict[str, Any] = {
        "operationId": call.name,
        "tags": [call.group],
        "summary": call.title,
        "description": f"Needs the right `{call.right.value}`: {GIVEN_BY[call.right]}.",
        "parameters": [*_of_path(call), *map(_parameter, call.query), *(_KEY if call.takes else ())],
        "responses": {
            str(int(call.status)): {"description": "It is so.", "content": _content(call.gives)},
            **{
                str(int(status)): {"$ref": f"#/components/responses/{KINDS[status]}"}
                for status in sorted(may_fail)
            },
        },
    }
    if call.takes is not None:
        found["requestBody"] = {"required": True, "content": _content(call.takes)}
    return found


_KEY: Final = (
    {
        "name": HEADER, "in": "header", "required": True,
        "description": "another one for each change: with the same one it is done once",
        "schema": {"type": "string", "pattern": PATTERN},
    },
)  # fmt: skip


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=_name(model))}}}


def _problem(status: HTTPStatus) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=_name(ProblemDocument))}
    return {"description": _PHRASES.get(status, status.phrase), "content": {PROBLEM_JSON: {"schema": schema}}}


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _of_path(call: Call) -> list[dict[str, Any]]:
    if "{id}" not in call.path:
        return []
    schema: dict[str, Any] = {"type": "string", "format": "uuid"}
    if call.path.startswith(("/selections", "/works")):
        schema = {"type": "string", "pattern": "^[0-9a-f]{8}$"}
    return [{"name": "id", "in": "path", "required": True, "schema": schema}]


def _parameter(one: Parameter) -> dict[str, Any]:
    schema = {"type": "array", "items": one.schema, "maxItems": 500} if one.many else one.schema
    return {"name": one.name, "in": "query", "description": one.about, "schema": schema}
