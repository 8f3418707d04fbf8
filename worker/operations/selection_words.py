"""Says what is in a selection, and what became of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.operations.selections import Action, Outcome, Preview, Result, Selection

_DONE = {"retry": "sent anew", "resend": "sent again", "cancel": "asked to be cancelled"}


def in_words(selection: Selection, preview: Preview) -> list[str]:
    """Say what is in a selection, and what would be done."""
    if not selection.chosen:
        return ["no request matches: nothing to do"]
    first, *rest = would_be(selection.action, selection.options, selection.rate, preview)
    return [f"selection {selection.id} (frozen {selection.made_at:%H:%M:%S}): {first}", *rest]


def would_be(action: Action, options: Mapping[str, Any], rate: float, preview: Preview) -> list[str]:
    """Say what would be done to those that a look has found."""
    oldest = f"{preview.oldest:%Y-%m-%d %H:%M:%S}" if preview.oldest else "unknown"
    lines = [f"{_counted(preview.requests, 'request')}, {_orgs(preview)}, oldest {oldest}"]
    if action == "retry":
        secrets = f", {preview.with_secrets} with secrets (opened and sealed anew)"
        lines.append(
            f"each of {preview.failed - preview.retried} that failed becomes a new request, linked to the old"
            + (secrets if preview.with_secrets else "")
        )
        if left := preview.requests - preview.failed + preview.retried:
            lines.append(f"{left} did not fail, or were retried before, and are left alone")
    if action in ("retry", "resend"):
        lines.append(_answers(action, options, preview))
    elif finished := preview.failed + preview.completed:
        lines.append(f"{finished} are finished, and stay as they are")
    if (seconds := preview.requests / rate) > 1:
        lines.append(f"at {rate:g}/s about {seconds:.0f} s")
    return lines


def _answers(action: Action, options: Mapping[str, Any], preview: Preview) -> str:
    if to := options.get("to"):
        return f"all answers go to {to}"
    if options.get("answer") == "none":
        return "all answers go to the response queue"
    own = preview.requests - preview.to_response_queue - preview.to_direct_replies
    parts = [f"{own} to {_counted(preview.reply_queues, 'reply queue')} of requesters"] if own else []
    if preview.to_response_queue:
        parts.append(f"{preview.to_response_queue} to the response queue")
    if preview.to_direct_replies:
        to = "are left alone" if action == "resend" else "to the response queue"
        parts.append(f"{preview.to_direct_replies} of calls that wait no more {to}")
    return "answers: " + ", ".join(parts)


def _orgs(preview: Preview) -> str:
    names = ", ".join(org or "(none)" for org in preview.first_orgs)
    more = ", …" if preview.orgs > len(preview.first_orgs) else ""
    return f"{_counted(preview.orgs, 'org')} ({names}{more})"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def as_record(selection: Selection, outcomes: Sequence[Outcome], found: Sequence[Result]) -> dict[str, Any]:
    return {
        **selection._asdict(),
        "outcomes": [outcome._asdict() for outcome in outcomes],
        "results": [result._asdict() for result in found],
    }


def told(selection: Selection, outcomes: Sequence[Outcome], found: Sequence[Result]) -> list[str]:
    """Say what became of a selection."""
    parts = [f"{selection.done} {_DONE[selection.action]}"]
    parts += [f"{number} {name}" for name in ("skipped", "failed") if (number := getattr(selection, name))]
    if selection.left:
        parts.append(f"{selection.left} left")
    lines = [f"selection {selection.id}, {selection.state}: " + ", ".join(parts)]
    lines += [f"  {one.number} {one.state}: {one.outcome}" for one in outcomes if one.state != "done"]
    if found:
        what = {"retry": "the new requests", "cancel": "the requests"}[selection.action]
        lines.append(f"{what}: " + ", ".join(_stands(result) for result in found))
    return lines


def _stands(result: Result) -> str:
    code = f" ({result.code})" if result.code else ""
    return f"{result.number} {result.status or 'not accepted yet'}{code}"
