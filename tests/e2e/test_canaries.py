"""A canary in every place of a payload is found only where the contract says that it may be."""

import base64
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import aio_pika
import asyncpg
from pydantic import SecretStr
from support.collector import collecting
from support.console import open_console, reached
from support.contract.canaries import MARKED, Canaries, Place, places
from support.contract.everything import EVERYTHING
from support.harness import Desk, declare_topology, eventually, good_request
from support.secret_search import OnDisk, everything_in, list_of_processes, traces_of
from support.worker_process import running_worker

from schemas import CreateSessionPayload
from worker.console.app import API
from worker.console.routes import GET, ROUTES
from worker.rabbitmq.topology import names_for
from worker.settings import Settings

Json = dict[str, Any]
# What an organisation or a user stands for: how a request ends.
STATES = ("completed", "failed", "retried", "refused", "cancelled", "waiting", "buried")
STORED = ("completed", "failed", "retried", "waiting")  # with all that they have


@dataclass
class Sent:
    """What was sent, and what of it may be stored as it is."""

    canaries: Canaries
    places: list[Place]
    whole: dict[str, str]  # the ids of the requests with everything in them, by how they end
    ends: Counter[str]  # how many end so
    sealed: set[str]
    properties: set[str]

    @property
    def open(self) -> set[str]:
        """Returns those that the contract takes for public."""
        return {place.canary for place in self.places if not place.sealed}


def request_of(place: Place | Json, state: str) -> Json:
    """Makes a request that ends so."""
    payload = place.payload if isinstance(place, Place) else place
    return good_request(None, **payload) | {
        "org_id": "held" if state in ("cancelled", "waiting") else "org-1",
        "user_id": {"failed": "fails", "retried": "later"}.get(state),
        "operation": "no such thing" if state == "refused" else "create_session",
    }


def everything_marked(canaries: Canaries) -> Json:
    """Puts a canary into each marked text of a payload that has everything."""

    def fill(value: Any, path: str) -> Any:
        match value:
            case dict():
                return {name: fill(item, f"{path}.{name}" if path else name) for name, item in value.items()}
            case list():
                return [fill(item, path) for item in value]
            case str() if MARKED.fullmatch(path) and not path.endswith(
                (".provider", ".region", ".type", ".models", ".service")
            ):
                return canaries.new()
            case _:
                return value

    filled: Json = fill(EVERYTHING, "")
    CreateSessionPayload.model_validate(filled)
    return filled


async def send_all(desk: Desk) -> Sent:
    """Sends each place in a request of its own, to all ends in turn; and to each end a request that has
    everything. What is public goes where it is stored.
    """
    canaries = Canaries()
    found = places(canaries)
    full = everything_marked(canaries)
    sealed = {place.canary for place in found if place.sealed} | canaries.found_in(json.dumps(full))
    headers = {"Authorization": canaries.new(), "X-Api-Key": canaries.new()}
    sealed |= set(headers.values())
    known = {name: canaries.new() for name in ("correlation_id", "app_id", "message_id", "type")}
    public = {"X-Trace": canaries.new(), "callback": f"https://me:{canaries.new()}@a.example"}
    properties = set(known.values()) | canaries.found_in(json.dumps(public))
    whole: dict[str, str] = {}

    async def send(what: Place | Json, state: str) -> str:
        request = request_of(what, state)
        request_id: str = request["request_id"]
        if state == "buried":
            del request["request_id"]
            await desk.send(request, headers={**headers, **public}, **known)
        else:
            await desk.send(request)
        return request_id

    for state in STATES:
        whole[state] = await send(full, state)
    ends = Counter(STATES)
    turns = {True: cycle(STATES), False: cycle(STORED)}
    for place in found:
        state = next(turns[place.sealed])
        request_id = await send(place, state)
        ends[state] += 1
        if not place.sealed and state == "completed":
            whole["public"] = request_id
    return Sent(canaries, found, whole, ends, sealed, properties)


async def cancel(desk: Desk, request_id: str, reason: str) -> None:
    exchange = await desk.channel.get_exchange(names_for(desk.prefix).requests, ensure=False)
    wish = {"request_id": request_id, "operation": "cancel_session", "reason": reason}
    await exchange.publish(aio_pika.Message(json.dumps(wish).encode()), routing_key="cancel")


async def pages_of(settings: Settings, folder: Path, ids: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Returns all that each person gets from the console: every row of its table that changes nothing, about
    each of these.
    """
    seen: dict[str, str] = {}
    async with open_console(settings, folder) as console:
        await reached(console)
        for name in ("viewer", "operator", "admin", "anna"):
            browser, program = await console.client(name), await console.bearer(name)
            parts = []
            for row in ROUTES:
                if row.methods != GET or row.name == "static":
                    continue
                client = program if row.path.startswith(API) else browser
                subject = re.search(r"(requests|dead)/\{", row.path)
                for one in ids.get(subject[1], ()) if subject else ("",):
                    answer = await client.get(re.sub(r"\{\w+(:\w+)?\}", one, row.path))
                    parts.append(f"{answer.text}{answer.headers}")
            seen[name] = "\n".join(parts)
    return seen


async def test_no_canary_is_found_where_it_may_not_be(
    settings: Settings, desk: Desk, db: asyncpg.Connection, tmp_path: Path, passwords: list[str]
) -> None:
    """Every place that the schema has, and hundreds where people put secrets: what is marked is nowhere, and
    all else only where the contract says that it is.
    """
    await declare_topology(settings)
    keys = f"k1:{base64.b64encode(os.urandom(32)).decode()}"
    on_disk = await OnDisk.watched(db)
    await db.execute(
        "insert into pauses (scope, name, reason, paused_by) values ('org', 'held', 'a look', 'ann')"
    )
    async with (
        collecting() as collector,
        running_worker(
            settings, tmp_path, WORKER_SEAL_KEYS=keys,
            WORKER_HANDLER="support.handlers:does_as_the_user_says",
            WORKER_MAX_ATTEMPTS="2", WORKER_RETRY_SECONDS="0", WORKER_RETRY_BASE_SECONDS="0.01",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, WORKER_TRACE_SAMPLE="1",
        ) as worker,
    ):  # fmt: skip
        sent = await send_all(desk)
        reason = sent.canaries.new()
        held = sent.ends["cancelled"] + sent.ends["waiting"]
        await eventually(
            lambda: db.fetchval("select count(*) = $1 from dead_letters", sent.ends["buried"]), 60
        )
        await eventually(
            lambda: db.fetchval("select count(*) = $1 from requests where waits_in is not null", held), 60
        )
        await cancel(desk, sent.whole["cancelled"], reason)
        answers = await desk.different(sent.ends.total() - held + 1)
        metrics = await worker.metrics()
        processes = list_of_processes()
        letter = await db.fetchval("select id from dead_letters order by size desc limit 1")
        ids = {
            "requests": [one for state, one in sent.whole.items() if state != "buried"],
            "dead": [str(letter)],
        }
        pages = await pages_of(settings.model_copy(update={"seal_keys": SecretStr(keys)}), tmp_path, ids)

    found = sent.canaries.found_in
    tables = await everything_in(db)
    kept: dict[str, str | bytes] = {"tables": tables}
    kept["log of changes"] = await on_disk.log()  # before a checkpoint drops some of it
    kept["files"] = await on_disk.files()
    shown: dict[str, str | bytes] = {
        "log": worker.said, "metrics": metrics, "processes": processes,
        "spans": str(collector.spans),
        "responses": "".join(f"{answer.body.decode()}{answer.info()}" for answer in answers),
        "audit": str(await db.fetch("select * from audit")),
        "attempts": str(await db.fetch("select * from attempts")),
        "viewer": pages["viewer"], "operator": pages["operator"], "admin": pages["admin"],
    }  # fmt: skip
    statuses = Counter(json.loads(answer.body)["status"] for answer in answers)
    assert min(len(sent.sealed), len(sent.open)) > 250
    assert statuses["completed"] == sent.ends["completed"] + sent.ends["retried"]
    assert len(collector.spans) > len(answers)

    assert found("".join(map(str, [pages["anna"], *shown.values()]))) & sent.sealed == set()
    for where, text in kept.items():
        assert found(text) & sent.sealed == set(), where
        assert sent.open <= found(text), f"{where}: what is public is found, so what is not is not there"
    # The ids that a message's properties have are shown; and the reason is the canceller's own word.
    beside = sent.properties | {reason}
    for where, text in shown.items():
        assert found(text) <= beside, where
    assert reason in found(shown["responses"])
    assert sent.open & found(pages["anna"]), "who may see payloads sees what is public"
    warned = [
        json.loads(line) for line in worker.said.splitlines() if '"request.looks_like_a_credential"' in line
    ]
    minute = datetime.fromisoformat(warned[0]["timestamp"]) + timedelta(seconds=59)
    first = [one["path"] for one in warned if datetime.fromisoformat(one["timestamp"]) < minute]
    assert len(first) == len(set(first)) == 10, "so many in the first minute, each path once"
    for secret in [keys.partition(":")[2], *passwords]:
        for where, text in (shown | {"tables": tables, "anna": pages["anna"]}).items():
            assert traces_of(secret, text.decode("latin-1") if isinstance(text, bytes) else text) == [], where
