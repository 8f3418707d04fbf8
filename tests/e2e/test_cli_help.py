"""The command line explains itself: help that fits its terminal, the version, the command probably meant."""

import platform
import re
from pathlib import Path

import pytest
from support.commands import Outcome, Shell

from schemas.documents import CONTRACT_VERSION
from worker.cli.main import COMMANDS, main
from worker.cli.version import commit_of
from worker.process.identity import package_version

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Here:
    """Runs the command line in this process: help and version need no other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *words: str, columns: int = 80) -> Outcome:
        self._monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as end:
            main(words)
        out, err = self._capsys.readouterr()
        return Outcome(int(end.value.code or 0), out, err)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns_and_breaks_no_word(command: str, here: Here) -> None:
    words = [command, "--help"] if command else ["--help"]

    narrow, wide = here.run(*words), here.run(*words, columns=500)

    assert (narrow.code, wide.code) == (0, 0)
    assert [line for line in narrow.out.splitlines() if len(line) > 80] == []
    assert narrow.out.split() == wide.out.split(), "no word stands in two parts"


@pytest.mark.parametrize("command", ["", "status"])
def test_help_is_a_command_as_well(command: str, here: Here) -> None:
    by_word = here.run("help", *([command] if command else []))
    by_option = here.run(*([command] if command else []), "--help")

    assert by_word == by_option
    assert by_word.code == 0
    assert by_word.out.startswith(f"usage: session-worker {command}")


async def test_the_version() -> None:
    outcome = await Shell().run("--version")

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"session-worker {package_version()},")
    assert outcome.out.endswith(f", contract {CONTRACT_VERSION}, Python {platform.python_version()}\n")
    told = re.findall(r"commit ([0-9a-f]+)", outcome.out)
    known = commit_of(Path(__file__).parents[2])
    assert told == ([known[:12]] if known else [])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_the_commit_of_a_checkout(tmp_path: Path, *, packed: bool, apart: bool) -> None:
    shared, folder = tmp_path / "shared", tmp_path / "checkout"
    git = tmp_path / "apart" if apart else folder / ".git"
    (shared / "refs" / "heads").mkdir(parents=True)
    folder.mkdir()
    git.mkdir()
    if apart:
        (folder / ".git").write_text(f"gitdir: {git}\n")
    (git / "commondir").write_text("../shared\n" if apart else "../../shared\n")
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    if packed:
        (shared / "packed-refs").write_text(f"# pack-refs with: peeled\n{COMMIT} refs/heads/main\n")
    else:
        (shared / "refs" / "heads" / "main").write_text(f"{COMMIT}\n")

    assert commit_of(folder) == COMMIT
    (git / "HEAD").write_text(f"{COMMIT[::-1]}\n")
    assert commit_of(folder) == COMMIT[::-1], "a commit that no branch names"
    assert commit_of(tmp_path) is None


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["statsu"], "status"),
        (["help", "responces"], "responses"),
        (["version"], "--version"),
        (["--verison"], "--version"),
        (["request", "--exspiration-seconds", "90"], "--expiration-seconds"),
        (["responses", "--folow=1"], "--follow"),
        (["schema", "--jsn"], "--json"),
    ],
)
def test_what_was_probably_meant(words: list[str], meant: str, here: Here) -> None:
    outcome = here.run(*words)

    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.endswith(f"; did you mean {meant}?\n")


@pytest.mark.parametrize("words", [["qqq"], ["schema", "--qqq"], ["schema", "request", "qqq"]])
def test_nothing_is_guessed_where_nothing_is_like_it(words: list[str], here: Here) -> None:
    outcome = here.run(*words)

    assert (outcome.code, outcome.out) == (2, "")
    assert "qqq" in outcome.err
    assert "did you mean" not in outcome.err
