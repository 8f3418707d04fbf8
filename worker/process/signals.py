"""Stops a worker by signals: the first drains it, the second ends it at once."""

import asyncio
import os
import signal

import structlog

EXIT_AT_ONCE = 130
_log = structlog.get_logger(__name__)


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets. Nothing is lost by the second signal either: that is what
    leases and unsettled deliveries are for.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            _log.warning("worker.stopped_at_once", signal=number.name)
            os._exit(EXIT_AT_ONCE)
        stop.set()
        _log.info("worker.stopping", signal=number.name)

    for number in heeded():
        loop.add_signal_handler(number, on_signal, number)
    return stop


def heeded(*others: signal.Signals) -> list[signal.Signals]:
    """Return SIGTERM, SIGINT and the others, without those that this program was started to ignore.

    A shell has what it starts in the background ignore SIGINT, so that Ctrl-C ends only what is in front;
    `nohup` has SIGHUP ignored. SIGTERM is always meant.
    """
    rest = (signal.SIGINT, *others)
    return [signal.SIGTERM, *(number for number in rest if signal.getsignal(number) != signal.SIG_IGN)]
