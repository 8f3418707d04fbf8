"""Reads the command line, runs its command, and turns an error into sentences on stderr and an exit code."""

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.parsing import Parser, did_you_mean
from worker.monitoring import connection_libraries
from worker.process.own_command import PROGRAM, is_ours

COMMANDS = {
    "run": "a worker, until it is told to stop",
    "health": "ask a running worker whether it is alive, or takes requests",
    "migrate": "bring the database's schema up to date, or say what is missing",
    "topology": "declare exchanges and queues, or compare them",
    "access": "print the rights of a role, for RabbitMQ or Postgres to import",
    "request": "ask for sessions and wait for the responses",
    "cancel": "take a request back that is not finished",
    "responses": "show the responses that arrive in the response queue",
    "status": "one request: its state, history, session and response",
    "requests": "find requests, explain them, and act on them",
    "doctor": "what is wrong, the worst first, each with a remedy",
    "orgs": "the busiest organisations: what waits, runs and failed, and how long it took",
    "workers": "the workers: which live, what each has in hand, its build; drain one",
    "queues": "the queues: how much each holds, and who reads it",
    "top": "what comes and goes in a second, of whom, and what fails, on one screen",
    "selections": "what was chosen to be retried, resent or cancelled: list, stop, continue",
    "pause": "hold requests back: all, those of an organisation, or a worker",
    "resume": "end a pause",
    "limits": "how many requests run or begin, for all and for organisations",
    "audit": "what operators did: who, when, why, and to what",
    "history": "export each change of an organisation's requests",
    "dead": "messages that no worker could read: look, mend, send again or drop",
    "blockers": "who holds a lock that the workers wait for; end that",
    "keys": "what each key holds; seal that anew with another, and retire a key",
    "retention": "what is kept since when and how it grows; delete what is old",
    "console": "serve the console: pages and an API for who operates; make a token for it",
    "verify": "check the promises: what was confirmed, what came back, what is on record",
    "up": "RabbitMQ, Postgres and a worker on this machine, in the foreground",
    "demo": "the whole path, shown and checked",
    "handler": "try a handler out, without servers: does it work, twice, and block nothing?",
    "schema": "print the JSON Schemas of the contract",
    "env": "the settings in force, and where each comes from; also as files of settings",
    "completion": "a script that lets a shell complete commands and options",
}
_LOCAL = ("up", "demo")  # these also need what starts servers
_OTHERS = ("help", "--help", "--version")
_ENV_FILE = "read what the environment does not set from lines NAME=VALUE"

_EPILOG = f"""\
Settings come from the environment: AMQP_URL, DATABASE_URL, WORKER_*.
`session-worker help COMMAND` shows the options and examples of a command.

{exits.MEANINGS}"""

_CODES = {
    f"{PROGRAM}.errors.SettingsError": exits.USAGE,
    f"{PROGRAM}.errors.RefusedQueue": exits.USAGE,
    f"{PROGRAM}.errors.WorkerError": exits.FAILED,
    f"{PROGRAM}.stack.errors.StackError": exits.UNREACHABLE,
    f"{PROGRAM}.client.errors.BrokerUnreachable": exits.UNREACHABLE,
    f"{PROGRAM}.client.errors.RequestTimedOut": exits.TIMED_OUT,
    f"{PROGRAM}.client.errors.ClientError": exits.FAILED,
}


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from worker.cli.version import version_line  # noqa: PLC0415 — reads files that no other command needs

        print(version_line())
        parser.exit()


class Command(Protocol):
    """A module of a command."""

    EXAMPLES: str

    def arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def execute(self, options: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns its exit code."""
    _open_standard_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    name = next((word for word in words if not word.startswith("-")), "")
    try:
        command = load(name) if name in COMMANDS else None
    except ModuleNotFoundError as error:
        return _say(_missing(name, error), exits.USAGE)
    parser = parser_of({name: command} if command else {})
    if name and command is None:
        parser.error(f"invalid choice: {name!r} is no command{did_you_mean(name, (*COMMANDS, *_OTHERS))}")
    options = parser.parse_args(words)
    if command is None:
        parser.error("a COMMAND is required")
    connection_libraries.silence()
    try:
        _read_env_file(options.env_file)
        return command.execute(options)
    except KeyboardInterrupt:
        return _say("interrupted", exits.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has gone; the interpreter must not stumble over it when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.PIPE_CLOSED
    except Exception as error:
        if options.debug:
            raise
        return _explain(error, name)


def _read_env_file(path: str | None) -> None:
    """Set the variables of a file; what the environment sets already stays."""
    if path is not None:
        from worker.cli.env_file import variables_in  # noqa: PLC0415 — most commands are called without

        for name, value in variables_in(path).items():
            os.environ.setdefault(name, value)


def _open_standard_streams() -> None:
    """Open the standard streams that are closed: if a socket got the number of one, uvloop would end us."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def load(name: str) -> Command:
    """Import the module of a command."""
    return cast("Command", importlib.import_module(f"{PROGRAM}.cli.commands.{name}"))


def parser_of(asked_for: Mapping[str, Command]) -> Parser:
    """Make the parser of all commands; only these have their options in it, since an import takes time."""
    parser = Parser(
        prog="session-worker",
        description="Turns create-session requests from RabbitMQ into sessions in Postgres,\n"
        "and answers each one.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show it, with the commit if it is known")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for each, summary in COMMANDS.items():
        command = asked_for.get(each)
        sub = commands.add_parser(
            each,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"examples:\n{command.EXAMPLES}\n{exits.MEANINGS}" if command else None,
        )
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.add_argument("--env-file", metavar="FILE", help=_ENV_FILE)
        if command:
            command.arguments(sub)
    return parser


def _explain(error: Exception, name: str) -> int:
    if isinstance(error, CommandError):
        return _say(str(error), error.code)
    if isinstance(error, ModuleNotFoundError):
        return _say(_missing(name, error), exits.USAGE)
    for kind in type(error).__mro__:
        if (code := _CODES.get(f"{kind.__module__}.{kind.__name__}")) is not None:
            return _say(str(error), code)
    if f"{PROGRAM}.postgres.database" in sys.modules:  # else the command needs no Postgres
        from worker.cli.reaching import unreachable  # noqa: PLC0415 — as above

        if away := unreachable(error):
            return _say(str(away), away.code)
    return _say(f"unexpected {type(error).__name__}: {error}\n--debug shows where", exits.UNEXPECTED)


def _missing(name: str, error: ModuleNotFoundError) -> str:
    if error.name is None or is_ours(error.name):
        raise error
    extra = "worker,local" if name in _LOCAL else "worker"
    return f"`session-worker {name}` needs {error.name}: pip install 'session-worker[{extra}]'"


def _say(text: str, code: int) -> int:
    print(f"session-worker: {text}", file=sys.stderr)
    return code
