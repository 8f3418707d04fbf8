"""`session-worker handler check`."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas import CreateSessionRequest
from schemas.errors import field_errors
from worker.asyncapi.examples import REQUESTS
from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.needed_settings import settings_for
from worker.cli.options import json_option
from worker.cli.output import emit
from worker.cli.tables import plain
from worker.cli.trial import Made, Trial, try_out
from worker.monitoring import log
from worker.monitoring.profile import build_of
from worker.steps.loading import is_async, load_handler
from worker.values import Completed, PutOff

EXAMPLES = """\
  session-worker handler check rooms:create
  PYTHONPATH=src session-worker handler check acme.rooms:create --request a.json

The handler is loaded as a worker does it, its lifespan is opened, and it is
called twice for the same request, as after a crash: by itself for an example of
the contract. Then the lifespan is closed. No server of ours is needed; what the
handler calls is called. Time-out and build come from WORKER_HANDLER_TIMEOUT_SECONDS
and WORKER_BUILD.

Exit code 1 if a call raises or takes too long, if the second one comes to
something else than the first, if they hold up the event loop, or if the
lifespan fails; 2 if it is no handler.
"""
_EXAMPLE = next(each["payload"] for each in REQUESTS if each["name"] == "conversation")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("handler", metavar="MODULE:FUNCTION", help="as WORKER_HANDLER names it")
    parser.add_argument("--request", metavar="FILE", help="a request, as JSON, in the place of the example")
    json_option(parser)


def execute(options: argparse.Namespace) -> int:
    settings = settings_for()
    log.configure(settings.model_copy(update={"log_level": "error"}))
    request = _request(options.request)
    handler = load_handler(options.handler)
    trial = event_loop.run(try_out(handler, options.handler, request, settings.handler_timeout_seconds))
    findings = list(_findings(trial))
    about = {
        "handler": options.handler, "build": build_of(options.handler, settings.build),
        "runs_in": "event loop" if is_async(handler) else "thread", "lifespan": hasattr(handler, "lifespan"),
    }  # fmt: skip
    if options.json:
        emit({**about, "calls": [_record(trial.first), _record(trial.second)], "findings": findings})
    else:
        _show(about, trial, findings)
    return exits.FAILED if findings else exits.OK


def _request(file: str | None) -> CreateSessionRequest:
    if file is None:
        return CreateSessionRequest.model_validate(_EXAMPLE)
    try:
        return CreateSessionRequest.model_validate_json(Path(file).read_bytes())
    except OSError as error:
        raise CommandError(exits.USAGE, f"{file}: {error.strerror}") from None
    except ValidationError as error:
        told = "; ".join(f"{each['field']}: {each['reason']}" for each in field_errors(error))
        raise CommandError(exits.USAGE, f"{file} is no request: {told}") from None


def _findings(trial: Trial) -> Iterator[str]:
    """Say what is wrong, and what to do about it."""
    for which, made in (("first", trial.first), ("second", trial.second)):
        if made.failed:
            yield f"the {which} call failed: {_outcome(made)}"
    if not trial.alike:
        yield (
            "the second call came to something else. It may be called again for the same request: use "
            "context.session_id as the key of what it creates"
        )
    if trial.blocked:
        at = f" at {trial.blocked.place}" if trial.blocked.place else ""
        yield (
            f"it held up the event loop for {trial.blocked.seconds:.1f} s{at}. Await what takes long, or "
            "make it a plain function, which is called in a thread"
        )


def _outcome(made: Made) -> str:
    """Say what a call came to."""
    verdict = made.verdict
    if isinstance(verdict, Completed):
        return "completed"
    why = verdict.failure
    if why is not None and made.failed:
        return why.reason + (f", at {why.place}" if why.place else "")
    return f"put off: {verdict.reason}" if isinstance(verdict, PutOff) else verdict.code.value


def _record(made: Made) -> dict[str, Any]:
    response = made.response
    return {
        "outcome": _outcome(made), "seconds": round(made.seconds, 3),
        "response": None if response is None else response.model_dump(mode="json"),
    }  # fmt: skip


def _show(about: dict[str, Any], trial: Trial, findings: list[str]) -> None:
    where = "a thread" if about["runs_in"] == "thread" else "the event loop"
    lifespan = "with a lifespan" if about["lifespan"] else "no lifespan"
    build = f", build {about['build']}" if about["build"] else ""
    print(plain(f"handler   {about['handler']}, in {where}, {lifespan}{build}"))
    for which, made in (("first", trial.first), ("second", trial.second)):
        print(plain(f"{which:9} {_outcome(made)}, in {made.seconds:.3f} s"))
    response = trial.second.response
    if response is None:
        print("the requester gets nothing yet: the request is tried again")
    else:
        print("the requester gets:")
        print(plain(json.dumps(response.model_dump(mode="json"), indent=2, ensure_ascii=False)))
    for finding in findings:
        print(plain(f"! {finding}"))
    if not findings:
        print("nothing is wrong")
