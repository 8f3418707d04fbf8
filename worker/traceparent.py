"""Reads and writes W3C's `traceparent`, and makes the link to a trace. Pure."""

import re
from typing import NamedTuple, Self

# Version ff is none. A later version than 00 may have more behind the flags.
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_FLAG = slice(54, 55)  # the digit that has it


class TraceParent(NamedTuple):
    """The trace that something belongs to, and the span in it that it follows from."""

    trace_id: str
    span_id: str
    sampled: bool

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """Read it; None: there is none, or it is not in the form that W3C gives it."""
        found = _FORM.fullmatch(text) if text else None
        if found is None or (found[1] == "00" and found[5]):
            return None
        return cls(trace_id=found[2], span_id=found[3], sampled=bool(int(found[4], 16) & _SAMPLED))

    @classmethod
    def read_recorded(cls, text: str | None) -> Self | None:
        """Read it if the trace is recorded, which mostly it is not: that is found out soon."""
        if text is None or text[_FLAG] not in "13579bdf":
            return None
        found = cls.read(text)
        return found if found and found.sampled else None

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def trace_id_in(text: str | None) -> str | None:
    """Return the id of the trace that a `traceparent` names, recorded or not."""
    found = TraceParent.read(text)
    return found.trace_id if found else None


def trace_link(template: str, text: str | None) -> str | None:
    """Make the address of the trace from the setting `WORKER_TRACE_URL`. None: the setting is empty, or there
    is nothing to see under an address, since nobody has recorded this trace.
    """
    found = TraceParent.read_recorded(text)
    return template.replace("{trace_id}", found.trace_id) if template and found else None


def exemplar(text: str | None) -> dict[str, str] | None:
    """Return what a metric says of the trace behind a value; None: nobody has recorded it."""
    found = TraceParent.read_recorded(text)
    return {"trace_id": found.trace_id} if found else None
