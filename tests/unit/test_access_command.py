"""`session-worker access` prints rights and no password; docker-compose.yml has a role for each service."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import pytest

from worker.cli.main import main
from worker.postgres import expected
from worker.postgres.grants import Kind
from worker.rabbitmq.access import Actor, rights_of

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
PASSWORD = "conspicuous-password"


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    assert main(["access", *words]) == code
    said = capsys.readouterr()
    return said.out, said.err


def test_a_user_with_a_password_is_defined_by_its_salted_hash(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n", "utf-8")
    words = (
        *("rabbitmq", "--role", "worker", "--user", "w", "--prefix", "mine", "--vhost", "v"),
        "--password-file",
    )
    first, err = printed(capsys, *words, str(file))
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD))
    second, _ = printed(capsys, *words, "-")

    (user,), (again,) = (json.loads(out)["users"] for out in (first, second))
    raw = base64.b64decode(user["password_hash"])
    assert raw[4:] == hashlib.sha256(raw[:4] + PASSWORD.encode()).digest()
    assert user["password_hash"] != again["password_hash"]
    assert PASSWORD not in first + err
    (permission,) = json.loads(first)["permissions"]
    assert (permission["user"], permission["vhost"]) == ("w", "v")
    assert "sessions" not in first


def test_a_user_without_one_is_left_out_and_keeps_what_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = printed(capsys, "rabbitmq", "--role", "producer", "--user", "shop")

    assert json.loads(out) == {
        "permissions": [
            {
                "user": "shop",
                "vhost": "/",
                "configure": r"^amq\.gen-.*$",
                "write": r"^(sessions\.requests|amq\.gen-.*)$",
                "read": r"^(sessions\.events|amq\.gen-.*)$",
            }
        ],
        "topic_permissions": [
            {
                "user": "shop",
                "vhost": "/",
                "exchange": "sessions.events",
                "write": "^$",
                "read": r"^\*\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
            }
        ],
    }
    assert "rabbitmqctl add_user" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rabbitmq", "--role", "migrator"), "never reaches RabbitMQ"),
        (("postgres", "--role", "producer"), "never reaches Postgres"),
        (("postgres", "--role", "subscriber"), "never reaches Postgres"),
        (("rabbitmq", "--role", "worker", "--prefix", "a.b"), "WORKER_PREFIX"),
        (("rabbitmq", "--role", "worker", "--password-file", "/nowhere"), "--password-file"),
        (("rabbitmq", "--role", "worker", "--password-file", "/dev/null"), "no password in it"),
    ],
)
def test_what_makes_no_sense_is_said(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    out, err = printed(capsys, *words, code=2)

    assert said in err
    assert out == ""


def test_a_name_of_a_role_is_quoted_and_a_schema_can_be_the_prefix_s_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile = 'a" superuser; drop table requests; --'
    quoted = '"a"" superuser; drop table requests; --"'

    for role in ("worker", "console", "migrator"):
        out, _ = printed(
            capsys, "postgres", "--role", role, "--user", hostile, "--prefix", "tenant-b", "--own-schema"
        )
        assert out.replace(quoted, "").count("drop table") == 0
        assert '"tenant-b"' in out
        assert "public" not in out.replace("from public", "")


def test_a_worker_may_do_all_that_a_console_may_since_it_can_serve_one() -> None:
    worker = set(expected.rights(Kind.WORKER))

    lacking = [
        right
        for right in expected.rights(Kind.CONSOLE)
        if right not in worker and right._replace(column=None) not in worker
    ]
    assert lacking == []


def test_each_user_of_docker_compose_has_the_rights_of_its_name_and_no_service_is_an_administrator() -> None:
    content = COMPOSE.partition("    content: |\n")[2]
    users = {each["name"]: each for each in json.loads(re.sub(r"\$\{(\w+)[^}]*\}", r"\1", content))["users"]}

    assert users.pop("admin")["password"] == "RABBITMQ_PASSWORD"
    assert users.keys() == {actor.value for actor in Actor}
    for name, user in users.items():
        assert user["password"] == "ROLES_PASSWORD"
        assert user["tags"] == list(rights_of(Actor(name), "sessions").tags)
        assert f"./deploy/rabbitmq/{name}.json:/etc/rabbitmq/access/2-{name}.json:ro" in COMPOSE
    accounts = set(re.findall(r"_URL: (\w+)://(\w+):", COMPOSE))
    assert accounts == {
        ("amqp", "worker"), ("amqp", "console"), ("amqp", "producer"), ("amqp", "subscriber"),
        ("http", "worker"), ("http", "console"),
        ("postgresql", "worker"), ("postgresql", "console"), ("postgresql", "migrator"),
    }  # fmt: skip
    roles = (ROOT / "deploy" / "postgres" / "1-roles.sql").read_text("utf-8")
    made = set(re.findall(r"^create role (\w+)", roles, re.MULTILINE))
    assert made == {name for kind, name in accounts if kind == "postgresql"}
