"""Changes a state by one step, and says what the step wrote to the histories."""

from typing import NamedTuple

from model.states import (
    DEAD,
    NO_LEASE,
    Broken,
    Row,
    State,
    Worker,
)

from worker import law


class Entry(NamedTuple):
    """One row that is written to the history of a request, and whose it is."""

    request: int
    status: str
    attempts: int
    by: int
    before: int  # the worker of the row before


class Step(NamedTuple):
    name: str
    after: State
    fault: bool = False  # people and time do this, too: what need not happen
    entries: tuple[Entry, ...] = ()


class Draft:
    """A state that is being changed by one step."""

    def __init__(self, state: State, worker: int = 0) -> None:
        self.requests = list(state.requests)
        self.workers = list(state.workers)
        self.leases = dict(state.leases)
        self.left = state.left
        self.me = worker
        self.items = list(state.workers[worker].items)
        self.entries: list[Entry] = []

    @property
    def worker(self) -> Worker:
        return self.workers[self.me]

    def step(self, name: str, fault: str = "") -> Step:
        self.set_worker(items=tuple(self.items))
        if not any(self.items) and not self.worker.looks and self.worker.kind and self.worker.up:
            self.end_batch()
        after = State(
            tuple(self.requests),
            tuple(self.workers),
            tuple(sorted(self.leases.items())),
            self.left - bool(fault),
        )
        named = f"{name} ({fault})" if fault else name
        return Step(named, after, fault=bool(fault), entries=tuple(self.entries))

    def set_worker(self, **values: object) -> None:
        self.workers[self.me] = self.worker._replace(**values)  # type: ignore[arg-type]

    def set(self, index: int, **values: object) -> None:
        self.requests[index] = self.requests[index]._replace(**values)  # type: ignore[arg-type]

    def row(self, index: int) -> Row:
        return self.requests[index].row

    def set_row(self, index: int, **values: object) -> None:
        self.set(index, row=self.row(index)._replace(**values))  # type: ignore[arg-type]

    def go(self, index: int, statement: str, status: str, by: int, *, noted: bool = True) -> None:
        """Take the step that the law has for this statement."""
        row = self.row(index)
        legal = [step for step in law.steps_from(row.status, statement) if step.after == status]
        if not legal:
            raise Broken(f"{statement} leads from {row.status} to {status}: no legal step")
        attempts = legal[0].attempts
        if statement == "claim_again" and not noted:
            raise Broken(f"attempt {row.attempt + 1} begins, and it is not on record why the last one failed")
        self.entries.append(Entry(index, status, attempts, by, row.by))
        self.set_row(index, status=status, attempt=row.attempt + attempts, by=by)

    def new_lease(self) -> int:
        taken = [worker.lease for worker in self.workers] + [one.row.lease for one in self.requests]
        return max([NO_LEASE, *taken, *self.leases]) + 1

    def take_loans_back(self, *, stale: bool) -> None:
        """The broker has its deliveries again."""
        for index, item in enumerate(self.items):
            if item is not None and item.loan == "live":
                request = self.requests[index]
                if self.worker.kind == "cancel":
                    self.set(index, cancels=request.cancels + 1)
                else:
                    self.set(index, queued=request.queued + 1)
                self.items[index] = item._replace(loan="stale") if stale else item

    def give_up_batch(self) -> None:
        """The batch failed: its deliveries are given back, and its lease is kept no longer."""
        self.take_loans_back(stale=False)
        if self.worker.mine:
            self.leases[self.worker.lease] = DEAD
        self.end_batch()

    def end_batch(self) -> None:
        self.items = [None] * len(self.items)
        self.set_worker(kind="", lease=NO_LEASE, mine=False, looks="", items=tuple(self.items))

    def release(self, *, only_own: bool) -> None:
        """Remove the lease of the batch from the record."""
        worker = self.worker
        if worker.mine or not only_own:
            self.leases.pop(worker.lease, None)
            for index, other in enumerate(self.workers):
                if other.lease == worker.lease:
                    self.workers[index] = other._replace(mine=False)
