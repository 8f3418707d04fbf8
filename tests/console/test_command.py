"""`session-worker console` serves alone, also while its servers are away; `console token` makes a token."""

import asyncio
import json
import re
import signal
from pathlib import Path

import httpx
import pytest
from support.commands import Shell, line_with
from support.logging_kept import logging_kept

from worker.cli.main import main
from worker.console.access import Role
from worker.console.tokens import TokensFile, new_token
from worker.errors import SettingsError

ROOT = Path(__file__).parents[2]
NOWHERE = {
    "DATABASE_URL": "postgresql://u:hidden-word@127.0.0.1:9/x",
    "AMQP_URL": "amqp://u:hidden-word@127.0.0.1:9/",
}


async def test_the_command_serves_until_it_is_told_to_stop_whoever_is_away(tmp_path: Path) -> None:
    token, line = new_token("anna", Role.VIEWER, payloads=False)
    file = tmp_path / "tokens"
    file.write_text(line.text, "utf-8")
    shell = Shell(
        **NOWHERE, WORKER_HTTP_HOST="127.0.0.1", WORKER_HTTP_PORT="0", WORKER_LOG_FORMAT="json",
        WORKER_CONSOLE_TOKENS_FILE=str(file),
    )  # fmt: skip
    async with shell.start("console") as process, httpx.AsyncClient() as client:
        said = json.loads(await line_with(process.stderr, "console.started"))

        base = f"http://127.0.0.1:{said['http_port']}"
        assert (await client.get(f"{base}/readyz")).json() == {"status": "ready"}
        assert (await client.get(f"{base}/metrics")).status_code == 404
        page = await client.get(base, headers={"Authorization": f"Bearer {token}"})
        assert (page.status_code, "Postgres is away" in page.text, "hidden-word" in page.text) == (
            503,
            True,
            False,
        )

        process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, err.decode()
        assert "hidden-word" not in err.decode()
        assert token not in err.decode()


def test_a_token_is_printed_once_and_its_line_lets_in_who_has_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["console", "token", "--name", "anna", "--role", "operator", "--payloads", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert main(["console", "token", "--name", "anna", "--role", "operator"]) == 0
    shown = capsys.readouterr().out

    assert made["token"] not in made["line"]
    assert shown.count("swc_") == 1
    file = tmp_path / "tokens"
    file.write_text(f"# people\n\n  {made['line']}\n", "utf-8")
    known = TokensFile(str(file)).read()
    who = known.with_token(made["token"])
    assert who is not None
    assert (who.name, who.role, who.payloads) == ("anna", Role.OPERATOR, True)
    assert known.with_token(made["token"][:-1]) is None
    assert main(["console", "token", "--name", "* ", "--role", "viewer"]) == 2


def test_the_token_that_docker_compose_names_lets_in() -> None:
    (token,) = set(re.findall(r"swc_[\w-]+", (ROOT / "docker-compose.yml").read_text("utf-8")))

    who = TokensFile(str(ROOT / "deploy" / "console.tokens")).read().with_token(token)

    assert who is not None
    assert (who.name, who.role) == ("you", Role.ADMIN)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("anna", "line 1 is not NAME ROLE"),
        ("anna owner proxy", "line 1 is not NAME ROLE"),
        (f"anna viewer sha256:{'0' * 64}\nberta viewer sha256:{'0' * 64}", "line 2: it is there twice"),
        (f"* viewer sha256:{'0' * 64}", "line 1: * is for whoever a proxy names"),
    ],
)
def test_a_file_of_tokens_that_says_something_wrong_is_refused(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=r"^WORKER_CONSOLE_TOKENS_FILE: ") as refused:
        TokensFile(str(file))
    assert why in str(refused.value)


def test_a_console_into_which_nobody_could_log_in_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WORKER_CONSOLE_TOKENS_FILE", raising=False)

    with logging_kept():
        assert main(["console"]) == 2
    assert "WORKER_CONSOLE_TOKENS_FILE: is not set" in capsys.readouterr().err
