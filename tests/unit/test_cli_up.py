"""`session-worker up` prints how to use its servers."""

import shlex
from pathlib import Path

import pytest

from worker.cli.commands.up import env_file, how_to_use, with_console
from worker.cli.env_file import variables_in
from worker.cli.local_settings import settings_on
from worker.console.access import Role
from worker.console.tokens import TokensFile
from worker.stack import Stack, kept_in

AMQP, DATABASE, KEYS = "amqp://u:word-1@h:1/%2F", "postgresql://u:word-2@h:2/d", f"k1:{'A' * 43}="
GIVEN = {"AMQP_URL": AMQP, "DATABASE_URL": DATABASE, "WORKER_SEAL_KEYS": KEYS}
STACK = Stack(AMQP, DATABASE, "programs", "http://page")


@pytest.mark.parametrize("given", [[], ["AMQP_URL"], ["DATABASE_URL", "WORKER_SEAL_KEYS"], list(GIVEN)])
def test_a_secret_is_shown_only_if_it_was_made_here(given: list[str]) -> None:
    environ = {name: GIVEN[name] for name in given}

    said = how_to_use(STACK, settings_on(STACK, environ, seal_keys=KEYS), 8080, environ)

    for name, value in GIVEN.items():
        assert (value in said) == (name not in given)
        assert (f"export {name}=" in said) == (name not in given)
        assert name in said
    assert "word-1" not in said or "AMQP_URL" not in given
    assert ("as here:" in said) == bool(given)
    assert "http://127.0.0.1:8080/readyz" in said
    assert all(len(line) <= 80 for line in said.splitlines() if "export" not in line)


def test_the_console_and_a_token_that_was_made_for_it_are_named(tmp_path: Path) -> None:
    settings, token = with_console(STACK, settings_on(STACK, {}, seal_keys=KEYS), tmp_path)

    said = how_to_use(STACK, settings, 8080, {}, token)

    assert token is not None
    assert settings.console
    assert settings.management_url.get_secret_value() == "http://page"
    known = TokensFile(settings.console_tokens_file).read().with_token(token)
    assert known is not None
    assert known.role is Role.ADMIN
    assert "console          http://127.0.0.1:8080/" in said
    assert token in said
    given, none = with_console(STACK, settings, tmp_path)
    assert none is None
    assert "WORKER_CONSOLE_TOKENS_FILE is set" in how_to_use(STACK, given, 8080, {}, none)


def test_the_file_of_what_is_kept_has_the_variables_while_the_servers_run(tmp_path: Path) -> None:
    settings = settings_on(STACK, {}, seal_keys=KEYS, prefix="mine")
    folder = tmp_path / "new" / "data's"

    with kept_in(folder) as kept, env_file(kept, STACK, settings, {}) as file:
        assert file is not None
        assert dict(variables_in(str(file))) == {**GIVEN, "WORKER_PREFIX": "mine"}
        assert file.stat().st_mode & 0o777 == 0o600
        said = how_to_use(STACK, settings, 8080, {}, file=file)
        assert f"\n  . {shlex.quote(str(file))}\n" in said
        assert "export" not in said
        password = kept.secret("password")
    assert not file.exists()
    with kept_in(folder) as kept:
        assert kept.secret("password") == password
