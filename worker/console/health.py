"""Tells how this process is: alive, ready, and its metrics."""

import asyncio
import json
from hmac import compare_digest
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from worker.console.route import GET, Route, mounted
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.rules import Pause

_JSON = "application/json"
_TIMES_AS_LONG = 10


class Health:
    """What is asked for health and metrics. A console that runs alone is ready once it serves."""

    def __init__(self, readiness: Readiness, metrics: Metrics | None, metrics_token: str = "") -> None:
        """`metrics_token`: whoever asks for the metrics has to send it; empty: anybody may ask."""
        self.readiness = readiness
        self.metrics = metrics
        self.metrics_token = metrics_token
        self._making = asyncio.Lock()
        self._page: tuple[bytes, str] = b"", ""
        self._made_for, self._made_at, self._took = "", 0.0, 0.0

    async def page_of(self, metrics: Metrics, accept: str) -> tuple[bytes, str]:
        """Return the metrics as they are, and their content type. To make the page takes a tenth of the time
        at most, however many ask: those who came before it was made share it.
        """
        clock = asyncio.get_running_loop().time
        asked = clock()
        async with self._making:
            if self._made_at < asked or self._made_for != accept:
                await asyncio.sleep(self._made_at + _TIMES_AS_LONG * self._took - clock())
                begun = clock()
                metrics.show_readiness(self.readiness)
                self._page = metrics.page(accept)
                self._made_for, self._made_at = accept, clock()
                self._took = self._made_at - begun
            return self._page


async def livez(_request: Request) -> Response:
    """Answer, which is all that is asked."""
    return _told({"status": "alive"})


async def readyz(request: Request) -> Response:
    """Tell whether requests are taken, and if not, why."""
    readiness = _health(request).readiness
    if not readiness.ready:
        return _told({"status": "not ready", "reasons": readiness.reasons}, status=503)
    # 200: whoever watches it shall neither restart a paused worker nor take it for one that failed.
    return _told(_paused(readiness.pause) if readiness.pause else {"status": "ready"})


async def show_metrics(request: Request) -> Response:
    """Show the metrics, as Prometheus reads them, to whoever may ask."""
    health = _health(request)
    if not _may_ask(request, health.metrics_token):
        return Response(
            "send the token: `Authorization: Bearer …`\n", status_code=401, media_type="text/plain",
            headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    if health.metrics is None:
        return Response(
            "a console that runs alone has no metrics\n", status_code=404, media_type="text/plain"
        )
    text, content_type = await health.page_of(health.metrics, request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": content_type})


HEALTH: Final = (
    Route("/livez", GET, None, livez, "livez"),
    Route("/readyz", GET, None, readyz, "readyz"),
    Route("/metrics", GET, None, show_metrics, "metrics"),
)
"""What each worker serves, with and without the console."""


def health_app(health: Health) -> Starlette:
    """Make the app of a worker without the console."""
    app = Starlette(routes=mounted(HEALTH))
    app.state.health = health
    return app


def _health(request: Request) -> Health:
    health: Health = request.app.state.health
    return health


def _may_ask(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return not token or (
        scheme.lower() == "bearer" and compare_digest(given.strip().encode("latin-1"), token.encode())
    )


def _told(page: dict[str, object], status: int = 200) -> Response:
    return Response(json.dumps(page), status_code=status, media_type=_JSON)


def _paused(pause: Pause) -> dict[str, object]:
    return {
        "status": "paused",
        "scope": pause.scope,
        "reason": pause.reason,
        "by": pause.paused_by,
        "until": pause.ends_at.isoformat() if pause.ends_at else None,
    }
