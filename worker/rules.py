"""What people have decided about beginning: pauses and limits, as a worker knows them now. Pure values."""

import math
import re
import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, Literal, NamedTuple

WaitReason = Literal["paused", "over_share", "rate", "not_before", "breaker"]
Scope = Literal["all", "each", "org"]
PauseScope = Literal["all", "org", "worker"]
NO_ORG: Final = ""  # the name of those requests that have no organisation
LONGEST_ORG = 255
# The arithmetic of rates and shares stays within what Postgres can count and date.
_LEAST, _MOST = 0.001, 1_000_000.0
_MOST_AT_ONCE = 2**31 - 1
_ITEM = re.compile(r"(running|rate|burst|weight)=(\S+)")


class Limit(NamedTuple):
    """A limit, and a share, for all requests together, for each organisation, or for one of them.

    What is None is left open: for one organisation, that of each counts then.
    """

    scope: Scope
    name: str = NO_ORG  # of the one organisation
    running: int | None = None  # requests at once
    rate: float | None = None  # requests a second
    burst: int | None = None  # at once, after a pause; None: the requests of a second
    weight: float | None = None  # its share, beside those of the others; None: 1

    @property
    def holds_back(self) -> WaitReason | None:
        """Return why a request waits under this limit."""
        if self.rate is not None:
            return "rate"
        return "over_share" if self.running is not None else None

    @property
    def values(self) -> str:
        """Return what it says, as people write it."""
        return " ".join(
            f"{name}={value:.10g}{'/s' if name == 'rate' else ''}"
            for name in ("rate", "burst", "running", "weight")
            if (value := getattr(self, name)) is not None
        )


class Pause(NamedTuple):
    """A pause of everything, of one organisation or of one worker."""

    scope: PauseScope
    name: str  # of the organisation, or the id of the worker
    reason: str
    paused_by: str
    paused_at: datetime
    ends_at: datetime | None


class Rules(NamedTuple):
    """All that is in force."""

    all_paused: Pause | None = None
    paused_orgs: frozenset[str] = frozenset()
    paused_workers: Mapping[str, Pause] = {}
    of_all: Limit | None = None
    of_each: Limit | None = None
    of_orgs: Mapping[str, Limit] = {}

    @property
    def any_wait(self) -> bool:
        """Return whether there is anything that a request could have to wait for."""
        return bool(self.all_paused or self.paused_orgs or self.of_all or self.of_each or self.of_orgs)

    def reason_to_wait(self, org: str | None) -> WaitReason | None:
        """Return why a request of this organisation may not begin without further ado; None: it may.

        Where a limit is set, Postgres counts for all workers: such a request goes through its line.
        """
        if self.all_paused or (org or NO_ORG) in self.paused_orgs:
            return "paused"
        if self.of_all and (reason := self.of_all.holds_back):
            return reason
        own, each = self.of_orgs.get(org or NO_ORG), self.of_each
        rated = (own and own.rate) or (each and each.rate)
        counted = (own and own.running) or (each and each.running)
        return "rate" if rated else "over_share" if counted else None

    def weight_of(self, org: str) -> float:
        """Return the share of this organisation, beside those of the others."""
        for limit in (self.of_orgs.get(org), self.of_each):
            if limit is not None and limit.weight is not None:
                return limit.weight
        return 1.0

    def pause_of_worker(self, worker: str) -> Pause | None:
        """Return the pause because of which this worker begins nothing."""
        return self.paused_workers.get(worker) or self.all_paused


NOTHING: Final = Rules()


def rules_of(limits: Iterable[Limit], pauses: Iterable[Pause]) -> Rules:
    """Make the rules of these limits and pauses."""
    by_place = {(limit.scope, limit.name): limit for limit in limits}
    paused = {(pause.scope, pause.name): pause for pause in pauses}
    return Rules(
        all_paused=paused.get(("all", "")),
        paused_orgs=frozenset(name for scope, name in paused if scope == "org"),
        paused_workers={name: pause for (scope, name), pause in paused.items() if scope == "worker"},
        of_all=by_place.get(("all", "")),
        of_each=by_place.get(("each", "")),
        of_orgs={name: limit for (scope, name), limit in by_place.items() if scope == "org"},
    )


def limits_in(text: str) -> list[Limit]:
    """Read limits as a setting has them: `all: running=200; each: rate=50/s burst=100; org-7: weight=2`.

    Raises ValueError with what is wrong.
    """
    limits: dict[tuple[str, str], Limit] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, colon, items = part.rpartition(":")
        name = name.strip()
        if not colon or not name:
            raise ValueError(f"{part!r} is not NAME: running=N rate=N/s burst=N weight=N")
        given = {}
        for item in items.split():
            found = _ITEM.fullmatch(item)
            if not found or found[1] in given:
                raise ValueError(
                    f"{name}: {item!r} is none of running=N rate=N/s burst=N weight=N, each once"
                )
            given[found[1]] = found[2]
        scope: Scope = "all" if name == "all" else "each" if name == "each" else "org"
        limit = limit_of(scope, name if scope == "org" else NO_ORG, **given)
        if limits.setdefault((limit.scope, limit.name), limit) is not limit:
            raise ValueError(f"{name} is there twice")
    return list(limits.values())


def limit_of(
    scope: Scope,
    name: str = NO_ORG,
    running: str | None = None,
    rate: str | None = None,
    burst: str | None = None,
    weight: str | None = None,
) -> Limit:
    """Read one limit from what people write. Raises ValueError with what is wrong."""
    if scope == "org":
        check_org(name)
    whose = name or scope
    if burst is not None and rate is None:
        raise ValueError(f"{whose}: a burst is of a rate: give both")
    if scope == "all" and weight is not None:
        raise ValueError("all: a weight is for an organisation, beside others")
    if running is None and rate is None and weight is None:
        raise ValueError(f"{whose}: say one of running, rate and weight")
    _refuse_zero(scope, name, running=running, rate=rate and rate.removesuffix("/s"))
    return Limit(
        scope=scope,
        name=name,
        running=None if running is None else _whole(whose, "running", running),
        rate=None if rate is None else _number(whose, "rate", rate.removesuffix("/s"), "20/s"),
        burst=None if burst is None else _whole(whose, "burst", burst),
        weight=None if weight is None else _number(whose, "weight", weight, "2"),
    )


def check_org(name: str) -> None:
    """Raise ValueError where no request can have this for its organisation."""
    if not name:
        raise ValueError("an organisation's id is not empty")
    if len(name) > LONGEST_ORG:
        raise ValueError(f"an organisation's id has at most {LONGEST_ORG} characters, and not {len(name)}")
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError("the organisation's id is not in UTF-8") from None


def _refuse_zero(scope: Scope, name: str, **given: str | None) -> None:
    whom = {"all": "", "each": " --org ORG", "org": f" --org {shlex.quote(name)}"}[scope]
    for what, text in given.items():
        if text is not None and _read(text) == 0:
            raise ValueError(
                f"{name or scope}: {what}={text} lets nothing begin: that is `session-worker pause{whom}`"
            )


def _whole(whose: str, what: str, text: str) -> int:
    number = _read(text)
    if not (1 <= number <= _MOST_AT_ONCE and number.is_integer()):
        raise ValueError(f"{whose}: {what}={text} is not a whole number from 1 to {_MOST_AT_ONCE}")
    return int(number)


def _number(whose: str, what: str, text: str, such_as: str) -> float:
    number = _read(text)
    if not _LEAST <= number <= _MOST:
        raise ValueError(
            f"{whose}: {what}={text} is not a number from {_LEAST:g} to {_MOST:.0f}, such as {such_as}"
        )
    return number


def _read(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
