"""`session-worker up` prints how to use its servers."""

import pytest

from worker.cli.commands.up import how_to_use
from worker.cli.local_settings import settings_on
from worker.stack import Stack

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
