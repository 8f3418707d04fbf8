"""Tells how the installation is: overview, doctor, health, organisations, workers, queues, audit."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from worker.console.access import Right
from worker.console.api.call import Ask, Call, Parameter
from worker.console.api.models import listed, model, of, paged
from worker.console.api.parameters import LIMIT, MOMENT, MOST, TEXT, next_page, number
from worker.console.pages.responses import queues
from worker.console.problems import not_found
from worker.console.reading import ago, plain, read, whole
from worker.console.servers import problem_of
from worker.operations import audit, counts, measures, overview, undelivered
from worker.operations.audit import Entry
from worker.operations.counts import Count
from worker.operations.doctor import run as doctor
from worker.operations.measures import Measure
from worker.operations.overview import LiveWorker, Org, QueueDepth, worker_as_record
from worker.operations.undelivered import Undelivered

_LAST_NUMBER: Final = (1 << 63) - 1
_USUAL: Final = 50
_LATELY: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
_FRESH_SECONDS: Final = 4.0


async def _overview(ask: Ask) -> Mapping[str, Any]:
    desk, org = ask.desk, read(ask.query, "org", plain)
    rows = await desk.shared(
        "measures", _FRESH_SECONDS, lambda: measures.measures(desk.database, desk.now - _LATELY)
    )
    return {
        "counts": [each._asdict() for each in await counts.kept(desk.database, org)],
        "measured": rows[-1]._asdict() if rows else None,
    }


async def _doctor(ask: Ask) -> Mapping[str, Any]:
    checked = await ask.desk.checkup.first()
    if checked is None:
        raise not_found("The doctor could not look: the console's log has why.")
    return {
        "at": checked.at, "items": doctor.findings_as_records(checked.report),
        **doctor.as_record(checked.report),
    }  # fmt: skip


async def _health(ask: Ask) -> Mapping[str, Any]:
    desk = ask.desk
    readiness = ask.request.app.state.health.readiness
    trouble, live = None, None
    try:
        found = await overview.workers(desk.database, desk.settings.lease_seconds)
        live = sum(each.lives for each in found)
    except Exception as error:
        if (problem := problem_of(error)) is None:
            raise
        trouble = problem.detail
    _, away = await queues(desk)
    return {
        "ready": readiness.ready, "reasons": dict(readiness.reasons), "postgres": trouble,
        "rabbitmq": away and away.detail, "live_workers": live,
    }  # fmt: skip


async def _orgs(ask: Ask) -> Mapping[str, Any]:
    since = read(ask.query, "since", ago(ask.desk.now)) or ask.desk.now - _DAY
    found = await overview.orgs(ask.desk.database, since, read(ask.query, "limit", whole(MOST)) or _USUAL)
    return {"items": [each._asdict() for each in found]}


async def _workers(ask: Ask) -> Mapping[str, Any]:
    found = await overview.workers(ask.desk.database, ask.desk.settings.lease_seconds)
    return {"items": [worker_as_record(each) for each in found]}


async def _queues(ask: Ask) -> Mapping[str, Any]:
    found, away = await queues(ask.desk)
    if away is not None:
        raise away
    return {"items": [each._asdict() for each in found]}


async def _responses(ask: Ask) -> Mapping[str, Any]:
    found = await undelivered.by_queue(ask.desk.database)
    return {"items": [each._asdict() for each in found]}


async def _audit(ask: Ask) -> Mapping[str, Any]:
    query, most = ask.query, read(ask.query, "limit", whole(MOST)) or _USUAL
    moment = ago(ask.desk.now)
    found = await audit.entries(
        ask.desk.database,
        org=read(query, "org", plain), who=read(query, "by", plain), action=read(query, "action", plain),
        since=read(query, "since", moment), until=read(query, "until", moment),
        before=read(query, "after", whole(_LAST_NUMBER)), most=most + 1,
    )  # fmt: skip
    more = found[most - 1].number if len(found) > most else None
    return {"items": [each._asdict() for each in found[:most]], "next": next_page(ask.request, more)}


CALLS: Final = (
    Call(
        "/overview", Right.VIEW, "overview", "overview",
        "Count requests by status and code, and say how it goes; `measured` is null while no worker measures",
        _overview,
        model("Overview", {"counts": list[of("Count", Count)], "measured": of("Measure", Measure) | None}),  # type: ignore[misc]  # it is a type
        query=(Parameter("org", TEXT, "the counts of this organisation"),),
    ),
    Call(
        "/doctor", Right.VIEW, "doctor", "overview",
        "Say what is wrong: as found within the last 30 seconds", _doctor,
        model(
            "Report",
            {"at": datetime, "items": list[dict[str, Any]], "checks": int, "not_looked_at": int,
             "errors": int, "warnings": int, "notes": int},
        ),
    ),
    Call(
        "/health", Right.VIEW, "health", "overview",
        "Say whether this process is ready, and why a server is away; null: it is there", _health,
        model(
            "Health",
            {"ready": bool, "reasons": dict[str, str], "postgres": str | None, "rabbitmq": str | None,
             "live_workers": int | None},
        ),
    ),
    Call(
        "/orgs", Right.VIEW, "orgs", "overview", "List the busiest organisations", _orgs,
        listed("Orgs", of("Org", Org)), query=(Parameter("since", MOMENT, "since then; 1d as a rule"), LIMIT),
    ),
    Call(
        "/workers", Right.VIEW, "workers", "workers", "List the workers that were heard of within a day",
        _workers, listed("Workers", of("Worker", LiveWorker, state=str)),
    ),
    Call(
        "/queues", Right.VIEW, "queues", "workers", "Say what is in each queue", _queues,
        listed("Queues", of("Queue", QueueDepth)),
    ),
    Call(
        "/responses", Right.VIEW, "responses", "responses", "Group the responses that are with nobody",
        _responses, listed("Responses", of("UndeliveredResponses", Undelivered)),
    ),
    Call(
        "/audit", Right.VIEW, "audit", "audit", "List what operators did, the newest first", _audit,
        paged("Audit", of("AuditEntry", Entry)),
        query=(
            Parameter("org", TEXT, "about this organisation"),
            Parameter("by", TEXT, "by whom"),
            Parameter("action", TEXT, "how the action begins, as `dead`"),
            Parameter("since", MOMENT, "since then"),
            Parameter("until", MOMENT, "before"),
            LIMIT,
            Parameter("after", number(_LAST_NUMBER), "go on behind this one; `next` has it"),
        ),
    ),
)  # fmt: skip
