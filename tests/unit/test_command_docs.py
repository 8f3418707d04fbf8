"""What the pages for operators tell them to type is read by the real command line."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.typed import complaint, real_parser, spelt_out

from worker.cli.completion import places_of
from worker.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = ("docs/on-call.md", "docs/operating.md", "deploy/observability/rules.yml")
FOREIGN = {"--profile", "--build"}  # of docker compose
_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S* )*session-worker (\S.*)$", re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_ANNOTATION = re.compile(r"^ +(?:summary|description): .*?session-worker (\w[^'\"`.]*)", re.MULTILINE)


def inline_codes(page: str) -> list[str]:
    return [" ".join(code.split()) for code in _INLINE.findall(_FENCE.sub("", page))]


def commands_in(page: str) -> Iterator[str]:
    """Find the commands of a page, without the name of the program."""
    for block in _FENCE.findall(page):
        for line in _LINE.findall(re.sub(r" *\\\n *", " ", block)):
            yield re.split(r"  | [|>&] ", line)[0]
    for found in inline_codes(page):
        code = found.partition(" | ")[0]
        name, _, rest = code.partition(" ")
        while re.fullmatch(r"[A-Z_]+=\S*", name):
            name, _, rest = rest.partition(" ")
        if name == "session-worker" and not rest.startswith("HOST"):  # the name of a connection
            yield rest
        elif name in COMMANDS and rest:
            yield code
    yield from _ANNOTATION.findall(page)


@pytest.mark.parametrize("page", PAGES)
def test_each_command_is_read(page: str) -> None:
    commands = list(dict.fromkeys(commands_in((ROOT / page).read_text("utf-8"))))

    found = {
        command: problem
        for command in commands
        for words in spelt_out(command)
        if (problem := complaint(words))
    }

    assert found == {}
    assert len(commands) > 20 or page.endswith(".yml")


@pytest.mark.parametrize("page", PAGES[:2])
def test_each_option_is_one_of_a_command(page: str) -> None:
    known = {name for place in places_of(real_parser()) for option in place.options for name in option.names}
    named = {
        re.split(r"[ =]", code)[0]
        for code in inline_codes((ROOT / page).read_text("utf-8"))
        if code.startswith("--")
    }

    assert named - known - FOREIGN == set()


def test_what_no_command_reads_is_found() -> None:
    page = (
        "`session-worker requests list --colour`\n```\n$ WORKER_PREFIX=a session-worker pause --for 1h\n```"
    )

    found = [complaint(words) or "" for each in commands_in(page) for words in spelt_out(each)]

    assert [text.partition("arguments: ")[2].partition(";")[0] for text in found] == ["--for 1h", "--colour"]
