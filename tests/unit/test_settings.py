"""A wrong setting is named together with its problem, and a secret one is never shown."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from worker.errors import SettingsError
from worker.settings import Settings, read_settings, variable_name
from worker.tls import context_from

PASSWORD = "hidden-word"
AMQP = f"amqp://user:{PASSWORD}@host:5672/"
POSTGRES = f"postgresql://user:{PASSWORD}@host/x"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Clears the environment of settings, and leaves the current folder with its `.env`."""
    monkeypatch.chdir(tmp_path)
    for field in Settings.model_fields:
        monkeypatch.delenv(variable_name(field), raising=False)
    monkeypatch.setenv("AMQP_URL", AMQP)
    monkeypatch.setenv("DATABASE_URL", POSTGRES)
    return monkeypatch


def problem() -> str:
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert raised.value.__cause__ is None
    assert PASSWORD not in str(raised.value)
    return str(raised.value)


def test_with_both_urls_everything_else_has_a_default() -> None:
    settings = read_settings()

    assert settings.amqp_url.get_secret_value() == AMQP
    assert settings.database_url.get_secret_value() == POSTGRES
    assert (settings.prefix, settings.http_port, settings.log_level) == ("sessions", 8080, "info")


@pytest.mark.parametrize("variable", ["AMQP_URL", "DATABASE_URL"])
def test_a_missing_url_is_named(environment: pytest.MonkeyPatch, variable: str) -> None:
    environment.delenv(variable)

    assert problem() == f"{variable}: is not set"


WRONG = [
    ("PREFETCH", "-1"),
    ("PREFETCH", "many"),
    ("PREFETCH", "70000"),
    ("PREFETCH", ""),
    ("BATCH_SIZE", "1001"),
    ("PREFIX", "a b"),
    ("PREFIX", ""),
    ("LEASE_SECONDS", "0.5"),
    ("LEASE_SECONDS", "nan"),
    ("MAX_ATTEMPTS", "1.5"),
    ("RETRY_BASE_SECONDS", "0"),
    ("GRACE_SECONDS", "-1"),
    ("MAX_BODY_BYTES", "1"),
    ("QUEUE_LIMITS", "none"),
    ("HANDLER_CONCURRENCY", "0"),
    ("RETENTION_DAYS", "-1"),
    ("HTTP_PORT", "65536"),
    ("LOG_LEVEL", "loud"),
    ("LOG_FORMAT", "xml"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_named_with_its_problem(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(f"WORKER_{name}", value)

    said = problem()

    assert said.startswith(f"WORKER_{name}: ")
    assert len(said.splitlines()) == 1
    assert len(said) > len(f"WORKER_{name}: ") + 10


def test_every_wrong_value_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("AMQP_URL")
    environment.setenv("WORKER_PREFETCH", "-1")
    environment.setenv("WORKER_HTTP_PORT", "x")

    named = [line.partition(":")[0] for line in problem().splitlines()]

    assert sorted(named) == ["AMQP_URL", "WORKER_HTTP_PORT", "WORKER_PREFETCH"]


def test_secrets_are_in_no_text_of_the_settings(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WORKER_SEAL_KEYS", f"k1:{PASSWORD}")

    settings = read_settings()

    assert settings.seal_keys.get_secret_value() == f"k1:{PASSWORD}"
    for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert PASSWORD not in text


def test_a_wrong_value_beside_a_secret_does_not_show_it(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WORKER_SEAL_KEYS", f"k1:{PASSWORD}")
    environment.setenv("WORKER_BATCHES", PASSWORD)
    environment.setenv("WORKER_LOG_FORMAT", PASSWORD)

    assert problem().count("\n") == 1


def test_the_model_s_own_error_does_not_show_a_value_either() -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(prefetch=PASSWORD, amqp_url=[PASSWORD])

    assert PASSWORD not in str(raised.value)
    assert "prefetch" in str(raised.value)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings().prefetch = 1  # type: ignore[misc]


def test_a_log_level_may_be_in_capitals(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WORKER_LOG_LEVEL", "DEBUG")

    assert read_settings().log_level == "debug"


def test_a_fail_point_is_refused_in_production(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WORKER_FAIL_POINT", "after_accept:kill")
    assert problem() == "WORKER_FAIL_POINT is refused unless WORKER_MODE=test"

    environment.setenv("WORKER_MODE", "test")
    assert read_settings().fail_point == "after_accept:kill"


def test_every_setting_says_what_it_is_for() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.rstrip("`").endswith((".", "any.")), name


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CERT_FILE": "/x"}, "WORKER_TLS_CERT_FILE and WORKER_TLS_KEY_FILE: set both or neither"),
        ({"KEY_FILE": "/x"}, "WORKER_TLS_CERT_FILE and WORKER_TLS_KEY_FILE: set both or neither"),
        ({"CA_FILE": "/no/such/file"}, "WORKER_TLS_CA_FILE: /no/such/file cannot be read"),
    ],
)
def test_wrong_tls_files_are_named(
    environment: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        environment.setenv(f"WORKER_TLS_{name}", value)

    with pytest.raises(SettingsError) as raised:
        context_from(read_settings())

    assert str(raised.value).startswith(said)


def test_without_tls_files_the_urls_say_all() -> None:
    assert context_from(read_settings()) is None


@pytest.mark.parametrize("character", [*"#/?[]", "/:", "?a="])
@pytest.mark.parametrize("place", [f"{PASSWORD}{{}}rest", f"rest{{}}{PASSWORD}"])
def test_a_password_that_breaks_the_url_is_told_without_any_of_it(
    environment: pytest.MonkeyPatch, character: str, place: str
) -> None:
    environment.setenv("DATABASE_URL", f"postgresql://user:{place.format(character)}@host:5432/name")

    said = problem()

    assert said.startswith("DATABASE_URL: is not postgresql://user:password@host:5432/name")
    assert "rest" not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgres://host",
        "postgresql://user@[::1]:5432/name",
        "postgresql://user:p%2Fw@one:5432,two:5433/name?target_session_attrs=primary&sslmode=disable",
        "postgresql:///name?host=/var/run/postgresql",
    ],
)
def test_every_form_of_a_database_url_will_do(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("DATABASE_URL", url)

    assert read_settings().database_url.get_secret_value() == url


def test_an_empty_url_is_none(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", "")

    assert problem() == "DATABASE_URL: is not set"


def test_a_key_with_a_passphrase_is_refused_and_asks_for_nothing(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "worker")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    pem, locked = serialization.Encoding.PEM, serialization.BestAvailableEncryption(b"passphrase")
    (tmp_path / "cert").write_bytes(certificate.public_bytes(pem))
    (tmp_path / "key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, locked))
    environment.setenv("WORKER_TLS_CERT_FILE", str(tmp_path / "cert"))
    environment.setenv("WORKER_TLS_KEY_FILE", str(tmp_path / "key"))

    with pytest.raises(SettingsError, match="WORKER_TLS_KEY_FILE: is encrypted"):
        context_from(read_settings())


@pytest.mark.parametrize(
    ("variables", "deliveries", "begun_soon"),
    [
        ({}, 60_000, 60_000),
        ({"FAIR_SHARES": "false"}, 512, 512),
        ({"HANDLER": "m:f"}, 60_000, 200),
        ({"HANDLER": "m:f", "HANDLER_CONCURRENCY": "1"}, 60_000, 8),
        ({"HANDLER": "m:f", "HANDLER_CONCURRENCY": "1", "FAIR_SHARES": "false"}, 8, 8),
        ({"HANDLER": "m:f", "HANDLER_CONCURRENCY": "1000", "FAIR_SHARES": "false"}, 2000, 2000),
        ({"HANDLER": "m:f", "HANDLER_CONCURRENCY": "1", "PREFETCH": "512"}, 512, 512),
        ({"PREFETCH": "3"}, 3, 3),
    ],
)
def test_the_prefetch_fits_what_can_be_begun(
    environment: pytest.MonkeyPatch, variables: dict[str, str], deliveries: int, begun_soon: int
) -> None:
    for name, value in variables.items():
        environment.setenv(f"WORKER_{name}", value)

    settings = read_settings()
    assert (settings.prefetch_in_effect, settings.begun_soon) == (deliveries, begun_soon)
