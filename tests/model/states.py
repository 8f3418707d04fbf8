"""The states of the model: what Postgres, RabbitMQ and the workers know, as plain tuples."""

from collections.abc import Callable
from itertools import permutations
from typing import Any, NamedTuple

from worker import law

NO_LEASE = -1
NOBODY = -1
FORMER_WORKER = -2  # it has ended: no worker of now is it
LIVE, DEAD, FREE = "live", "dead", "free"
"""Where a lease stands: with a worker that runs, with one that died or has given it up, or with nobody."""


class Broken(Exception):
    """A promise was broken by a step."""


class Row(NamedTuple):
    """A row of `requests`."""

    status: str = law.BEGIN
    attempt: int = 0
    over: bool = False  # it is noted why this attempt failed
    place: str = ""  # "due": put off, or looked after; "line": it waits in one
    lease: int = NO_LEASE
    published: bool = False
    waits: bool = False  # its response, for a queue that has refused it
    cancelled: bool = False  # that is its error code
    by: int = NOBODY  # the worker of the last row of its history; told only where the language is made

    @property
    def finished(self) -> bool:
        return self.status in law.FINISHED


class Request(NamedTuple):
    """All that there is of one request outside of the workers."""

    row: Row = Row()
    sessions: int = 0
    former: bool = False  # its session is that of a record which was deleted as old
    queued: int = 1  # messages in the queue
    cancels: int = 0
    owed: bool = True  # a producer sent a message, and no response was published since
    late: bool = False  # its deadline has passed


class Item(NamedTuple):
    """One request in a worker's hands. Stages, in the order in which a worker goes on with them:

    new: delivered; asked: its cancellation was delivered; unknown, pending: that was read of it;
    verdict: to be stored; answer: to be published; published, settled: the broker is to be told;
    noted: as published, with the next note; claimed: an attempt is this worker's; held: under a lease
    that was taken.
    """

    stage: str
    loan: str = ""  # "live": a delivery that is not settled; "stale": its channel was lost
    attempt: int = 0
    verdict: str = ""  # completed, failed, cancelled, put off, kept: put off, and no attempt is spent
    done: bool = False  # the statement was carried out, and its answer lost
    lost: bool = False  # the attempt ended with its worker
    spent: bool = False  # the next attempt has a number of its own


class Worker(NamedTuple):
    up: bool = True
    kind: str = ""  # of its batch: deliveries, cancel, taken
    lease: int = NO_LEASE
    mine: bool = False  # the lease is on record as this worker's
    looks: str = ""  # it has taken leases or requests, and has yet to read what: lost, unharmed, taken
    items: tuple[Item | None, ...] = ()


class State(NamedTuple):
    requests: tuple[Request, ...]
    workers: tuple[Worker, ...]
    leases: tuple[tuple[int, str], ...]  # those on record, and where each stands
    left: int  # how many faults there may still be


def beginning(requests: int, workers: int, faults: int) -> State:
    """Return the first state: each request was sent and confirmed, and every worker is ready."""
    idle = Worker(items=(None,) * requests)
    return State((Request(),) * requests, (idle,) * workers, (), faults)


def canonical(state: State) -> State:
    """Return the one that stands for all states that differ in names only: of workers, requests, leases."""
    sortings = _sortings(state.requests, lambda index: _request_key(state, index))
    if len(sortings) == 1:
        return min(_renamed(state, sortings[0], order) for order in _worker_orders(state, sortings[0]))
    return min(
        _renamed(state, sorting, order) for sorting in sortings for order in _worker_orders(state, sorting)
    )


def _sortings(things: tuple[Any, ...], key: Callable[[int], Any]) -> list[tuple[int, ...]]:
    """Return the orders in which these may stand: only those that are alike may change places."""
    if len(things) == 1:
        return [(0,)]
    keys = [key(index) for index in range(len(things))]
    if len(things) == 2:  # most often; quickly
        return [(0, 1)] if keys[0] < keys[1] else [(1, 0)] if keys[1] < keys[0] else [(0, 1), (1, 0)]
    best = sorted(keys)
    return [order for order in permutations(range(len(things))) if [keys[one] for one in order] == best]


def _request_key(state: State, index: int) -> Any:
    request = state.requests[index]
    row = request.row
    return (*request[1:], *row[:4], *row[5:8], sorted(worker.items[index] or () for worker in state.workers))


def _worker_orders(state: State, sorting: tuple[int, ...]) -> list[tuple[int, ...]]:
    def key(index: int) -> Any:
        worker = state.workers[index]
        return worker.up, worker.kind, worker.mine, worker.looks, [worker.items[one] or () for one in sorting]

    return _sortings(state.workers, key)


def _renamed(state: State, sorting: tuple[int, ...], order: tuple[int, ...]) -> State:
    leases: dict[int, int] = {}
    standing = dict(state.leases)
    workers = [state.workers[index] for index in order]
    in_hand = {worker.lease for worker in workers}

    def number(lease: int) -> int:
        return lease if lease == NO_LEASE else leases.setdefault(lease, len(leases))

    requests = []
    for index in sorting:
        request = state.requests[index]
        row = request.row
        if row.lease != NO_LEASE or row.by >= 0:
            # What is published, or under a lease that is gone, is found by no lease any more.
            found = not row.published and (row.lease in standing or row.lease in in_hand)
            by = order.index(row.by) if row.by >= 0 else row.by
            row = row._replace(lease=number(row.lease) if found else NO_LEASE, by=by)
            request = request._replace(row=row)
        requests.append(request)
    for place, worker in enumerate(workers):
        items = tuple([worker.items[index] for index in sorting])
        workers[place] = worker._replace(lease=number(worker.lease), items=items)
    known = sorted((leases[lease], where) for lease, where in state.leases if lease in leases)
    return _Comparable(tuple(requests), tuple(workers), tuple(known), state.left)


class _Comparable(State):
    """`min` compares states, and None is no item that it could compare."""

    __slots__ = ()

    def __lt__(self, other: tuple[Any, ...]) -> bool:
        return str(self) < str(other)
