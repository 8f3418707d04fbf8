"""The protocol of the workers, as steps from state to state. A row takes only the steps of `law.REQUEST`.

A step is what others can see: one statement in Postgres, one exchange with RabbitMQ. What a worker does in
its own memory between two of them is no step of its own: to die there is to die before the next one.
A worker has one batch in hand at a time. Time is not counted: a lease runs out, a put-off request falls due,
a turn comes at any moment. Each fault uses up one of those that are left.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations

from model.draft import Draft, Step
from model.guards import FAULTS, GUARDS
from model.states import (
    DEAD,
    FORMER_WORKER,
    FREE,
    LIVE,
    NO_LEASE,
    NOBODY,
    Broken,
    Item,
    Request,
    Row,
    State,
)

from worker import law

_NAMES = "AB"


def some_of(indices: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Return every choice of at least one of these, all of them first."""
    for size in range(len(indices), 0, -1):
        yield from combinations(indices, size)


class Protocol:
    """Says which steps lead on from a state. `without`: the guards that are removed."""

    def __init__(
        self, faults: Iterable[str] = FAULTS, without: Iterable[str] = (), *, names_workers: bool = False
    ) -> None:
        self._can = frozenset(faults)
        self._guarded = frozenset(GUARDS) - frozenset(without)
        self._names_workers = names_workers
        self._in_order: dict[tuple[str, ...], Callable[[State, int, Sequence[int]], Iterator[Step]]] = {
            ("new",): self._accepts,
            ("asked", "unknown", "pending"): self._cancels,
            ("verdict",): self._stores,
            ("answer",): self._publishes,
            ("published", "settled"): self._acknowledges,
            ("claimed",): self._works_in_turn,
            ("held",): self._claims_in_turn,
            ("noted", "no more"): self._notes,
        }

    def steps(self, state: State) -> Iterator[Step]:
        self._faults = self._can if state.left else frozenset[str]()
        for index, worker in enumerate(state.workers):
            if not worker.up:
                draft = Draft(state, index)
                draft.set_worker(up=True)
                yield draft.step(f"{_NAMES[index]} starts again")
            elif worker.kind:
                yield from self._ends(state, index)
                yield from self._goes_on(state, index)
            else:
                yield from self._begins(state, index)
        yield from self._people(state)

    # What happens to a worker

    def _ends(self, state: State, me: int) -> Iterator[Step]:
        for fault in ("dies", "stops"):
            if fault in self._faults:
                draft = Draft(state, me)
                draft.take_loans_back(stale=False)
                if draft.worker.mine:
                    draft.leases[draft.worker.lease] = DEAD if fault == "dies" else FREE
                draft.end_batch()
                draft.set_worker(up=False)
                for index, request in enumerate(draft.requests):
                    if request.row.by == me and self._names_workers:
                        draft.set_row(index, by=FORMER_WORKER)
                yield draft.step(_NAMES[me], fault)
        if "loses its channel" in self._faults and any(
            item and item.loan == "live" for item in state.workers[me].items
        ):
            draft = Draft(state, me)
            draft.take_loans_back(stale=True)
            yield draft.step(_NAMES[me], "loses its channel")

    def _begins(self, state: State, me: int) -> Iterator[Step]:
        name, requests = _NAMES[me], list(enumerate(state.requests))
        for chosen in some_of([index for index, request in requests if request.queued]):
            draft = Draft(state, me)
            draft.set_worker(kind="deliveries", lease=draft.new_lease())
            for index in chosen:
                draft.set(index, queued=draft.requests[index].queued - 1)
                draft.items[index] = Item("new", loan=self._loan)
            yield draft.step(f"{name} is delivered {_these(chosen)}")
        for index, request in requests:
            if request.cancels:
                draft = Draft(state, me)
                draft.set_worker(kind="cancel", lease=draft.new_lease())
                draft.set(index, cancels=request.cancels - 1)
                draft.items[index] = Item("asked", loan="live")
                yield draft.step(f"{name} is delivered the cancellation of {_these([index])}")
            if request.row.waits:
                draft = Draft(state, me)
                draft.set(index, owed=False)
                draft.set_row(index, published=True, waits=False, place="", lease=NO_LEASE)
                yield draft.step(f"{name} publishes the waiting response of {_these([index])}")
        yield from self._takes_over(state, me)
        due = [i for i, one in requests if one.row.place == "due" or (one.row.place == "line" and one.late)]
        line = [i for i, one in requests if one.row.place == "line"]
        yield from self._takes(state, me, "take_due", due)
        yield from self._takes(state, me, "claim_waiting", line)
        for index in due:
            if "has to wait" in self._faults and not (
                state.requests[index].row.finished or state.requests[index].late
            ):
                draft = Draft(state, me)
                draft.set_row(index, place="line")
                yield draft.step(f"{name} puts {_these([index])} in line", "has to wait")

    def _takes_over(self, state: State, me: int) -> Iterator[Step]:
        """Take the lease of a silent worker: of one that runs, if it is frozen. It may wake at any time."""
        for lease, where in state.leases:
            if where != LIVE or "freezes" in self._faults:
                draft = Draft(state, me)
                for other, worker in enumerate(draft.workers):
                    if worker.lease == lease:
                        draft.workers[other] = worker._replace(mine=False)
                draft.leases[lease] = LIVE
                looks = "unharmed" if where == FREE else "lost"
                draft.set_worker(kind="taken", lease=lease, mine=True, looks=looks)
                yield draft.step(f"{_NAMES[me]} takes a lease over", "freezes" if where == LIVE else "")

    def _takes(self, state: State, me: int, statement: str, there: Sequence[int]) -> Iterator[Step]:
        """Take requests that are due, or whose turn it is, into a lease."""
        for chosen in some_of(there):
            for fault in self._with_or_without("answer lost"):
                draft = Draft(state, me)
                lease = draft.new_lease()
                draft.leases[lease] = LIVE
                draft.set_worker(kind="taken", lease=lease, mine=True)
                for index in chosen:
                    if draft.row(index).status == "pending":
                        draft.go(index, statement, "processing", self._by(me))
                    draft.set_row(index, lease=lease, place="")
                if fault:
                    draft.set_worker(looks="taken")
                else:
                    self._read_lease(draft, "taken")
                yield draft.step(f"{_NAMES[me]}: {statement} of {_these(chosen)}", fault)

    def _read_lease(self, draft: Draft, how: str) -> None:
        lost = how == "lost"
        for index, request in enumerate(draft.requests):
            row = request.row
            if (
                row.lease == draft.worker.lease
                and not row.published
                and (draft.worker.mine or how != "taken")
            ):
                spent, gone = lost or row.over, lost and not row.over
                draft.items[index] = (
                    Item("answer", attempt=row.attempt)
                    if row.finished
                    else Item("held", attempt=row.attempt, lost=gone, spent=spent)
                )
        draft.set_worker(looks="")

    # What a worker does with what it has in hand

    def _goes_on(self, state: State, me: int) -> Iterator[Step]:
        worker = state.workers[me]
        if worker.looks:
            draft = Draft(state, me)
            self._read_lease(draft, worker.looks)
            if not any(draft.items):
                draft.release(only_own="own release" in self._guarded)
            yield draft.step(f"{_NAMES[me]} looks what the lease holds")
            return
        for stages, step in self._in_order.items():
            there = [i for i, item in enumerate(worker.items) if item is not None and item.stage in stages]
            if there:
                yield from step(state, me, there)
                return

    def _works_in_turn(self, state: State, me: int, claimed: Sequence[int]) -> Iterator[Step]:
        for chosen in some_of(claimed):
            yield from self._works(state, me, chosen)

    def _claims_in_turn(self, state: State, me: int, held: Sequence[int]) -> Iterator[Step]:
        for chosen in some_of(held):
            yield from self._claims(state, me, chosen)

    def _stores(self, state: State, me: int, decided: Sequence[int]) -> Iterator[Step]:
        yield from self._finishes(state, me, {index: _item(state, me, index).verdict for index in decided})

    def _acknowledges(self, state: State, me: int, ended: Sequence[int]) -> Iterator[Step]:
        draft = Draft(state, me)
        for index in ended:
            item = _item(state, me, index)
            draft.items[index] = Item("noted") if item.stage == "published" else Item("no more")
        if any(item and item.stage not in ("noted", "no more") for item in draft.items):
            draft.items = [item if item and item.stage != "no more" else None for item in draft.items]
        yield draft.step(f"{_NAMES[me]} acknowledges")

    def _notes(self, state: State, me: int, done: Sequence[int]) -> Iterator[Step]:
        draft = Draft(state, me)
        for index in done:
            if _item(state, me, index).stage == "noted" and draft.row(index).finished:
                draft.set_row(index, published=True, waits=False, place="", lease=NO_LEASE)
        draft.release(only_own="own release" in self._guarded)
        draft.end_batch()
        yield draft.step(f"{_NAMES[me]} notes that its batch is done")

    def _accepts(self, state: State, me: int, new: Sequence[int]) -> Iterator[Step]:
        for chosen in some_of(new):
            if len(chosen) < len(new) and "halved" not in self._faults:
                continue
            for fault in self._with_or_without("answer lost") if chosen == tuple(new) else ["halved"]:
                draft = Draft(state, me)
                if not self._insert(draft, chosen, lost=fault == "answer lost"):
                    draft.give_up_batch()
                yield draft.step(f"{_NAMES[me]} accepts {_these(chosen)}", fault)
        if "has to wait" in self._faults:
            for index in new:
                if state.requests[index].row.status == law.BEGIN:
                    draft = Draft(state, me)
                    draft.go(index, "wait", "pending", NOBODY)
                    draft.set_row(index, place="line")
                    draft.items[index] = self._to_settle(draft.items[index])
                    yield draft.step(f"{_NAMES[me]} puts {_these([index])} in line", "has to wait")

    def _insert(self, draft: Draft, chosen: Sequence[int], *, lost: bool) -> bool:
        """Insert what is new under the batch's lease. Returns False if another worker has that."""
        lease = draft.worker.lease
        held = draft.worker.mine or lease not in draft.leases
        if held:
            draft.leases[lease] = LIVE
            draft.set_worker(mine=True)
        for index in chosen:
            row, item = draft.row(index), draft.items[index]
            assert item is not None
            new = row.status == law.BEGIN or "one row" not in self._guarded
            if new and not held and "lease at insert" in self._guarded:
                return False
            if new:
                draft.go(index, "accept", "pending", self._by(draft.me))
                draft.go(index, "accept", "processing", self._by(draft.me))
                draft.set_row(index, lease=lease)
            own = (
                not row.finished
                and (row.lease, row.attempt) == (lease, 1)
                and "known insert" in self._guarded
            )
            if lost:
                continue
            if new or own:
                draft.items[index] = item._replace(stage="claimed", attempt=1)
            elif row.finished:
                draft.items[index] = self._to_publish(item, attempt=0)
            else:
                draft.items[index] = self._to_settle(item)
        return True

    def _cancels(self, state: State, me: int, asked: Sequence[int]) -> Iterator[Step]:
        """A cancellation reads, and then does what that asks for; if it finds no more what it has read, it
        reads again.
        """
        (index,) = asked
        name = f"{_NAMES[me]}, to cancel {_these([index])},"
        item, row = _item(state, me, index), state.requests[index].row
        if item.stage == "unknown":
            yield from self._remembers(state, me, index, name)
            return
        draft = Draft(state, me)
        if item.stage == "pending":
            if row.status == "pending":
                draft.go(index, "begin_pending", "processing", self._by(me))
                draft.set_row(index, place="due" if "looked at later" in self._guarded else "")
            draft.items[index] = item._replace(stage="verdict", verdict="cancelled", attempt=1)
            yield draft.step(f"{name} begins it")
            return
        if row.finished:
            tell = row.cancelled and not row.published
            draft.items[index] = self._to_publish(item, row.attempt) if tell else self._to_settle(item)
        else:
            stage = {law.BEGIN: "unknown", "pending": "pending"}.get(row.status, "verdict")
            draft.items[index] = item._replace(stage=stage, verdict="cancelled", attempt=row.attempt)
        yield draft.step(f"{name} reads {row.status}")

    def _remembers(self, state: State, me: int, index: int, name: str) -> Iterator[Step]:
        """Record a request that is cancelled before it has come."""
        item = _item(state, me, index)
        for fault in self._with_or_without("answer lost"):
            draft = Draft(state, me)
            if not self._insert(draft, [index], lost=bool(fault)):
                draft.give_up_batch()
            elif not fault:
                begun = draft.items[index]
                if begun is not None and begun.stage == "claimed":
                    draft.items[index] = begun._replace(stage="verdict", verdict="cancelled")
                else:
                    draft.items[index] = item._replace(stage="asked")
            yield draft.step(f"{name} records it", fault)

    def _claims(self, state: State, me: int, chosen: Sequence[int]) -> Iterator[Step]:
        again = any(
            _item(state, me, index).done for index in chosen
        )  # the same statement, after a lost answer
        late = [] if again else [index for index in chosen if state.requests[index].late]
        if late:
            yield from self._finishes(state, me, dict.fromkeys(late, "failed"))
            return
        for fault in self._with_or_without("answer lost"):
            draft = Draft(state, me)
            for index in chosen:
                self._claim(draft, index, lost=bool(fault))
            yield draft.step(f"{_NAMES[me]} claims {_these(chosen)}", fault)
        if len(chosen) == 1 and not again:
            item = _item(state, me, chosen[0])
            if item.lost:  # it has ended its worker too often
                yield from self._decides(state, me, chosen[0], "failed", "rejected")
            yield from self._decides(state, me, chosen[0], "put off" if item.lost else "kept", "put off")

    def _claim(self, draft: Draft, index: int, *, lost: bool) -> None:
        item, row = draft.items[index], draft.row(index)
        assert item is not None
        if not item.spent:
            draft.items[index] = item._replace(stage="claimed")
            return
        mine = draft.worker.mine or "lease at claim" not in self._guarded
        current = row.attempt == item.attempt or "fence" not in self._guarded
        if mine and current and row.lease == draft.worker.lease and row.status in ("pending", "processing"):
            noted = row.over or (item.lost and "noted loss" in self._guarded)
            draft.go(index, "claim_again", "processing", self._by(draft.me), noted=noted)
            draft.set_row(index, over=False)
            draft.items[index] = item._replace(done=True) if lost else _claimed(item, row.attempt + 1)
        elif lost:
            return
        elif (
            item.done
            and row.attempt == item.attempt + 1
            and not row.finished
            and "known claim" in self._guarded
        ):
            draft.items[index] = _claimed(item, row.attempt)
        elif row.finished and row.lease == draft.worker.lease and not row.published:
            draft.items[index] = Item("answer", attempt=row.attempt)
        else:
            draft.items[index] = Item("no more")

    def _works(self, state: State, me: int, chosen: Sequence[int]) -> Iterator[Step]:
        """Make verdicts, and store them. What is late is refused."""
        usual = {index: "failed" if state.requests[index].late else "completed" for index in chosen}
        yield from self._finishes(state, me, usual)
        if len(chosen) == 1:
            yield from self._decides(state, me, chosen[0], "failed", "rejected")
            for verdict in ("put off", "kept"):
                yield from self._decides(state, me, chosen[0], verdict, "put off")

    def _decides(self, state: State, me: int, index: int, verdict: str, fault: str) -> Iterator[Step]:
        if fault in self._faults:
            draft = Draft(state, me)
            draft.items[index] = _item(state, me, index)._replace(stage="verdict", verdict=verdict)
            yield draft.step(f"{_NAMES[me]}: {_these([index])} {verdict}", fault)

    def _finishes(self, state: State, me: int, verdicts: dict[int, str]) -> Iterator[Step]:
        for fault in self._with_or_without("answer lost"):
            draft = Draft(state, me)
            for index, verdict in verdicts.items():
                self._finish(draft, index, verdict, lost=fault == "answer lost")
            said = " and ".join(f"{_these([index])} {verdict}" for index, verdict in verdicts.items())
            if "confirm before done" not in self._guarded:
                draft.release(only_own=True)
            yield draft.step(f"{_NAMES[me]} stores: {said}", fault)

    def _finish(self, draft: Draft, index: int, verdict: str, *, lost: bool) -> None:
        item, row, request = draft.items[index], draft.row(index), draft.requests[index]
        assert item is not None
        current = row.attempt == item.attempt or "fence" not in self._guarded
        open_ = row.status == "processing" or ("one end" not in self._guarded and row.finished)
        stored, final = current and open_, verdict not in ("put off", "kept")
        held = (row.lease, row.attempt) == (draft.worker.lease, item.attempt)
        after: Item | None
        if stored and not final:
            draft.set_row(index, lease=NO_LEASE, place="due", over=row.over or verdict == "put off")
            after = self._to_settle(item)
        elif stored:
            if item.attempt != row.attempt:
                raise Broken(
                    f"the verdict of attempt {item.attempt} is stored as that of attempt {row.attempt}"
                )
            if verdict == "completed" and request.sessions and "one session" in self._guarded:
                verdict = "failed"  # its id was used before, and that record is gone
            draft.go(index, "finish", "completed" if verdict == "completed" else "failed", self._by(draft.me))
            later = "due" if row.place and "looked at later" in self._guarded else ""
            draft.set_row(index, place=later, cancelled=verdict == "cancelled")
            draft.set(index, sessions=request.sessions + (verdict == "completed"))
            after = self._to_publish(item, attempt=row.attempt)
        elif verdict == "cancelled":
            after = item._replace(stage="asked", done=False)
        elif row.finished and (item.done or held) and "ended meanwhile" in self._guarded:
            after = self._to_publish(item, attempt=row.attempt)
        else:
            after = self._to_settle(item)
        again = item._replace(stage="verdict", verdict=verdict, done=item.done or (stored and final))
        draft.items[index] = again if lost else after

    def _publishes(self, state: State, me: int, answers: Sequence[int]) -> Iterator[Step]:
        for fault in self._with_or_without("confirm lost"):
            draft = Draft(state, me)
            for index in answers:
                if _item(state, me, index).verdict == "made anew":
                    raise Broken("a response is published that is not the one on record")
                draft.set(index, owed=False)
                if not fault:
                    draft.items[index] = _item(state, me, index)._replace(stage="published")
            yield draft.step(f"{_NAMES[me]} publishes {_these(answers)}", fault)
        if "refused" in self._faults:
            for index in answers:
                item = _item(state, me, index)
                if item.attempt and not state.requests[index].row.published:
                    draft = Draft(state, me)
                    draft.set_row(index, waits="refused waits" in self._guarded)
                    draft.items[index] = self._to_settle(item)
                    yield draft.step(f"{_NAMES[me]} publishes {_these([index])}", "refused")

    # What people, time and the services do

    def _people(self, state: State) -> Iterator[Step]:
        for index, request in enumerate(state.requests):
            that = _these([index])
            if "sent again" in self._faults and request.queued < 2:
                draft = Draft(state)
                draft.set(index, queued=request.queued + 1, owed=True)
                yield draft.step(that, "sent again")
            if "cancelled" in self._faults and not request.cancels:
                draft = Draft(state)
                draft.set(index, cancels=1)
                yield draft.step(that, "cancelled")
            if "late" in self._faults and not request.late:
                draft = Draft(state)
                draft.set(index, late=True)
                yield draft.step(that, "late")
            if "deleted as old" in self._faults and self._is_old(state, index):
                draft = Draft(state)
                draft.go(index, "retire_requests", law.GONE, NOBODY)
                former = Request(Row(), request.sessions, bool(request.sessions), 0, owed=request.owed)
                draft.requests[index] = former
                yield draft.step(that, "deleted as old")

    def _is_old(self, state: State, index: int) -> bool:
        """Requests are kept for days: by then nothing is on its way, and the response was published."""
        request = state.requests[index]
        on_its_way = request.queued or request.cancels or any(worker.items[index] for worker in state.workers)
        done = request.row.published or (
            "finished only" not in self._guarded and request.row.status != law.BEGIN
        )
        return bool(done and not on_its_way and not any(worker.looks for worker in state.workers))

    @property
    def _loan(self) -> str:
        return "live" if "record before acknowledge" in self._guarded else ""

    def _by(self, worker: int) -> int:
        return worker if self._names_workers else NOBODY

    def _with_or_without(self, fault: str) -> list[str]:
        return ["", fault] if fault in self._faults else [""]

    def _to_publish(self, item: Item, attempt: int) -> Item:
        loan = item.loan if "publish before acknowledge" in self._guarded else ""
        anew = "made anew" if attempt == 0 and "answer of the record" not in self._guarded else ""
        return Item("answer", loan=loan, attempt=attempt, verdict=anew)

    def _to_settle(self, item: Item | None) -> Item:
        assert item is not None
        return Item("settled", loan=item.loan)


def _item(state: State, me: int, index: int) -> Item:
    item = state.workers[me].items[index]
    assert item is not None
    return item


def _claimed(item: Item, attempt: int) -> Item:
    return Item("claimed", loan=item.loan, attempt=attempt)


def _these(indices: Sequence[int]) -> str:
    return " and ".join(f"r{index + 1}" for index in indices)
