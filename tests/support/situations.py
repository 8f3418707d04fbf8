"""Makes happen what the commands of a page are there for, before each of them is typed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import ModuleType
from typing import Any
from uuid import uuid4

import asyncpg
from support.harness import Desk, eventually, good_request
from support.sealed import put_dead_letter, put_request, put_session, ring
from support.typist import Typist

Hook = Callable[[], Awaitable[Any]]
_WAITS = """
pg_locks where not granted and database = (select oid from pg_database where datname = current_database())
"""


class Situation:
    """Makes happen what a page's commands are there for."""

    def __init__(self, hands: Typist, desk: Desk, db: asyncpg.Connection) -> None:
        self.hands = hands
        self.desk = desk
        self.db = db
        self.holders: list[asyncpg.Connection] = []

    async def send(self, number: int, org: str, reply_to: str | None = "mine", **changes: Any) -> list[str]:
        requests = [good_request() | {"org_id": org} | changes for _ in range(number)]
        for request in requests:
            await self.desk.send(request, reply_to=reply_to)
        return [request["request_id"] for request in requests]

    async def until(self, condition: str) -> None:
        await eventually(lambda: self.db.fetchval(f"select {condition}"))

    async def garbage(self, app: str, other: str) -> str:
        """Have dead letters of two programs in custody; returns the first characters of one of the first."""
        for _ in range(3):
            request = good_request() | {"id": str(uuid4())}
            del request["request_id"]
            await self.desk.send(request, reply_to=None, app_id=app)
            await self.desk.send(b"<order>", reply_to=None, app_id=other)
        await self.until("count(*) >= 6 from dead_letters where state = 'kept'")
        one = await self.db.fetchval("select id from dead_letters where app_id = $1 limit 1", app)
        return str(one)[:8]

    async def hold(self, application: str, table: str | None) -> asyncpg.Connection:
        """Have somebody be connected, and hold a lock."""
        holder = await asyncpg.connect(
            self.hands.environ["DATABASE_URL"], server_settings={"application_name": application}
        )
        self.holders.append(holder)
        if table:
            await holder.execute(f"begin; lock table {table}")
        return holder

    async def until_waiting(self, number: int) -> None:
        """Have so many requests of org-7 wait: a pause is in force within a second."""

        async def they_wait() -> bool:
            await self.send(1, "org-7")
            waiting = await self.db.fetchval("select count(*) from requests where waits_in = 'org-7'")
            return bool(waiting >= number)

        await eventually(they_wait)

    def end(self) -> None:
        for holder in self.holders:
            holder.terminate()

    async def lose(self) -> str:
        """Have a response that reaches nobody; returns its request's id."""
        (lost,) = await self.send(1, "acme", reply_to="acme.replies.node-7")
        await self.until("count(*) > 0 from requests where undelivered is not null")
        return lost


class BadHour(Situation):
    """That of docs/on-call.md."""

    def __init__(self, hands: Typist, desk: Desk, db: asyncpg.Connection, rooms: ModuleType) -> None:
        super().__init__(hands, desk, db)
        self._rooms = rooms
        self._bad_build = uuid4()

    def steps(self) -> Mapping[str, Hook]:
        return {
            "session-worker dead list": self.dead_letters,
            "session-worker requests list --status failed": self.failures,
            "session-worker requests retry --org": self.mended,
            "session-worker orgs --since 10m": self.flood,
            "session-worker pause --org org-9": self.flood_waits,
            "session-worker requests explain": self.undelivered,
            "session-worker requests resend": self.reply_queue,
            "session-worker workers drain": self.alive,
            "session-worker workers": self.workers,
            "session-worker blockers --terminate": self.nothing,
            "session-worker blockers": self.blocker,
            "session-worker responses": self.responses,
            "session-worker requests list --build": self.bad_build,
            "session-worker keys report": self.sealed,
        }

    async def nothing(self) -> None: ...

    async def dead_letters(self) -> None:
        self.hands.meant["b938ecb5"] = await self.garbage("billing 2.1", "lists")

    async def failures(self) -> None:
        await self.desk.answers_to(await self.send(8, "org-7") + await self.send(4, "org-8"))

    async def mended(self) -> None:
        vars(self._rooms)["mended"] = True

    async def flood(self) -> None:
        await self.send(20, "org-9")
        await self.until("count(*) >= 8 from requests where org_id = 'org-9' and status = 'processing'")

    async def flood_waits(self) -> None:
        await self.until("count(*) > 0 from requests where waits_in = 'org-9'")

    async def undelivered(self) -> None:
        for _ in range(20):
            self._rooms.calls.release()
        self.hands.meant["c69baa55"] = (await self.lose())[:8]

    async def reply_queue(self) -> None:
        name = f"{self.desk.prefix}.acme.replies"
        await self.desk.channel.declare_queue(name, exclusive=True)
        self.hands.meant["acme.replies"] = name

    async def workers(self) -> None:
        """Have one that is silent, and one of a bad build."""
        for worker, pid, build, beat in (
            (uuid4(), 20695, "9b08716f", "-14 s"),
            (self._bad_build, 21385, "c4841652", "0 s"),
        ):
            await self.db.execute(
                "insert into workers (id, host, pid, version, handler, handler_build, heartbeat) "
                "select $1, 'vm', $2, '0.1.0', 'rooms:create', $3, now() + $4::text::interval "
                "where not exists (select from workers where pid = $2)",
                worker,
                pid,
                build,
                beat,
            )
        await self.alive()

    async def alive(self) -> None:
        await self.db.execute("update workers set heartbeat = now() + interval '20 s' where pid = 21385")

    async def blocker(self) -> None:
        holder = await self.hold("nightly backup", "requests")
        await self.send(1, "org-8")
        await self.until(f"count(*) > 0 from {_WAITS}")
        self.hands.meant["20948"] = str(holder.get_server_pid())

    async def responses(self) -> None:
        await self.send(4, "org-8", reply_to=None)
        queue = f"{self.desk.prefix}.responses"

        async def there_are() -> bool:
            return await self.desk.count(queue) >= 4

        await eventually(there_are)

    async def bad_build(self) -> None:
        """Have requests fail, as of the worker of the bad build."""
        vars(self._rooms)["broken"] = True
        failed = await self.send(7, "org-8")
        await self.desk.answers_to(failed)
        vars(self._rooms)["broken"] = False
        await self.db.execute("set session_replication_role = replica")  # past the guard
        for table in ("requests", "attempts", "recorded_transitions"):
            await self.db.execute(
                f"update {table} set worker = $1 where request_id = any ($2::uuid[])",  # noqa: S608 — of these
                self._bad_build, failed,
            )  # fmt: skip
        await self.db.execute("reset session_replication_role")

    async def sealed(self) -> None:
        await self.db.execute("delete from dead_letters; delete from workers where pid in (20695, 21385)")
        for number in range(5):
            await put_dead_letter(self.db, b"no JSON: %d" % number, ring("k1"))


class OrdinaryDay(Situation):
    """That of docs/operating.md."""

    def __init__(self, hands: Typist, desk: Desk, db: asyncpg.Connection, rooms: ModuleType) -> None:
        super().__init__(hands, desk, db)
        self._rooms = rooms
        self._waits: list[asyncio.Task[Any]] = []

    def steps(self) -> Mapping[str, Hook]:
        return {
            "session-worker doctor": self.a_lock_and_a_pause,
            "session-worker pause --org": self.no_lock,
            "session-worker requests retry": self.failures,
            "session-worker requests cancel": self.waiting,
            "session-worker selections continue": self.stopped,
            "session-worker dead list": self.dead_letters,
            "session-worker keys report": self.sealed,
        }

    async def a_lock_and_a_pause(self) -> None:
        await self.desk.answers_to(await self.send(4, "org-7"))
        vars(self._rooms)["mended"] = True
        paused = await self.hands.type("session-worker pause --org org-7 --reason 'too many errors'")
        assert paused.code == 0, paused
        await self.hold("pg_dump", "lines")
        for _ in range(2):
            waiting = await self.hold("a report", None)
            self._waits.append(asyncio.create_task(waiting.execute("select from lines")))
        await self.until(
            "count(*) = 2 from pg_locks where not granted and waitstart < now() - interval '5.1 s'"
        )

    async def no_lock(self) -> None:
        self.end()
        await asyncio.gather(*self._waits, return_exceptions=True)
        await self.until_waiting(2)

    async def failures(self) -> None:
        await self.hands.type("session-worker resume --org org-7")
        await self.lose()

    async def waiting(self) -> None:
        await self.hands.type("session-worker pause --org org-7 --reason 'a flood'")
        await self.until_waiting(1)

    async def stopped(self) -> None:
        await self.db.execute(
            "insert into selections (id, action, chosen_by, who, rate, state, ended_at) "
            "values ('7f3a90c1', 'cancel', '{}', 'ann', 50, 'stopped', now())"
        )

    async def dead_letters(self) -> None:
        self.hands.meant["6fa860ba"] = await self.garbage("billing-exporter", "lister")

    async def sealed(self) -> None:
        """Have something of each kind that a key has sealed, and nothing of the other key."""
        keys = ring("k1")
        await put_session(self.db, await put_request(self.db, keys), keys)
        await put_request(self.db, keys, "leased")
