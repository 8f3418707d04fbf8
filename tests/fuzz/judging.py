"""Judges what becomes of a message: each promise about hostile input is an assertion here."""

import base64
import json
import random
import re
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from fuzz import spelling
from fuzz.cases import Case
from pamqp.header import ContentHeader

from schemas import FailureCode
from worker.messages.custody import letter_of
from worker.messages.dead_letters import dead_letter_properties
from worker.messages.decoding import Limits, decode, restore
from worker.messages.envelope import response_properties
from worker.messages.json_body import MAX_CONTAINERS
from worker.messages.org import org_in
from worker.messages.refusing import LONGEST_REASON
from worker.messages.reply_rule import ReplyRule
from worker.messages.sealing import SealKeys, is_same_request, parse_seal_keys
from worker.rabbitmq.topology import own_names
from worker.reading.protocol import ReaderSettings
from worker.reading.reader import Reader
from worker.values import Answer, Arrival, Cancellation, Read, Refusal, Unreadable, Unrecorded
from worker.whose import orgs_of_users

LIMIT = 1 << 20
KEY_TEXT = f"k1:{base64.b64encode(bytes(32)).decode()}"
KEYS, NO_KEYS = parse_seal_keys(KEY_TEXT), SealKeys({})
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OPEN = Limits(LIMIT)
CLOSED = Limits(
    LIMIT,
    ReplyRule(own_names("requests"), re.compile("(reply|amq)-.*")),
    orgs_of_users('{"tenant-{org}": "{org}", "console": "*"}'),
)
"""Where producers act for their own organisations, and answers go to some queues only."""
_SENDERS = (None, "", "console", "tenant-org-1", "tenant-o", "tenant-evil\u202e", "tenant-", "\x00")
_REPLY_TOS = (None, "q", "reply-1", "requests.responses", "requests.requests", "requests.dead", "amq-\u202e")
READER = Reader(ReaderSettings(KEY_TEXT, Limits(LIMIT), wants_whole=False, fail_point=""), KEYS)
"""It is asked only which messages it reads in a process of its own."""

_FRAME = 131_072 - 8
_TIMES_ITS_SIZE = 20
_FIXED_BYTES = (
    524_288  # what may be taken for a small one: its errors, if it is wrong, are many times its size
)
_LONGEST_ERRORS = 20_000
_LONGEST_REASON = LONGEST_REASON + 100  # with what is said of a message without an id
_SUSPECT_SECONDS = 0.012  # what takes longer is measured again, beside the work that it is compared with
_TRIES = 5
_MOST_WORKS = 10.0
"""So many pieces of the work below, 5 ms each where this was written, are the 50 ms that one may take."""
_MOST_WORKS_APART = 200.0
_SEPARATORS = ((", ", ": "), (",", ":"), ("\n,\t", " :\r\n"))
_WORK = json.dumps([{"name": f"line {number}", "value": [number, {}]} for number in range(1_700)])


class Outcome(NamedTuple):
    """What becomes of a message: `completed`, `failed` with a code, `cancelled` or `unreadable`."""

    kind: str
    code: FailureCode | None
    request_id: UUID | None
    recorded: bool = True


class Judged(NamedTuple):
    outcome: Outcome
    seconds: float  # of processor time, to read it


def judge(case: Case, chance: random.Random, *, memory: bool) -> Judged:
    """Read a message as a worker does, and check all that is promised of it. `memory`: measure it, too."""
    limits, keys = OPEN, KEYS if chance.random() < 0.9 else NO_KEYS
    if chance.random() < 0.2:
        limits, case = CLOSED, _sent_by_somebody(case, chance)
    message = case.message()
    begun = time.thread_time()
    org_in(case.body)
    read = decode(message, limits, keys, NOW)
    seconds = time.thread_time() - begun
    outcome = outcome_of(read)
    _is_well_formed(case, read)
    _is_allowed(read, case.properties.get("user_id"), limits)
    apart = READER.is_for(message)
    _is_quick(seconds, lambda: decode(message, limits, keys, NOW), apart=apart)
    if isinstance(read, Arrival) and read.body is not None:
        _comes_back(read, keys)
    _is_the_same_in_other_words(case, read, outcome, keys, limits, chance)
    if memory and not apart:
        _takes_little_memory(case, keys)
    return Judged(outcome, seconds)


def _sent_by_somebody(case: Case, chance: random.Random) -> Case:
    """Have it come from a user of the broker, and want its answer somewhere."""
    said = {"user_id": chance.choice(_SENDERS), "reply_to": chance.choice(_REPLY_TOS)}
    return case._replace(properties=case.properties | said)


def outcome_of(read: Read) -> Outcome:
    """Say what becomes of it."""
    match read:
        case Unreadable():
            return Outcome("unreadable", None, None)
        case Unrecorded():
            return Outcome("failed", read.refusal.code, read.request_id, recorded=False)
        case Cancellation():
            code = read.invalid.code if read.invalid else None
            return Outcome("failed" if code else "cancelled", code, read.request_id)
        case Arrival():
            code = read.refusal.code if read.refusal else None
            return Outcome("failed" if code else "completed", code, read.request_id)


def _is_well_formed(case: Case, read: Read) -> None:
    """Check that it can be stored, answered and buried, and that nothing in it is endless."""
    if isinstance(read, Unreadable):
        assert 0 < len(read.reason) <= _LONGEST_REASON, "a reason is short"
        buried = dead_letter_properties(case.message(), read.reason, "h:1", "1", NOW)
        assert len(ContentHeader(properties=buried).marshal()) < _FRAME, "a dead letter's header fits a frame"
        letter = letter_of(case.message()._replace(properties=buried), KEYS, NOW)
        _can_be_stored(*(each for each in letter if isinstance(each, str)))
        if read.told is not None:
            assert read.told.route.reply_to, "it is told where somebody waits"
            _is_well_formed(case, read.told)
        return
    refusal: Refusal | None = read.invalid if isinstance(read, Cancellation) else read.refusal
    if isinstance(read, Arrival):
        assert (read.body is None) == (refusal is not None), "what is refused is not stored"
        _can_be_stored(read.body, read.document, read.org_id, read.user_id, read.session_id)
    if refusal is not None:
        _can_be_stored(refusal.reason)
        assert len(refusal.reason) <= _LONGEST_REASON, "a reason is short"
        assert len(json.dumps(refusal.errors)) < _LONGEST_ERRORS, "errors are few and short"
        named = {error["field"] for error in refusal.errors or ()}
        if refusal.code is FailureCode.INVALID_REQUEST:
            assert named, "errors name the fields"
        else:
            assert named <= {"request_id"}, "where it says that the id of the answer is made up"
    _can_be_stored(*read.route)
    answer = Answer(read.request_id, "failed", "c", "{}", "m", read.route)
    assert len(ContentHeader(properties=response_properties(answer, NOW)).marshal()) < _FRAME


def _is_allowed(read: Read, sender: str | None, limits: Limits) -> None:
    """Check that nobody acts for another one's organisation, and that no answer goes where none may."""
    if isinstance(read, Unreadable):
        return
    assert read.route.reply_to is None or limits.replies.refuses(read.route.reply_to) is None, (
        "it goes astray"
    )
    if limits.orgs is None:
        return
    if isinstance(read, Arrival):
        assert limits.orgs.may_act(sender, read.org_id), "what is recorded is its sender's own"
    if isinstance(read, Cancellation):
        assert read.invalid or read.sender == sender, "whose request it is has yet to be looked at"


def _can_be_stored(*texts: str | None) -> None:
    for text in filter(None, texts):
        assert "\x00" not in text, "Postgres takes no NUL"
        text.encode()


def _comes_back(read: Arrival, keys: SealKeys) -> None:
    """Check that the stored request is the one that came: sealed, opened and restored."""
    assert read.body is not None
    assert read.request is not None
    requested, document = restore(read.body, read.request_id, keys)
    assert requested.whole() == read.request.whole(), "a stored request is the one that came"
    assert document == read.document, "a session's document is the same, whenever it is made"


def _is_the_same_in_other_words(
    case: Case, read: Read, outcome: Outcome, keys: SealKeys, limits: Limits, chance: random.Random
) -> None:
    """Check the verdict on the same document in another spelling. What is no object is searched as a text,
    and so is what is too large, which a shorter spelling of it need not be.
    """
    if len(case.body) > LIMIT:
        return
    try:
        document = spelling.read(case.body)
    except (ValueError, RecursionError):
        return
    if not isinstance(document, dict) or case.body.count(b"{") + case.body.count(b"[") > MAX_CONTAINERS:
        return
    body = _respelled(document, chance, whole=len(case.body) < 1_500)
    if len(body) > LIMIT:
        return
    again = decode(case.message(body), limits, keys, NOW)
    assert outcome_of(again) == outcome, (
        f"in other words: {outcome_of(again)}, not {outcome}: {body[:2_000]!r}"
    )
    if isinstance(read, Arrival) and isinstance(again, Arrival):
        assert is_same_request(again, read.fingerprint, keys), f"it is the same request as {body[:2_000]!r}"
        assert is_same_request(read, again.fingerprint, keys), f"and the other way round: {body[:2_000]!r}"


def _respelled(document: Any, chance: random.Random, *, whole: bool) -> bytes:
    """Spell it anew: a large one in a quick way, with nothing but its order and its white space changed."""
    if not whole:
        with suppress(ValueError):  # a number beyond a double
            text = json.dumps(
                spelling.shuffled(document, chance), separators=chance.choice(_SEPARATORS), allow_nan=False
            )
            return text.encode()
    return spelling.spelled(document, chance)


def _is_quick(seconds: float, work: Callable[[], object], *, apart: bool) -> None:
    """Check the processor time of one piece. Other work on the machine changes it, and so it is compared with
    that of a work which is always the same, and done at the same time; the least of several tries counts.
    """
    if seconds < _SUSPECT_SECONDS:
        return
    most = _MOST_WORKS_APART if apart else _MOST_WORKS
    compared, taken = float("inf"), seconds
    for _ in range(_TRIES):
        compared = min(compared, _thread_seconds(lambda: json.dumps(json.loads(_WORK))))
        if taken < most * compared:
            return
        taken = min(taken, _thread_seconds(work))
    raise AssertionError(
        f"it takes {taken * 1000:.1f} ms, {taken / compared:.1f} times what it is compared with"
    )


def _thread_seconds(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def _takes_little_memory(case: Case, keys: SealKeys) -> None:
    tracemalloc.start()
    try:
        decode(case.message(), OPEN, keys, NOW)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    most = _FIXED_BYTES + _TIMES_ITS_SIZE * len(case.body)
    assert peak <= most, f"it takes {peak:,} bytes, {peak / len(case.body):.0f} times its {len(case.body):,}"
