"""Serves health and metrics over HTTP."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from worker.errors import SettingsError
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.rules import Pause


@asynccontextmanager
async def serve_health(host: str, port: int, readiness: Readiness, metrics: Metrics) -> AsyncIterator[int]:
    """Serve while the context is open; yield the port."""

    async def livez(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_request: web.Request) -> web.Response:
        if not readiness.ready:
            return web.json_response({"status": "not ready", "reasons": readiness.reasons}, status=503)
        # 200: whoever watches it shall neither restart a paused worker nor take it for one that failed.
        return web.json_response(_paused(readiness.pause) if readiness.pause else {"status": "ready"})

    async def show_metrics(request: web.Request) -> web.Response:
        metrics.show_readiness(readiness)
        page, content_type = metrics.page(request.headers.get("Accept", ""))
        return web.Response(body=page, headers={"Content-Type": content_type})

    application = web.Application()
    application.add_routes(
        [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", show_metrics)]
    )
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except (socket.gaierror, UnicodeError):
            raise SettingsError(f"WORKER_HTTP_HOST: {host!r} is no address of this machine") from None
        except OSError as error:
            raise SettingsError(
                f"WORKER_HTTP_PORT: cannot listen on {host}:{port} ({error.strerror}); "
                "set another port, or 0 for any"
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _paused(pause: Pause) -> dict[str, str | None]:
    return {
        "status": "paused",
        "scope": pause.scope,
        "reason": pause.reason,
        "by": pause.paused_by,
        "until": pause.ends_at.isoformat() if pause.ends_at else None,
    }
