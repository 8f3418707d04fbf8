"""Requests are retried, resent and cancelled in frozen selections, and nothing of it is done twice."""

import asyncio
import json
from collections import Counter
from typing import Any
from uuid import UUID

import asyncpg
from pydantic import SecretStr
from support.commands import Shell, line_with
from support.contract.secret_payloads import PHONE
from support.handlers import steer
from support.harness import Desk, NewWorker, eventually, good_request, metric_becomes, response_in

from schemas import CreateSessionRequest
from worker.cli.commands import history
from worker.handlers import Context, Rejected
from worker.messages.sealing import parse_seal_keys
from worker.rabbitmq.topology import REQUEST_KEY, names_for

KEYS = "k1:" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
OLD = "select * from requests where request_id = any ($1::uuid[]) order by request_id"


async def failing_until_told(new_worker: NewWorker, **settings: Any) -> tuple[asyncio.Event, list[str]]:
    """Starts a worker whose handler rejects everything until the event; notes the tokens that it gets."""
    mended, tokens = asyncio.Event(), []

    async def act(request: CreateSessionRequest, _context: Context) -> None:
        if not mended.is_set():
            raise Rejected("rooms answered 503")
        phone = request.payload.phone_number
        if phone is not None:
            tokens.append(phone.model_dump()["twilio_auth_token"])

    await new_worker(handler=steer(act), **settings)
    return mended, tokens


async def failed_requests(desk: Desk, number: int, **changes: Any) -> list[UUID]:
    """Sends requests that fail; returns their ids."""
    requests = [{**good_request(), **changes} for _ in range(number)]
    for index, request in enumerate(requests):
        await desk.send(request, correlation_id=f"order-{index}")
    answers = await desk.answers_to(request["request_id"] for request in requests)
    assert {answer.status.value for answer in answers.values()} == {"failed"}
    return [UUID(request["request_id"]) for request in requests]


async def retried(desk: Desk, number: int) -> Counter[str]:
    """Receives the responses of so many retries; returns how many there were for each correlation id."""
    correlations: dict[str | None, str] = {}
    while len(correlations) < number:
        message = await desk.next()
        assert response_in(message).status.value == "completed"
        correlations[message.message_id] = str(message.correlation_id)
    return Counter(correlations.values())


async def test_what_has_failed_is_retried_as_another_request_and_once(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, shell: Shell
) -> None:
    mended, tokens = await failing_until_told(new_worker, seal_keys=SecretStr(KEYS))
    secret = {
        "payload": {"phone_number": {**PHONE, "twilio_auth_token": "made-up-token-17"}},
        "org_id": "org-7",
    }
    old = await failed_requests(desk, 3, **secret)
    await failed_requests(desk, 1, org_id="org-8")
    on_record = await db.fetch(OLD, old)
    mended.set()
    of_org = ("requests", "retry", "--org", "org-7", "--status", "failed")

    looked = await shell.run(*of_org, "--dry-run")
    unasked = await shell.run(*of_org)

    assert looked.code == 0
    assert "3 requests, 1 org (org-7)" in looked.err
    assert "3 with secrets" in looked.err
    assert "3 to 1 reply queue of requesters" in looked.err
    assert (unasked.code, "--yes" in unasked.err) == (2, True)
    assert await db.fetchval("select count(*) from selections") == 0
    assert await db.fetchval("select count(*) from audit") == 0

    keyless = await shell.run(*of_org, "--yes", "--no-wait")
    assert keyless.code == 1
    assert "needs key 'k1': add it to WORKER_SEAL_KEYS" in keyless.out
    shell.variables["WORKER_SEAL_KEYS"] = KEYS
    done = await shell.run(*of_org, "--yes", "--because", "rooms are back", "--by", "ann@ops", "--json")

    assert done.code == 0, done.err
    (told,) = done.records
    assert (told["state"], told["done"], told["failed"]) == ("done", 3, 0)
    assert told["results"] == [{"status": "completed", "code": None, "number": 3}]
    assert await retried(desk, 3) == {"order-0": 1, "order-1": 1, "order-2": 1}
    assert tokens == ["made-up-token-17"] * 3
    assert await db.fetch(OLD, old) == on_record  # a failure is a result
    links = await db.fetch("select * from retries order by request_id")
    assert [link["request_id"] for link in links] == sorted(old)
    for link in links:
        body = await db.fetchval("select body from requests where request_id = $1", link["retried_as"])
        opened = parse_seal_keys(KEYS).open_document(json.loads(body)["payload"], link["retried_as"])
        assert opened["phone_number"]["twilio_auth_token"] == "made-up-token-17"
        assert "made-up-token-17" not in body

    before, after = str(links[0]["request_id"]), str(links[0]["retried_as"])
    shown = (await shell.run("requests", "show", after, "--json")).records[0]
    assert shown["request"]["retry_of"] == before
    of_old = (await shell.run("requests", "explain", before, "--json")).records[0]
    of_new = (await shell.run("requests", "explain", after, "--json")).records[0]
    assert of_old["command"] == f"session-worker requests explain {after}"
    said = {event["what"]: event["text"] for event in of_old["events"] + of_new["events"]}
    assert said["retried"] == f"as {after}, selection {told['id']} by ann@ops"
    assert said["retry"] == f"it is the retry of {before}, selection {told['id']} by ann@ops"

    again = await shell.run(*of_org, "--yes", "--json")
    assert (again.code, again.records[0]["skipped"]) == (0, 3)
    assert again.records[0]["outcomes"][0]["outcome"] == "it was retried before, by another selection"
    audit = (await shell.run("audit", "list", "--org", "org-7", "--json")).records
    assert [(row["action"], row["touched"], row["who"], row["reason"]) for row in audit][1] == (
        "requests.retry", 3, "ann@ops", "rooms are back",
    )  # fmt: skip
    assert audit[1]["about"]["chosen_by"] == {"org": "org-7", "status": "failed"}


async def test_what_could_not_be_sent_is_retried_by_another_selection_as_the_same_request(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, shell: Shell
) -> None:
    mended, _ = await failing_until_told(new_worker)
    (key,) = await failed_requests(desk, 1)
    mended.set()
    names = names_for(desk.prefix)
    queue = await desk.channel.get_queue(names.requests, ensure=False)

    await queue.unbind(names.requests, REQUEST_KEY)
    unsent = await shell.run("requests", "retry", str(key))
    await queue.bind(names.requests, REQUEST_KEY)
    noted = await db.fetchrow("select * from retries")
    looked = await shell.run("requests", "retry", "--status", "failed", "--dry-run", "--json")
    sent = await shell.run("requests", "retry", str(key), "--json")
    again = await shell.run("requests", "retry", str(key), "--json")

    assert (unsent.code, "1 failed: no queue there" in unsent.out) == (1, True)
    assert (looked.records[0]["failed"], looked.records[0]["retried"]) == (1, 0)
    assert (sent.code, sent.records[0]["done"]) == (0, 1), sent.err
    assert (await desk.next()).message_id == str(noted["retried_as"])
    assert await db.fetchrow("select * from retries") == noted
    assert again.records[0]["skipped"] == 1


async def test_a_retry_killed_half_way_goes_on_and_doubles_nothing(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, shell: Shell
) -> None:
    mended, _ = await failing_until_told(new_worker)
    await failed_requests(desk, 30)
    mended.set()

    async with shell.start("requests", "retry", "--status", "failed", "--yes", "--rate", "10/s") as process:
        key = (await line_with(process.stderr, "10/30")).split()[1].rstrip(":")
        process.kill()
        await process.wait()
    # As if it had died after it had sent some, and before it noted that.
    await db.execute(
        "with back as (update selection_items set state = 'waiting', outcome = null where request_id in "
        "(select request_id from selection_items where state = 'done' limit 4) returning 1) "
        "update selections set done = done - (select count(*) from back)"
    )
    refused = await shell.run("selections", "continue", key)
    assert (refused.code, "another process works on" in refused.err) == (1, True)
    left = await db.fetchval("select chosen - done from selections")
    assert left in (24, 14, 4), "it may have noted some more between its word and its death"
    stopped = await shell.run("selections", "stop", key)
    assert (stopped.code, "stopped: selection" in stopped.out) == (0, True)
    shown = await shell.run("selections", "show", key)
    assert f"next: session-worker selections continue {key}" in shown.out

    first, second = await asyncio.gather(*(shell.run("selections", "continue", key) for _ in range(2)))

    assert sorted((first.code, second.code)) == [0, 1]
    assert "another process works on" in first.err + second.err or "is done" in first.err + second.err
    assert await retried(desk, 30) == {f"order-{index}": 1 for index in range(30)}
    assert await db.fetchval("select count(*) from requests") == 60
    assert await db.fetchval("select count(*) from sessions") == 30
    (row,) = (await shell.run("selections", "list", "--json")).records
    assert (row["state"], row["chosen"], row["done"], row["failed"]) == ("done", 30, 30, 0)
    actions = await db.fetch("select action, touched from audit order by number")
    assert [tuple(row) for row in actions] == [
        ("requests.retry", 30), ("selections.stop", left), ("requests.retry (continued)", left),
    ]  # fmt: skip


async def test_ctrl_c_stops_a_selection_and_another_operator_does_too(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, shell: Shell
) -> None:
    mended, _ = await failing_until_told(new_worker)
    await failed_requests(desk, 60)  # half a minute's work: there is time to stop it twice
    mended.set()
    retry = ("requests", "retry", "--status", "failed", "--yes", "--rate", "2/s")

    async with shell.start(*retry) as process:
        key = (await line_with(process.stderr, "2/60")).split()[1].rstrip(":")
        process.terminate()
        rest = await process.stderr.read() if process.stderr else b""
        assert await process.wait() == 130
    assert f"selections continue {key}" in rest.decode()
    state = "select state from selections where id = $1"
    assert await db.fetchval(state, key) == "stopped"

    async with shell.start("selections", "continue", key) as process:
        await line_with(process.stderr, f"selection {key}")
        assert (await shell.run("selections", "stop", key, "--because", "slowly")).code == 0
        rest = await process.stderr.read() if process.stderr else b""
        assert await process.wait() == 1
    assert "was stopped" in rest.decode()
    assert await db.fetchval(state, key) == "stopped"
    late = await shell.run("selections", "stop", key)
    assert f"nothing to do: selection {key} is stopped" in late.out


async def test_a_response_is_sent_again_with_its_bytes_and_elsewhere(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection, shell: Shell
) -> None:
    await new_worker()
    request = good_request()
    key = request["request_id"]
    await desk.send(request, correlation_id="order-1")
    first = await desk.next()
    gone = good_request()
    await desk.send(gone, reply_to="nobody.there", correlation_id="order-2")
    unroutable = "select count(*) from requests where undelivered = 'unroutable'"
    await eventually(lambda: db.fetchval(unroutable))

    confirmed = await shell.run("requests", "resend", key)
    copy = await desk.next()
    still = await shell.run("requests", "resend", "--response", "unroutable", "--yes")
    elsewhere = await shell.run(
        "requests", "resend", "--response", "unroutable", "--to", desk.reply_to, "--yes", "--json"
    )
    moved = await desk.next()

    assert confirmed.code == 0, confirmed.err
    assert (copy.body, copy.message_id, copy.correlation_id) == (first.body, key, "order-1")
    assert (still.code, "1 failed: no queue there" in still.out) == (1, True)
    assert (elsewhere.code, elsewhere.records[0]["done"]) == (0, 1)
    assert (moved.message_id, moved.correlation_id) == (gone["request_id"], "order-2")
    stored = await db.fetchval(
        "select response from requests where request_id = $1", UUID(gone["request_id"])
    )
    assert moved.body.decode() == stored
    assert await db.fetchval(unroutable) == 0
    nothing = await shell.run("requests", "resend", "--org", "nobody", "--yes")
    unknown = await shell.run("requests", "resend", "ffffffff-0000")
    neither = await shell.run("requests", "resend")
    nowhere = {"AMQP_URL": "amqp://a:b@127.0.0.1:1/x"}
    away = await shell.run("requests", "resend", key, "--wait", "0.5", **nowhere)
    (left,) = [row["id"] for row in await db.fetch("select id from selections where state = 'stopped'")]
    goes_on = await shell.run("selections", "continue", left)
    assert (away.code, f"`session-worker selections continue {left}` goes on" in away.err) == (3, True)
    assert "RabbitMQ cannot be reached" in away.err
    assert (goes_on.code, (await desk.next()).body) == (0, first.body)
    assert (nothing.code, "no request matches" in nothing.err) == (0, True)
    assert (unknown.code, neither.code) == (1, 2)
    assert await db.fetchval("select count(*) from selections where state <> 'done'") == 0


async def test_what_waits_is_cancelled_and_who_did_it_is_in_the_export(
    new_worker: NewWorker, desk: Desk, shell: Shell
) -> None:
    worker = await new_worker()
    done = await desk.ask({**good_request(), "org_id": "org-7"})
    await shell.run("pause", "--org", "org-7", "--reason", "a flood", "--by", "ann@ops")
    await metric_becomes(1, worker, "worker_paused", scope="org")
    waiting = [{**good_request(), "org_id": "org-7", "user_id": "=cmd()"} for _ in range(3)]
    for request in waiting:
        await desk.send(request)

    async def wait() -> bool:
        counted = await shell.run("requests", "cancel", "--org", "org-7", "--status", "waiting",
                                  "--because", "-", "--dry-run", "--json")  # fmt: skip
        return bool(counted.records[0]["requests"] == 3)

    await eventually(wait)
    told = (await shell.run("requests", "explain", str(waiting[0]["request_id"]), "--json")).records[0]
    assert (told["waits"], told["by_itself"]) == ("paused (a flood, by ann@ops)", True)
    assert told["command"] == "session-worker resume --org org-7"
    cancel = ("requests", "cancel", "--org", "org-7", "--because", "+a flood", "--by", "@bob", "--json")
    cancelled = await shell.run(*cancel, "--status", "waiting", "--yes")
    late = await shell.run(*cancel[:2], str(done.request_id), *cancel[4:])

    assert cancelled.code == 0, cancelled.err
    assert cancelled.records[0]["results"] == [{"status": "failed", "code": "cancelled", "number": 3}]
    assert (late.code, late.records[0]["skipped"]) == (0, 1)
    answers = [response_in(await desk.next()) for _ in waiting]
    assert {answer.error for answer in answers} == {"cancelled: +a flood"}
    export = await shell.run("history", "export", "--org", "org-7", "--since", "1h", "--csv")
    header, *lines = [line.split(",") for line in export.out.splitlines()]
    assert tuple(header) == history.COLUMNS
    of_cancelled = [line for line in lines if line[7] == "cancelled"]
    assert [(line[3], line[5], line[6], line[9]) for line in of_cancelled] == [
        ("'=cmd()", "processing", "failed", "'@bob")
    ] * 3
    assert len(lines) == 3 + 3 * 3  # each is accepted, begun and ended
    audit = await shell.run("audit", "list", "--by", "@bob", "--csv")
    assert "'@bob" in audit.out
    assert "'+a flood" in audit.out
