"""What the tutorial and the how-to pages show is run by tests or says why not; links lead somewhere."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support.snippets import ROOT, Snippet, snippets_of
from support.typed import complaint, spelt_out

from schemas import CreateSessionResponse
from worker.testing import example_request

NAV = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]
MADE = (
    "docs/asyncapi.md",
    "docs/commands.md",
    "docs/python.md",
)  # from the code, whose tests run what they show
# Which test runs what a page shows, and how many pieces of Python there are.
PAGES_TEST = "tests/pages/test_pages.py"  # `make test-pages`
RUN = {
    "CONTRIBUTING.md": (PAGES_TEST, 0),
    "README.md": (PAGES_TEST, 2),
    "clients/typescript/README.md": ("tests/integration/test_typescript_client.py", 0),
    "docs/access.md": (PAGES_TEST, 0),
    "docs/console.md": (PAGES_TEST, 0),
    "docs/contract.md": (PAGES_TEST, 1),
    "docs/handlers.md": (PAGES_TEST, 3),
    "docs/on-call.md": (PAGES_TEST, 0),
    "docs/operating.md": (PAGES_TEST, 1),
    "docs/tables.md": ("tests/integration/test_tables_page.py", 0),
    "docs/testing.md": ("tests/e2e/test_example_project.py", 3),
    "docs/tracing.md": (PAGES_TEST, 1),
    "docs/tutorial.md": ("tests/e2e/test_tutorial.py", 3),
    "docs/waiting.md": (PAGES_TEST, 0),
}
# Of README.md, docs/handlers.md and docs/tracing.md other tests run the Python.
PYTHON = {
    "README.md": "tests/integration/test_readme.py",
    "docs/handlers.md": "tests/unit/test_docs.py",
    "docs/tracing.md": "tests/unit/test_snippets.py",
}
NOT_RUN = 16  # pieces that say why
RUNNABLE = ("sh", "console", "python", "sql", "json", "yaml", "ts")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
EXTERNAL = {  # listed, not visited
    "https://cloudevents.io", "https://keepachangelog.com/", "https://opentelemetry.io",
    "https://pre-commit.com", "https://pypi.org/project/pika/", "https://quicktype.io", "https://semver.org/",
}  # fmt: skip


def shown(*languages: str) -> Iterator[Snippet]:
    pages = [*PAGES, *ROOT.glob("clients/*/README.md"), *(ROOT / "examples").rglob("*.md")]
    for page in (path.relative_to(ROOT).as_posix() for path in pages):
        if page not in MADE:
            yield from (each for each in snippets_of(page) if each.language in languages)


def test_each_snippet_is_run_by_a_test_or_says_why_not() -> None:
    run = [each for each in shown(*RUNNABLE) if each.why_not is None]
    python = {page: sum(each.page == page and each.language == "python" for each in run) for page in RUN}

    assert {each.page for each in run} == RUN.keys()
    assert python == {page: count for page, (_, count) in RUN.items()}
    assert len([each for each in shown(*RUNNABLE) if each.why_not]) == NOT_RUN
    for page, test in [*((page, test) for page, (test, _) in RUN.items()), *PYTHON.items()]:
        name = Path(page).name if page != "docs/testing.md" else page
        assert Path(name).name in (ROOT / test).read_text("utf-8"), f"{test} does not read {page}"


def test_what_is_not_run_is_read_by_the_real_command_line() -> None:
    """And Docker Compose is asked for what its file has."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    known = {
        *compose["services"],
        *(each for one in compose["services"].values() for each in one.get("profiles", ())),
    }
    wrong = []
    for snippet in shown("sh", "console"):
        for command in snippet.commands if snippet.why_not else ():
            program, _, words = command.partition(" ")
            if program == "session-worker":
                wrong += [f"{command}: {said}" for each in spelt_out(words) if (said := complaint(each))]
            named = re.findall(r"--profile (\w+)|--scale (\w+)=|--rm (\w+)|logs (\w+)", command)
            wrong += [f"{command}: {each}" for each in map("".join, named) if each not in known]

    assert wrong == []


def test_what_is_typed_is_marked_as_such() -> None:
    typed = re.compile(r"^(?:\$ |session-worker |npm |pip )", re.MULTILINE)

    assert [each.text for each in shown("", "text") if typed.search(each.text)] == []


async def test_the_example_of_two_handlers_in_one_calls_the_one_that_is_meant() -> None:
    """The one of docs/handlers.md, with two handlers that only say who they are."""

    async def rooms(*_: object) -> dict[str, str]:
        return {"by": "rooms"}

    async def calls(*_: object) -> dict[str, str]:
        return {"by": "calls"}

    (snippet,) = (each for each in shown("python") if "startswith(" in each.text)
    names: dict[str, Any] = {
        "rooms": rooms, "calls": calls, "CreateSessionRequest": Any, "Context": Any,
        "Mapping": Mapping, "Any": Any,
    }  # fmt: skip
    exec(compile(snippet.text, snippet.page, "exec"), names)  # noqa: S102 — this is the point

    for org, by in (("acme-1", "rooms"), ("org-1", "calls")):
        assert await names["create"](SimpleNamespace(org_id=org), None) == {"by": by}


async def test_the_example_of_a_traced_subscription_reads_its_responses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The one of docs/tracing.md, with responses that are there."""
    (snippet,) = (each for each in shown("python") if each.page == "docs/tracing.md")
    response = CreateSessionResponse.model_validate(RESPONSE)

    class Responses:
        traceparent = f"00-{'1' * 32}-{'2' * 16}-01"

        async def __aenter__(self) -> Any:
            return self

        async def __aexit__(self, *_error: object) -> None: ...

        async def __aiter__(self) -> Any:
            yield response

    names: dict[str, Any] = {}
    exec(compile(snippet.text, snippet.page, "exec"), names)  # noqa: S102 — this is the point
    await names["subscribe"](SimpleNamespace(subscribe=Responses))

    assert capsys.readouterr().out == f"{response.payload.session_id}\n"


NOW = "2026-01-02T03:04:05Z"
RESPONSE = {
    "request_id": example_request()["request_id"], "status": "completed", "error": None, "metadata": {},
    "payload": {"session_id": "ts_261121_m5drssotpba9q", "casefile_id": None, "created_at": NOW},
    "timestamp": NOW,
}  # fmt: skip


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the book and forges make them."""
    found: dict[str, int] = {}
    anchors = set()
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text("utf-8"))):
        said = re.sub(r"\]\([^)]*\)", "", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", said).strip().replace(" ", "-")
        anchors.add(f"{anchor}-{found[anchor]}" if anchor in found else anchor)
        found[anchor] = found.get(anchor, 0) + 1
    return anchors


def test_each_link_leads_to_a_file_and_to_a_heading_in_it() -> None:
    lost, external = [], set()
    anchors = {page: anchors_of(page) for page in PAGES}
    for page in PAGES:
        for link in _LINK.findall(_CODE.sub("", _FENCE.sub("", page.read_text("utf-8")))):
            if "://" in link:
                external.add(link)
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors.get(target, ())):
                lost.append(f"{page.relative_to(ROOT)}: {link}")

    assert lost == []
    assert external == EXTERNAL


def test_each_page_has_its_place_in_the_book() -> None:
    def names(part: object) -> Iterator[str]:
        if isinstance(part, str):
            yield part
        for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from names(each)

    pages = {path.name for path in (ROOT / "docs").glob("*.md")}

    assert pages - set(names(NAV)) == set()
