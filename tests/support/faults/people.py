"""People are at work at the console while requests are on their way: one more kind of fault."""

import asyncio
import random
from uuid import UUID, uuid4

import asyncpg
import httpx
from linear.specification import Asked, Cancelled
from support.console import open_console, reached
from support.faults.load import CASEFILE
from support.faults.others import OTHER_CASEFILE
from support.faults.stage import POSTGRES, RABBITMQ, Stage, kind
from support.harness import eventually

from worker.console.api.call import BASE
from worker.settings import Settings

_EACH = 10  # requests that are cancelled, sent again, retried
_OF_THE_LAST = 200
_FAILED = (
    "select request_id from requests r where status = 'failed' and error_code = 'deadline_exceeded' "
    "and not exists (select from retries t where t.request_id = r.request_id) limit $1"
)
_RETRIED = "select retried_as from retries where request_id = any($1)"
_AUDITED = "select count(*) from audit where at > $1"


async def _act(stage: Stage, dice: random.Random) -> str:
    """Pauses, resumes and limits organisations, cancels, sends again and retries, by the console's API."""
    recent = stage.books.confirmed[-_OF_THE_LAST:]
    chosen = dice.sample(recent, min(2 * _EACH, len(recent)))
    cancelled, again = chosen[:_EACH], chosen[_EACH:]
    settings = Settings(
        amqp_url=stage.rabbit.url, database_url=stage.postgres.url, management_url="",
        prefix=stage.scene.prefix, lease_seconds=2,
    )  # fmt: skip
    db = await asyncpg.connect(stage.postgres.url)
    try:
        begun = await db.fetchval("select now()")
        failed = [row["request_id"] for row in await db.fetch(_FAILED, _EACH)]
        for request_id in cancelled:
            stage.books.history.may_have_been(request_id, Cancelled())
        async with open_console(settings, stage.folder) as console:
            client = await (await reached(console)).bearer("operator")
            await _change(client, "/pauses", org="org-2")
            await _change(client, "/limits", org="org-3", rate=50)
            await _select(client, "cancel", cancelled)
            await _select(client, "resend", again)
            await _select(client, "retry", failed)
            await asyncio.sleep(dice.uniform(0.2, 2))
            await _change(client, "/pauses/resume", org="org-2")
            await _change(client, "/limits/clear", org="org-3")
        for row in await db.fetch(_RETRIED, failed):
            for content in (CASEFILE, OTHER_CASEFILE):  # whichever the one that failed had
                stage.books.history.may_have_been(row["retried_as"], Asked(content))
        audited = await db.fetchval(_AUDITED, begun)
    finally:
        await db.execute("delete from pauses where name = 'org-2'")
        await db.execute("delete from limits where name = 'org-3'")
        await db.close()
    assert audited >= 4
    return (
        f"{audited} rows of the audit, {len(cancelled)} cancelled, {len(again)} again, {len(failed)} retried"
    )


async def _select(client: httpx.AsyncClient, action: str, ids: list[UUID]) -> None:
    """Has a selection worked off."""
    if not ids:
        return
    made = await _change(client, "/selections", action=action, ids=list(map(str, ids)), rate=1000, begin=True)

    async def done() -> bool:
        found = await client.get(f"{BASE}/selections/{made['id']}")
        return bool(found.json()["state"] == "done")

    await eventually(done, 60)


async def _change(client: httpx.AsyncClient, path: str, **body: object) -> dict[str, object]:
    answer = await client.post(
        BASE + path, json={"reason": "chaos", **body}, headers={"Idempotency-Key": str(uuid4())}
    )
    assert answer.status_code < 300, answer.text
    told: dict[str, object] = answer.json()
    return told


PEOPLE = {"people at the console": kind(_act, POSTGRES, RABBITMQ)}
