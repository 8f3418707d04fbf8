"""`session-worker health`."""

import argparse
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTP_PORT, HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from worker.cli import exits
from worker.cli.exits import CommandError

EXAMPLES = """\
  session-worker health             is this machine's worker alive?
  session-worker health --ready     does it take requests?
  session-worker health --ready --url http://10.0.0.7:8080

For the health check of a container: it starts fast. It asks at the port that
WORKER_HTTP_PORT names; of `run --processes N` that is the first worker, and
each next one has the next port.

The exit code is 0 or 1, and 2 for wrong usage.
"""
DEFAULT_PORT = 8080  # as in worker.settings, whose import takes longer than all that is done here
_LAST_PORT = 65_535
_THIS_MACHINE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 — nothing listens here


class Address(NamedTuple):
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Answer(NamedTuple):
    """A worker's answer: its status in its own word, and the reason: of a pause, or of each part that is
    down.
    """

    ok: bool
    url: str
    status: str
    reasons: dict[str, str]

    @property
    def sentence(self) -> str:
        reasons = "; ".join(f"{part}: {reason}" for part, reason in self.reasons.items())
        return f"the worker at {self.url} is {self.status}" + (f" ({reasons})" if reasons else "")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ready", action="store_true", help="ask whether it takes requests, not only whether it is alive"
    )
    parser.add_argument("--url", type=_address, metavar="URL", help="ask this worker: http://HOST:PORT")
    parser.add_argument(
        "--timeout",
        type=float,
        default=4,
        metavar="SECONDS",
        help="how long to wait for the answer (default 4)",
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object on stdout")


def execute(options: argparse.Namespace) -> int:
    address = options.url or own_address(os.environ)
    answer = _ask(address, "/readyz" if options.ready else "/livez", options.timeout)
    if options.json:
        print(json.dumps(answer._asdict()))
    elif answer.ok:
        print(answer.sentence)
    if not answer.ok:
        raise CommandError(exits.FAILED, answer.sentence)
    return exits.OK


def own_address(environ: Mapping[str, str]) -> Address:
    """The address at which a worker with this environment is reached from its own machine."""
    host = environ.get("WORKER_HTTP_HOST", "")
    port = environ.get("WORKER_HTTP_PORT", str(DEFAULT_PORT)).strip()
    if not (port.isascii() and port.isdigit() and int(port) <= _LAST_PORT):
        raise CommandError(exits.USAGE, "WORKER_HTTP_PORT: is no port")
    if int(port) == 0:
        raise CommandError(exits.USAGE, "WORKER_HTTP_PORT: is 0, so the worker chose a port: give its --url")
    return Address(_THIS_MACHINE.get(host, host), int(port))


def _ask(address: Address, path: str, seconds: float) -> Answer:
    """Ask the worker itself, past any proxy that the environment names."""
    connection = HTTPConnection(address.host, address.port, timeout=seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        page: Any = json.loads(response.read())
        reasons = {str(part): str(reason) for part, reason in page.get("reasons", {}).items()}
        if page["status"] == "paused":
            until = f", until {page['until']}" if page["until"] else ""
            reasons = {str(page["scope"]): f"by {page['by']}{until}: {page['reason']}"}
        return Answer(response.status == HTTPStatus.OK, address.url, str(page["status"]), reasons)
    except TimeoutError:
        reason = f"no answer in {seconds:g} s"
    except OSError as error:
        reason = error.strerror or str(error)
    except (HTTPException, ValueError, LookupError, AttributeError):
        reason = "something else than a worker answers"
    finally:
        connection.close()
    return Answer(ok=False, url=address.url, status="unreachable", reasons={"http": reason})


def _address(text: str) -> Address:
    with suppress(ValueError):  # of a port that is none
        parts = urlsplit(text)
        if parts.scheme == "http" and parts.hostname and parts.path in ("", "/"):
            return Address(parts.hostname, parts.port or HTTP_PORT)
    raise argparse.ArgumentTypeError(f"{text!r} is not http://HOST:PORT")
