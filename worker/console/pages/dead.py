"""Shows the dead letters in custody: in groups, one by one, and one of them whole."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, get_args
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from worker.console.access import Right
from worker.console.context import Desk, desk_of
from worker.console.dead_filters import filter_of, in_group, query_of, uuid_of
from worker.console.problems import conflict, not_found
from worker.console.reading import one_of, read, uuid
from worker.console.render import page
from worker.errors import SealError
from worker.messages.masking import dumped, masked_text, shown
from worker.messages.sealing import SealKeys, parse_seal_keys
from worker.operations import dead_letters
from worker.operations.dead_letters import Grouping, Whole

SHOWN = 50
MOST_GROUPS = 200
_LONGEST = 20_000  # characters of a body
_AT_ONCE = 50
_GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)


async def dead(request: Request) -> Response:
    """Show groups of dead letters, or with `?group=none` one by one, the newest first."""
    desk = desk_of(request)
    query = request.query_params
    which = await filter_of(desk, query)
    grouping = read(query, "group", one_of((*_GROUPINGS, "none"))) or "reason"
    most = desk.settings.max_dead_letters
    values: dict[str, Any] = {
        "which": which,
        "grouping": grouping,
        "groupings": (*_GROUPINGS, "none"),
        "most": most,
        "kept": await dead_letters.count(desk.database, max(1, most)),
        "written": query_of(query),
        "groups": None,
        "letters": None,
    }
    for each in _GROUPINGS:
        if grouping == each:
            groups = await dead_letters.groups(desk.database, which, each)
            values["groups"] = [(group, in_group(query, each, group)) for group in groups[:MOST_GROUPS]]
            values["found"] = sum(group.messages for group in groups)
            values["left_out"] = max(0, len(groups) - MOST_GROUPS)
    if grouping == "none":
        found = await dead_letters.page(desk.database, which, SHOWN + 1, read(query, "after", uuid))
        more = found.letters[SHOWN - 1].id if len(found.letters) > SHOWN else None
        values |= {"letters": found.letters[:SHOWN], "found": found.found, "more": more}
    return page(request, "dead.html", **values)


async def dead_letter(request: Request) -> Response:
    """Show one: why it is here, where it came from and, to those who may see payloads, its body."""
    desk = desk_of(request)
    letter = await the_one(request)
    body, hexed, left_out = None, None, 0
    if desk.who.may(Right.PAYLOAD):
        text = shown(letter.body)
        body, left_out = text[:_LONGEST], max(0, len(text) - _LONGEST)
        hexed = dumped(text.encode(errors="surrogatepass")) if is_text(letter.body) else None
    return page(
        request,
        "dead_letter.html",
        letter=letter,
        one=letter.about,
        body=body,
        hexed=hexed,
        left_out=left_out,
        headers={name: masked_text(str(value)) for name, value in letter.headers.items()},
    )


async def export_dead(request: Request) -> Response:
    """Write what matches to a file, one JSON object a line; with bodies for those who may see payloads. What
    looks like a credential is masked, and what no key here opens is left out.
    """
    desk = desk_of(request)
    ids = await dead_letters.select(desk.database, await filter_of(desk, request.query_params))
    keys = parse_seal_keys(desk.settings.seal_keys.get_secret_value())
    with_bodies = desk.who.may(Right.PAYLOAD)

    async def lines() -> AsyncIterator[str]:
        for start in range(0, len(ids), _AT_ONCE):
            for letter in await _readable(desk, ids[start : start + _AT_ONCE], keys):
                headers = {name: masked_text(str(value)) for name, value in letter.headers.items()}
                record = {**letter.about._asdict(), "properties": letter.properties, "headers": headers}
                if with_bodies:
                    record["body"] = shown(letter.body)
                yield json.dumps(record, default=str) + "\n"

    return StreamingResponse(
        lines(),
        media_type="application/x-ndjson",
        headers={
            "Content-Disposition": 'attachment; filename="dead-letters.jsonl"',
            "Cache-Control": "no-store",
        },
    )


async def _readable(desk: Desk, ids: Sequence[UUID], keys: SealKeys) -> list[Whole]:
    """Read those that can be opened here."""
    try:
        return await dead_letters.read(desk.database, ids, keys)
    except SealError:
        if len(ids) == 1:
            return []
        return [letter for each in ids for letter in await _readable(desk, [each], keys)]


async def the_one(request: Request) -> Whole:
    """Read the dead letter of the address."""
    desk = desk_of(request)
    keys = parse_seal_keys(desk.settings.seal_keys.get_secret_value())
    try:
        found = await dead_letters.read(desk.database, [uuid_of(request.path_params["id"])], keys)
    except SealError as error:
        raise conflict(f"It cannot be opened here: {error}.") from None
    if not found:
        raise not_found(
            "This dead letter is not in custody: it is still in its queue, or was deleted as old."
        )
    return found[0]


def is_text(body: bytes) -> bool:
    """Tell whether a body is text, which may be shown as it is."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
