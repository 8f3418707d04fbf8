"""Keys, storage and long works as JSON."""

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from worker.console.access import Right
from worker.console.api.bodies import Change, Rotate, RunRetention
from worker.console.api.call import Ask, Call
from worker.console.api.models import listed, model, of
from worker.console.api.parameters import KIND
from worker.console.pages import keys as keys_page
from worker.console.pages import storage as storage_page
from worker.console.pages import works as works_page
from worker.console.problems import bad
from worker.console.reading import one_of, read
from worker.operations import keys, retention, works
from worker.operations.keys import SealedRows
from worker.operations.retention import Kept, Old
from worker.operations.works import KINDS, Work

_MOST_WORKS: Final = 50


async def _keys(ask: Ask) -> Mapping[str, Any]:
    rows, here, workers, retired, counted = await keys_page.look(ask.desk)
    found, gone = keys.with_unused(rows, here, workers), {each.key for each in retired}
    return {
        "items": [keys.as_record(each, here, workers, gone) for each in found],
        "counted_at": counted and counted.begun_at.isoformat(),
    }


async def _count(ask: Ask) -> Mapping[str, Any]:
    return {"work": await keys_page.count(ask.desk, ask.body.reason)}


async def _rotate(ask: Ask) -> Mapping[str, Any]:
    body: Rotate = ask.body
    return {"work": await keys_page.rotate(ask.desk, body.old, body.new, rate=body.rate, reason=body.reason)}


async def _storage(ask: Ask) -> Mapping[str, Any]:
    desk = ask.desk
    found = await retention.status(desk.database, desk.settings.lease_seconds)
    days = found.retention_days[-1] if found.retention_days else desk.settings.retention_days
    old = Old()
    if days:
        old = await retention.old_requests(
            desk.database, timedelta(days=days), lambda _: None, storage_page.MOST_COUNTED
        )
    return {
        "items": [each._asdict() for each in found.tables], "requests": found.requests, "could_go": old.gone,
        **retention.rules_as_record(found, desk.settings),
    }  # fmt: skip


async def _run(ask: Ask) -> Mapping[str, Any]:
    body: RunRetention = ask.body
    try:
        older = retention.age(body.older)
    except ValueError as error:
        raise bad(f"older: must be {error}. Nothing was done.") from None
    return {"work": await storage_page.run(ask.desk, older, rate=body.rate, reason=body.reason)}


async def _works(ask: Ask) -> Mapping[str, Any]:
    kind = read(ask.query, "kind", one_of(KINDS))
    found = await works.works(ask.desk.database, None if kind is None else [kind], most=_MOST_WORKS)
    return {"items": [_record(each) for each in found]}


async def _work(ask: Ask) -> Mapping[str, Any]:
    return _record(await works_page.find(ask.desk, ask.id))


async def _stop(ask: Ask) -> Mapping[str, Any]:
    await works_page.stop(ask.desk, await works_page.find(ask.desk, ask.id), ask.body.reason)
    return await _work(ask)


async def _go_on(ask: Ask) -> Mapping[str, Any]:
    await works_page.go_on(ask.desk, await works_page.find(ask.desk, ask.id), ask.body.reason)
    return await _work(ask)


def _record(one: Work) -> dict[str, Any]:
    return {**one._asdict(), "may_go_on": one.may_go_on}


_BEGUN = model("WorkBegun", {"work": str})
_WORK = of("Work", Work, may_go_on=bool)

CALLS: Final = (
    Call(
        "/keys", Right.VIEW, "keys", "keys",
        "Say which rows need which key, and who has it: what is quick to count, and the last whole count",
        _keys,
        listed(
            "Keys",
            of("Key", SealedRows, retired=bool, here=bool, seals=bool, workers=int, workers_with=int),
            counted_at=str | None,
        ),
    ),
    Call(
        "/keys/count", Right.OPERATE, "count_keys", "keys", "Count all rows by key", _count, _BEGUN,
        takes=Change, status=HTTPStatus.ACCEPTED,
    ),
    Call(
        "/keys/rotate", Right.ADMIN, "rotate_key", "keys", "Seal anew what an old key has sealed", _rotate,
        _BEGUN, takes=Rotate, status=HTTPStatus.ACCEPTED,
    ),
    Call(
        "/storage", Right.VIEW, "storage", "storage", "Say what is kept, how it grows, and what could go",
        _storage,
        listed(
            "Storage", of("Table", Kept), requests=int, could_go=int,
            retention_days_of_workers=list[float], retention_days=float, audit_days=float,
            dead_letter_days=float, kept_at_least_seconds=float,
        ),
    ),
    Call(
        "/storage/run", Right.ADMIN, "run_retention", "storage", "Delete old requests now", _run, _BEGUN,
        takes=RunRetention, status=HTTPStatus.ACCEPTED,
    ),
    Call(
        "/works", Right.VIEW, "works", "works", "List the newest long works", _works,
        listed("Works", _WORK), query=(KIND,),
    ),
    Call("/works/{id}", Right.VIEW, "work", "works", "Show how far a long work is", _work, _WORK),
    Call(
        "/works/{id}/stop", Right.OPERATE, "stop_work", "works", "Stop a long work", _stop, _WORK,
        takes=Change,
    ),
    Call(
        "/works/{id}/continue", Right.OPERATE, "continue_work", "works", "Go on with a long work", _go_on,
        _WORK, takes=Change,
    ),
)  # fmt: skip
