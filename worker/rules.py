"""What people have decided about beginning: pauses and limits, as a worker knows them now. Pure values."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

WaitReason = Literal["paused", "over_share", "rate", "not_before", "breaker"]
Scope = Literal["all", "each", "org"]
NO_ORG: Final = ""  # the name of those requests that have no organisation
LONGEST_ORG = 255
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

    def __str__(self) -> str:
        words = [
            f"{name}={value:g}{'/s' if name == 'rate' else ''}"
            for name in ("rate", "burst", "running", "weight")
            if (value := getattr(self, name)) is not None
        ]
        return f"{self.name or self.scope}: {' '.join(words)}"


class Rules(NamedTuple):
    """All that is in force."""

    all_paused: bool = False
    paused_orgs: frozenset[str] = frozenset()
    paused_workers: frozenset[str] = frozenset()
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


NOTHING: Final = Rules()


def rules_of(limits: Iterable[Limit], pauses: Iterable[tuple[str, str]]) -> Rules:
    """Make the rules of these limits and of these pauses, each a scope and a name."""
    by_place = {(limit.scope, limit.name): limit for limit in limits}
    paused = set(pauses)
    return Rules(
        all_paused=("all", "") in paused,
        paused_orgs=frozenset(name for scope, name in paused if scope == "org"),
        paused_workers=frozenset(name for scope, name in paused if scope == "worker"),
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
        limit = limit_of(name, **given)
        if limits.setdefault((limit.scope, limit.name), limit) is not limit:
            raise ValueError(f"{name} is there twice")
    return list(limits.values())


def limit_of(
    name: str,
    running: str | None = None,
    rate: str | None = None,
    burst: str | None = None,
    weight: str | None = None,
) -> Limit:
    """Read one limit from what people write. Raises ValueError with what is wrong."""
    scope: Scope = "all" if name == "all" else "each" if name == "each" else "org"
    if len(name) > LONGEST_ORG:
        raise ValueError(f"an organisation's id has at most {LONGEST_ORG} characters")
    if burst is not None and rate is None:
        raise ValueError(f"{name}: a burst is of a rate: give both")
    if scope == "all" and weight is not None:
        raise ValueError("all: a weight is for an organisation, beside others")
    if running is None and rate is None and weight is None:
        raise ValueError(f"{name}: say one of running, rate and weight")
    return Limit(
        scope=scope,
        name=name if scope == "org" else NO_ORG,
        running=None if running is None else _whole(name, "running", running),
        rate=None if rate is None else _positive(name, "rate", rate.removesuffix("/s"), "as 20/s"),
        burst=None if burst is None else _whole(name, "burst", burst),
        weight=None if weight is None else _positive(name, "weight", weight, "as 2"),
    )


def _whole(name: str, what: str, text: str) -> int:
    number = _positive(name, what, text, "a whole number")
    if not number.is_integer() or number > 2**31 - 1:
        raise ValueError(f"{name}: {what}={text} is not a whole number of 1 or more")
    return int(number)


def _positive(name: str, what: str, text: str, such_as: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if number == 0 and what in ("running", "rate"):
        whom = "" if name == "all" else " --org ORG" if name == "each" else f" --org {name}"
        raise ValueError(f"{name}: {what}=0 lets nothing begin: that is `session-worker pause{whom}`")
    if not 0 < number < math.inf:
        raise ValueError(f"{name}: {what}={text} is no number above 0 ({such_as})")
    return number
