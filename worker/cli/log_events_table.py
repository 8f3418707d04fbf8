"""Makes the Markdown table of all events of the log, which `docs/log-events.md` has."""

from worker.monitoring.log_events import EVENTS


def log_events_table() -> str:
    rows = (f"| `{name}` | {' or '.join(event.levels)} | {event.means} |" for name, event in EVENTS.items())
    return "\n".join(["| event | level | means |", "|---|---|---|", *rows]) + "\n"
