"""The documentation is true: generated pages are current, and snippets work."""

import ast
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from schemas import CreateSessionPayload, CreateSessionRequest, FailureCode
from worker.cli import exits
from worker.cli.main import COMMANDS
from worker.cli.settings_table import settings_table
from worker.monitoring.log_events import EVENTS
from worker.secret_files import file_variable
from worker.settings import Settings, secret_variables, variable_name
from worker.steps.creating import HandlerCreation
from worker.steps.loading import is_async, lifespan_of, load_handler
from worker.steps.retry_rule import RetryRule
from worker.values import Completed, Failed, PutOff, Requested, Route, Work

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("clients/*/README.md"), *(ROOT / "docs").rglob("*.md")])
_SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_VARIABLE = re.compile(r"\bWORKER_[A-Z_]+[A-Z]\b")
_GONE = re.compile(r"`(WORKER_[A-Z_]+[A-Z])` is gone")
_BROKER_URL = re.compile(r"amqps?://\w[^\s\"'`)>]*")
_TEST = re.compile(r"`(test_\w+\.py)(?:::(test_\w+))?`")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def snippets(page: Path) -> list[str]:
    return _SNIPPET.findall(page.read_text("utf-8"))


def all_snippets() -> Iterator[object]:
    for page in PAGES:
        for number, text in enumerate(snippets(page), 1):
            yield pytest.param(text, id=f"{name_of(page)}-{number}")


def test_the_settings_page_is_what_the_command_prints() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")

    assert page == settings_table(), "run `make generate`"


def test_every_setting_has_a_description_and_no_secret_shows_its_default() -> None:
    described = {name for name, field in Settings.model_fields.items() if field.description}

    assert described == set(Settings.model_fields)
    assert "SecretStr" not in settings_table()


@pytest.mark.parametrize("text", list(all_snippets()))
def test_a_python_snippet_compiles_and_imports_what_there_is(text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ImportFrom):
            continue
        top = (node.module or "").partition(".")[0]
        assert top not in ("worker", "schemas"), "an installed package has no such name"
        if top == "session_worker":
            module = importlib.import_module(node.module or "")
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


SHOWN = [
    *PAGES,
    ROOT / "docker-compose.yml",
    *(path for path in sorted((ROOT / "examples").rglob("*.*")) if path.suffix in (".py", ".mjs", ".java")),
    ROOT / "worker" / "client" / "__init__.py",
]


@pytest.mark.parametrize("page", SHOWN, ids=name_of)
def test_a_broker_s_url_names_its_vhost(page: Path) -> None:
    """`amqp://host/` is the vhost without a name to librabbitmq, Bunny and Java, and `/` to the others."""
    urls = _BROKER_URL.findall(page.read_text("utf-8"))

    assert [url for url in urls if "/" not in url[:-1].partition("://")[2]] == []


def test_the_worker_of_docker_compose_has_a_limit_of_memory() -> None:
    """One message then cannot take all of the machine's memory."""
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    shared = compose.partition("&worker\n")[2].partition("command:")[0]

    assert re.search(r"^ +mem_limit: [0-9]+[gm]$", shared, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_that_are_named_exist(page: Path) -> None:
    known = {variable_name(field) for field in Settings.model_fields} | {
        file_variable(variable) for variable in secret_variables()
    }
    text = page.read_text("utf-8")
    gone = set(_GONE.findall(text)) if page.name == "CHANGELOG.md" else set()
    named = set(_VARIABLE.findall(text)) - {"WORKER_TLS"}

    assert named - known == gone


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tests_that_are_named_exist(page: Path) -> None:
    files = {file.name: file.read_text("utf-8") for file in (ROOT / "tests").rglob("test_*.py")}

    for file, function in _TEST.findall(page.read_text("utf-8")):
        assert file in files, file
        assert not function or f"def {function}(" in files[file], f"{file}::{function}"


def test_the_readme_names_every_command() -> None:
    named = set(re.findall(r"^\| `(\w+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))

    assert set(COMMANDS) <= named


def test_each_event_of_the_log_is_described_as_loud_as_it_is() -> None:
    """An event may be named elsewhere than in the call that logs it; each that is described is named."""
    loud, named, begun = defaultdict(set), set(), set()
    for file in (ROOT / "worker").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))) if file.name != "log_events.py" else ():
            match node:
                case ast.JoinedStr([ast.Constant(str(start)), *_]) if re.fullmatch(r"\w+\.", start):
                    begun.add(start)
                case ast.Call(ast.Attribute(ast.Name("_log"), level), [ast.Constant(str(event)), *_]):
                    loud[event].add("error" if level == "exception" else level)
                case ast.JoinedStr([ast.Constant(str(event)), *_]) if event.endswith("."):
                    begun.add(event)
                case ast.Constant(str(event)):
                    named.add(event)

    assert {name: set(event.levels) for name, event in EVENTS.items() if name in loud} == {
        event: levels for event, levels in loud.items() if "." in event and " " not in event
    }
    assert {event for event in EVENTS.keys() - named if not event.startswith(tuple(begun))} == set()
    assert len(EVENTS) - len(loud) < 15


@pytest.fixture
def handler_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes the example of docs/handlers.md importable; returns the handler's path."""
    text = next(text for text in snippets(ROOT / "docs" / "handlers.md") if "async def create" in text)
    (tmp_path / "example_handlers.py").write_text(text, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "example_handlers:create"


def work(name: str) -> Work:
    request = CreateSessionRequest(
        request_id=UUID(int=1),
        org_id="org-1",
        operation="create_session",
        payload=CreateSessionPayload(name=name),
    )
    return Work(
        request_id=request.request_id,
        attempt=1,
        session_id="ts_261121_0000000000001",
        route=Route(None, None, None),
        org_id="org-1",
        document="{}",
        request=Requested.of(request),
    )


async def verdict_on(handler: str, name: str) -> Completed | Failed | PutOff:
    creation = HandlerCreation(load_handler(handler), 1, 5, RetryRule(5, 1, 300))
    slots = await creation.reserve(1)
    groups = [group async for group in creation.create([work(name)], slots)]
    return groups[0][0]


async def test_the_example_of_a_lifespan_opens_its_client_and_closes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = next(text for text in snippets(ROOT / "docs" / "handlers.md") if "@handler(lifespan=" in text)
    (tmp_path / "example_rooms.py").write_text(text, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = load_handler("example_rooms:create")

    async with lifespan_of(loaded)() as client:
        assert is_async(loaded)
        assert not client.closed
    assert client.closed


async def test_the_example_handler_completes(handler_module: str) -> None:
    verdict = await verdict_on(handler_module, "Support")

    assert isinstance(verdict, Completed)
    assert '"room":"room-ts_261121_0000000000001"' in verdict.response


async def test_the_example_handler_rejects(handler_module: str) -> None:
    verdict = await verdict_on(handler_module, "forbidden")

    assert isinstance(verdict, Failed)
    assert verdict.code is FailureCode.REJECTED


async def test_the_example_handler_asks_for_another_try(handler_module: str) -> None:
    verdict = await verdict_on(handler_module, "busy")

    assert isinstance(verdict, PutOff)
    assert verdict.delay_seconds == 10


def test_the_unit_of_systemd_agrees_with_the_program() -> None:
    """A stop gets the time that it may take, and a wrong setting is not tried again."""
    unit = (ROOT / "deploy" / "session-worker.service").read_text("utf-8")
    has = dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"\w+=", line))

    assert int(has["TimeoutStopSec"]) >= Settings.model_fields["grace_seconds"].default + 5
    assert int(has["RestartPreventExitStatus"]) == exits.USAGE
    assert has["ExecStart"].endswith("/session-worker run")
