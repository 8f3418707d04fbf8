"""Divides a batch: what may begin now, what waits in Postgres, and what has to stay with the broker."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from worker.rules import NO_ORG, NOTHING, Rules, WaitReason
from worker.values import Arrival, Waiting

_PATIENCE_SECONDS = 3.0
# How many more of one organisation than its share may be in a batch by chance: one in a million has more.
_SIGMAS, _A_FEW = 5, 3


class Divided(NamedTuple):
    begin: list[Arrival]
    wait: list[Waiting]
    hold: list[Arrival]  # they may not begin, and there is no room for them to wait in Postgres


class Gate:
    """Knows the rules, and who has something waiting. Both are at most some tenths of a second old."""

    def __init__(
        self,
        me: str,
        *,
        fair: bool,
        max_waiting: int,
        quick: bool,
        is_backlogged: Callable[[], bool],
        breaker_is_open: Callable[[], bool],
    ) -> None:
        self._me = me
        self._fair = fair
        self._max_waiting = max_waiting
        self.quick = quick
        """A request is begun as quickly as it is put in line."""
        self._has_backlog = is_backlogged
        self._backlogged_since: float | None = None
        self._breaker_is_open = breaker_is_open
        self._rules = NOTHING
        self._in_line: set[str] = set()  # organisations that have something waiting which may begin
        self._waiting = 0
        self._changed = asyncio.Event()

    @property
    def rules(self) -> Rules:
        return self._rules

    def weight_of(self, org: str) -> float:
        """Return the share of this organisation, beside those of the others."""
        return self._rules.weight_of(org)

    @property
    def worker_paused(self) -> bool:
        return self._me in self._rules.paused_workers

    @property
    def full(self) -> bool:
        """Return whether so many wait in Postgres that no more may."""
        return self._waiting >= self._max_waiting

    @property
    def takes_without_slots(self) -> bool:
        """Return whether deliveries are taken that cannot begin: there is more behind them, or others are in
        line already, so that whose turn it is has to be found out.
        """
        return self._fair and not self.full and bool(self._in_line or self._is_backlogged)

    @property
    def _is_backlogged(self) -> bool:
        """Return whether there is more than this worker can begin soon. Where requests are begun as quickly
        as they are put in line, that is worth its cost only if it lasts.
        """
        if not self._has_backlog():
            self._backlogged_since = None
            return False
        now = time.monotonic()
        if self._backlogged_since is None:
            self._backlogged_since = now
        return not self.quick or now - self._backlogged_since >= _PATIENCE_SECONDS

    def _joins_its_line(self, org: str) -> bool:
        """Return whether a request of this organisation waits behind those that are in line already. Where
        requests are begun quickly, only if another organisation is in line as well: then it is to be exact.
        """
        return (
            self._fair
            and not self.full
            and org in self._in_line
            and (not self.quick or len(self._in_line) > 1)
        )

    def learn(self, rules: Rules, in_line: Iterable[str]) -> None:
        """Take in the rules, and who is in line, as they are on record now."""
        self._rules, self._in_line = rules, set(in_line)
        self._changed.set()
        self._changed = asyncio.Event()

    def counted(self, waiting: int) -> None:
        """Take in how many wait in Postgres."""
        self._waiting = waiting

    def joined(self, waiting: Iterable[Waiting]) -> None:
        """Note that these are in line now."""
        for one in waiting:
            if one.reason != "not_before":
                self._in_line.add(one.arrival.org_id or NO_ORG)
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Return when the rules, or who is in line, may have changed."""
        await self._changed.wait()

    def divide(self, arrivals: list[Arrival], room: int) -> Divided:
        """Divide a batch for which there is room to begin so many requests. A refused one needs no room."""
        divided = Divided([], [], [])
        candidates: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in arrivals:
            org = arrival.org_id or NO_ORG
            if arrival.refusal:
                divided.begin.append(arrival)
            elif arrival.not_before and arrival.not_before > datetime.now(UTC):  # it may have been held since
                self._keep(divided, arrival, "not_before")
            elif self._rules.any_wait and (reason := self._rules.reason_to_wait(org)):
                self._keep(divided, arrival, reason)
            elif self._joins_its_line(org):
                self._keep(divided, arrival, "over_share")
            else:
                candidates[org].append(arrival)
        if not candidates:
            return divided
        number = sum(map(len, candidates.values()))
        if number > room or (self._fair and len(candidates) > 1 and not self.full and self._is_backlogged):
            self._share(candidates, min(room, number), divided)
        else:
            for some in candidates.values():
                divided.begin.extend(some)
        return divided

    def _share(self, candidates: dict[str, list[Arrival]], room: int, divided: Divided) -> None:
        """Let each organisation begin its share. What one leaves is shared out among the others, but for one
        that has more than chance explains: behind it in the queue may be others that have less.
        """
        number = sum(map(len, candidates.values()))
        weights = {org: self._rules.weight_of(org) for org in candidates}
        total = sum(weights.values())
        turns: list[tuple[float, Arrival]] = []
        reason: WaitReason = "breaker" if self._breaker_is_open() else "over_share"
        for org, some in candidates.items():
            part = weights[org] / total
            share = max(1.0, room * part)
            by_chance = number * part + _SIGMAS * math.sqrt(number * part * (1 - part)) + _A_FEW
            most = math.ceil(share) if len(some) > by_chance else len(some)
            turns += [((place + 1) / weights[org], arrival) for place, arrival in enumerate(some[:most])]
            for arrival in some[most:]:
                self._keep(divided, arrival, reason)
        turns.sort(key=lambda turn: turn[0])
        divided.begin.extend(arrival for _, arrival in turns[:room])
        for _, arrival in turns[room:]:
            self._keep(divided, arrival, reason)

    def _keep(self, divided: Divided, arrival: Arrival, reason: WaitReason) -> None:
        if not self.full:
            self._waiting += 1  # until it is counted again
            divided.wait.append(Waiting(arrival, reason))
        else:
            divided.hold.append(arrival)
