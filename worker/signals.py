"""How a worker is asked to stop: the first signal drains it, the second ends it at once."""

import asyncio
import os
import signal

import structlog

EXIT_AT_ONCE = 130
_log = structlog.get_logger(__name__)


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets. Nothing is lost by the second signal either: that is what
    leases and unsettled deliveries are for."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            _log.warning("worker.stopped_at_once", signal=number.name)
            os._exit(EXIT_AT_ONCE)
        stop.set()
        _log.info("worker.stopping", signal=number.name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop
