"""The nodes of a RabbitMQ cluster live and cannot talk to each other, while clients reach all of them.

PARTITION_ROUNDS says how often each cut is made (1), and PARTITION_TICK is the net_ticktime of the nodes in
seconds (8; RabbitMQ's own is 60). PARTITION_KHEPRI=1 has RabbitMQ 4.0 keep queues, users and bindings in
Khepri, as 4.2 and later do by themselves. With `-s` each cut says how long nobody was answered.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import asyncpg
import pytest
from support.faults.apart import Links, Ways, cluster_to_cut
from support.faults.cluster import Cluster
from support.faults.load import Books, Producers, keep_sending, subscribe
from support.faults.processes import worker_processes
from support.faults.scene import Scene
from support.faults.watching import until_no_more
from support.harness import eventually

from worker.operations.promises import verify
from worker.rabbitmq.topology import names_for
from worker.stack import RabbitNode, StackError

ROUNDS: Final = int(os.environ.get("PARTITION_ROUNDS", "1"))
TICK: Final = int(os.environ.get("PARTITION_TICK", "8"))
KHEPRI: Final = os.environ.get("PARTITION_KHEPRI") == "1"
HANDLING: Final = "cluster_partition_handling"
DEPLOYED: Final = Path(__file__).parents[2] / "deploy" / "cluster" / "rabbitmq.conf"
PREFIX: Final = "apart"
PER_SECOND: Final = 25.0  # of each producer
MORE: Final = 60  # answers that show that work goes on
PROMISED_SECONDS: Final = 1.0  # without one more: all that was promised before the cut has arrived
NO_QUORUM_SECONDS: Final = 4.0
ALONE_SECONDS: Final = 60.0  # for nodes to come back by themselves; those of RabbitMQ 3.10 do not always
BACK_SECONDS: Final = 60.0 + 2 * TICK
T = TypeVar("T")


class Load:
    """A producer and a reader at each node: none of them goes to another one when its node is cut off."""

    def __init__(self, three: Cluster) -> None:
        self.books = Books()
        self.three = three
        self.producers = {node: Producers(node.url, PREFIX, self.books, 400) for node in three.nodes}

    def confirmed_by(self, nodes: Sequence[RabbitNode]) -> int:
        return sum(self.producers[node].confirmed for node in nodes)

    async def goes_on(self, nodes: Sequence[RabbitNode], what: str) -> None:
        """Waits until these nodes take more requests, and all that was taken meanwhile is answered."""
        confirmed, answered = self.confirmed_by(nodes), len(self.books.answered)
        await self.books.until(
            lambda: (
                self.confirmed_by(nodes) > confirmed + MORE and len(self.books.answered) > answered + MORE
            ),
            BACK_SECONDS,
            what,
        )

    async def next_answer(self) -> float:
        """Returns when the next request was answered."""
        await self.books.until_answered(len(self.books.answered) + 1, BACK_SECONDS, "answered")
        return time.monotonic()

    async def nothing_is_left(self) -> None:
        """Waits until each delivery of each queue is acknowledged, whichever side it was made on.

        Workers and readers are still there: they take copies that come after the first answer.
        """

        async def left() -> dict[str, int]:
            queues = await self.three.queues(self.three.nodes[0])
            return {name: queue["messages"] for name, queue in queues.items() if queue["messages"]}

        await until(left, lambda found: not found, "messages that nobody acknowledges")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        enough = asyncio.Event()
        queue = names_for(PREFIX).responses
        readers = [asyncio.create_task(subscribe(node.url, queue, self.books)) for node in self.producers]
        sending = [asyncio.create_task(keep_sending(each, enough)) for each in self.producers.values()]
        for each in self.producers.values():
            each.per_second = PER_SECOND
        try:
            yield
            enough.set()
            for each in self.producers.values():
                each.per_second = None
            await asyncio.gather(*sending)
            await self.books.until_all_answered(BACK_SECONDS)
            await self.nothing_is_left()
        finally:
            for task in (*sending, *readers):
                task.cancel()
            await asyncio.gather(*sending, *readers, return_exceptions=True)


class Site:
    """Cuts, sees what becomes of it, and heals."""

    def __init__(self, three: Cluster, links: Links, load: Load) -> None:
        self.three = three
        self.links = links
        self.load = load

    async def leader(self) -> RabbitNode:
        return await self.three.leader(names_for(PREFIX).requests, self.three.nodes[0])

    async def cut_off(self, node: RabbitNode, what: str) -> None:
        """Cut this node off, and wait until the others go on. It confirms nothing from then on."""
        others = [each for each in self.three.nodes if each is not node]
        await self.load.books.until(lambda: self.load.books.open > 0, 90, "in flight")
        since = time.monotonic()
        await self.links.cut([(node, each) for each in others] + [(each, node) for each in others])
        promised = await until_no_more(lambda: self.load.confirmed_by([node]), PROMISED_SECONDS)
        answer = asyncio.create_task(self.load.next_answer())
        await self.noticed([(node, each) for each in others])
        noticed = time.monotonic() - since
        say(f"{what} cut off: noticed within {noticed:.1f} s, next answer after {await answer - since:.1f} s")
        await self.load.goes_on(others, f"going on without {what}")
        assert self.load.confirmed_by([node]) == promised, "confirmed by a node that is no majority"

    async def cut(self, ways: Ways) -> None:
        """Cut what leaves no majority, and see that nothing is confirmed."""
        await self.links.cut(ways)
        await self.noticed(ways)
        promised = await until_no_more(lambda: len(self.load.books.confirmed), PROMISED_SECONDS)
        await asyncio.sleep(NO_QUORUM_SECONDS)
        assert len(self.load.books.confirmed) == promised, "confirmed by nodes that are no majority"

    async def heal(self) -> None:
        """Heal, and wait until all goes on as it did. A node that does not come back is started again."""
        await self.links.heal()
        since = time.monotonic()
        stuck: list[RabbitNode] = []
        if not await self.are_one_within(ALONE_SECONDS):
            stuck = [node for node in self.three.nodes if not await self.runs(node)]
            await asyncio.gather(*(node.kill() for node in stuck))
            await asyncio.gather(*(node.start() for node in stuck))
            assert await self.are_one_within(BACK_SECONDS), "not one cluster again"
        by_hand = f", {len(stuck)} started again by hand" if stuck else ""
        say(f"one cluster again {time.monotonic() - since:.1f} s after the cut was healed{by_hand}")
        await self.load.goes_on(self.three.nodes, "going on with all three")

    async def are_one_within(self, seconds: float) -> bool:
        try:
            await eventually(self.are_one, seconds)
        except TimeoutError:
            return False
        return True

    async def runs(self, node: RabbitNode) -> bool:
        return (await node.ctl("eval", "rabbit:is_running().")).strip() == "true"

    async def noticed(self, ways: Ways) -> None:
        """Wait until no node of these pairs has a connection to the other."""

        async def seen() -> dict[str, str]:
            said = await asyncio.gather(*(node.ctl("eval", "nodes().") for node in self.three.nodes))
            return {node.name: names for node, names in zip(self.three.nodes, said, strict=True)}

        def apart(by: dict[str, str]) -> bool:
            return not any(b.name in by[a.name] or a.name in by[b.name] for a, b in ways)

        await until(seen, apart, "they still see each other")

    async def are_one(self) -> bool:
        """Tells whether each node runs and has all the others, and all members of all queues are online."""
        state = (
            "lists:sort([node() | nodes()]) =:= lists:sort(rabbit_nodes:all()) andalso rabbit:is_running()."
        )
        try:
            said = await asyncio.gather(*(node.ctl("eval", state) for node in self.three.nodes))
            return {each.strip() for each in said} == {"true"} and await self.three.all_online()
        except StackError:  # a node that is starting answers nothing
            return False


async def until(look: Callable[[], Awaitable[T]], fits: Callable[[T], bool], otherwise: str) -> None:
    """Looks until it is so; else says what it has seen last."""
    seen: T | None = None
    try:
        async with asyncio.timeout(BACK_SECONDS):
            while not fits(seen := await look()):  # noqa: ASYNC110 — nodes set no event
                await asyncio.sleep(1)  # asking takes the nodes' processor time
    except TimeoutError:
        raise AssertionError(f"{otherwise}: {seen}") from None


def deployed(setting: str) -> str:
    """Returns this setting of the cluster that we deploy."""
    lines = (line.partition(" = ") for line in DEPLOYED.read_text("utf-8").splitlines())
    return next(value for name, _, value in lines if name == setting)


def say(line: str) -> None:
    print(line, flush=True)


@pytest.fixture
def quiet_client(caplog: pytest.LogCaptureFixture) -> None:
    """Silences the client libraries: lost connections are expected here."""
    for name in ("aiormq", "aio_pika"):
        caplog.set_level(logging.CRITICAL, name)


@pytest.mark.timeout(150 + ROUNDS * (300 + 12 * TICK))
@pytest.mark.usefixtures("quiet_client")
async def test_nodes_that_cannot_talk_to_each_other_lose_no_request(
    database_url: str, db: asyncpg.Connection
) -> None:
    settings = {HANDLING: deployed(HANDLING), "net_ticktime": str(TICK)}
    async with cluster_to_cut(settings) as (three, links):
        first = three.nodes[0]
        say(f"RabbitMQ {(await first.ctl('version')).strip()}")
        if KHEPRI:
            assert (await first.ctl("eval", "rabbit_feature_flags:enable(khepri_db).")).strip() == "ok"
        load = Load(three)
        site = Site(three, links, load)
        async with worker_processes(2, Scene(three.url, database_url, PREFIX).environ), load.running():
            await load.goes_on(three.nodes, "at work")
            for _ in range(ROUNDS):
                leader = await site.leader()
                await site.cut_off(leader, "the leader")
                await site.heal()

                leader = await site.leader()
                follower, other = (node for node in three.nodes if node is not leader)
                await site.cut_off(follower, "a follower")
                await site.cut([(leader, other), (other, leader)])
                await site.heal()

                if links.one_way:
                    leader = await site.leader()
                    follower, _ = (node for node in three.nodes if node is not leader)
                    await site.links.cut([(leader, follower)])
                    await site.noticed([(leader, follower)])
                    await site.heal()
        books = load.books
        received = f"{len(books.answered)} answered by {len(books.received)} responses"
        say(f"{len(books.confirmed)} requests confirmed, {received}")
        assert await verify(database_url, books.confirmed, books.received) == []
        assert await db.fetchval("select count(*) from requests") >= len(books.confirmed) >= 4 * MORE
        assert await db.fetchval("select max(attempt) from requests") <= 2, "a partition is no attempt"
