"""The settings of a worker: read once from the environment, then frozen."""

import os
import re
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.errors import SettingsError
from worker.secret_files import secrets_in_files
from worker.whose import orgs_of_users

_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]@/]*)(:[0-9]+)?")
PLAIN_NAMES = {
    "amqp_url": "AMQP_URL",
    "database_url": "DATABASE_URL",
    "management_url": "MANAGEMENT_URL",
    "otlp_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "service_name": "OTEL_SERVICE_NAME",
}
PREFIX = "WORKER_"
_PREFETCH = 512
_READ_AHEAD = 60_000
_LEAST_PREFETCH = 8
_PERHAPS_IN_THE_CLEAR = ("disable", "allow", "prefer")


class Settings(BaseSettings):
    """Every setting of the worker. The defaults serve production on two cores."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    amqp_url: SecretStr = Field(
        validation_alias="AMQP_URL",
        description="The broker: `amqp://user:password@host:5672/vhost`, `amqps://` for TLS. Several "
        "hosts of one cluster: `amqp://user:password@one,two:5673,three/vhost`. "
        "The vhost `/` is written `%2F`.",
    )
    database_url: SecretStr = Field(
        validation_alias="DATABASE_URL",
        description="Postgres: `postgresql://user:password@host:5432/name`, `?sslmode=verify-full` for TLS. "
        "A primary and its standbys: `postgresql://user:password@one,two:5433/name?target_session_attrs=read-write`.",
    )
    management_url: SecretStr = Field(
        default=SecretStr(""),
        validation_alias="MANAGEMENT_URL",
        description="RabbitMQ's management API, `http://user:password@host:15672`, for what AMQP does not "
        "tell of queues: their bytes, and the messages that are not acknowledged. Empty: metrics do not show "
        "these.",
    )
    prefix: str = Field(
        default="sessions",
        pattern=r"^[A-Za-z0-9_-]{1,60}$",
        description="Names the installation: the first part of the name of every exchange and queue, and "
        "the choice of its tables in Postgres, so that several installations can share servers.",
    )
    prefetch: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Deliveries that a worker holds unsettled. 0: 60,000 with fair shares, so that nobody "
        "stands behind a flood; without them 512, and with a handler twice its concurrent calls, at least 8.",
    )
    prefetch_bytes: int = Field(
        default=67_108_864,
        ge=1_048_576,
        description="Bytes of their bodies that a worker holds; it gives back what exceeds them until there "
        "is room. One message is always taken, whatever its size.",
    )
    batch_size: int = Field(
        default=128,
        ge=1,
        le=1000,
        description="Most requests that share one transaction and one publish.",
    )
    batches: int = Field(
        default=3,
        ge=1,
        le=64,
        description="Batches in flight at once with the built-in creation.",
    )
    pool_size: int = Field(
        default=4,
        ge=2,
        le=100,
        description="Connections to Postgres; one more than `WORKER_BATCHES` is enough.",
    )
    lease_seconds: float = Field(
        default=30,
        ge=1,
        le=3600,
        description="How long after its last sign of life a worker's requests are taken over.",
    )
    max_attempts: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="Attempts that may fail (the handler raises, or takes too long) before "
        "`attempts_exhausted`, once `WORKER_RETRY_SECONDS` have passed too. The same number of attempts may "
        "end with a crash of their worker.",
    )
    retry_seconds: float = Field(
        default=7200,
        ge=0,
        le=2_592_000,
        description="How long at least a request is tried again after its first failed attempt. Set it "
        "longer than an outage of what the handler calls may last.",
    )
    max_put_offs: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="How often a handler may put a request off with `RetryLater` before "
        "`attempts_exhausted`.",
    )
    retry_base_seconds: float = Field(
        default=1,
        gt=0,
        le=3600,
        description="Longest wait before the second attempt; doubles with each attempt, full jitter.",
    )
    retry_cap_seconds: float = Field(
        default=300,
        gt=0,
        le=86400,
        description="Longest wait before any attempt.",
    )
    grace_seconds: float = Field(
        default=25,
        ge=0,
        le=3600,
        description="How long a stopping worker may take to finish what it has begun.",
    )
    max_body_bytes: int = Field(
        default=1_048_576,
        ge=1024,
        le=16_777_216,
        description="A longer request is answered with `too_large`.",
    )
    org_of_user: str = Field(
        default="",
        description="Whose request it is: for which organisations (`org_id`) a user of the broker may ask, "
        "repeat, redirect and cancel. Messages name that user in the property `user_id`, which RabbitMQ "
        "checks. A pattern of the users' names, `tenant-{org}`; or JSON, or the path of a file with it: "
        '`{"tenant-{org}": "{org}", "billing": ["org-7", "org-8"], "console": "*"}`, where `*` stands for '
        "all, as operators need it. The user of AMQP_URL may act for all. Set it for the console and for "
        "commands as well: their messages name their user then. Empty: whoever may publish may act for all.",
    )
    reply_to_pattern: str = Field(
        default="",
        description="Regular expression for the whole name of a queue that a `reply_to` may name, such as "
        r"`replies\..+`. Direct replies and queues that the broker has named (`amq.gen-…`) are always "
        "possible, the worker's own queues never. Empty: any other queue.",
    )
    queue_limits: Literal["arguments", "policy"] = Field(
        default="arguments",
        description="Where limits and dead-lettering of the queues come from: declared with the queue, or "
        "left to a policy of yours (`docs/operating.md` has one).",
    )
    shards: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Over how many queues requests are spread, by a hash of their `correlation_id`. More "
        "than one needs RabbitMQ's plugin `rabbitmq_consistent_hash_exchange` (`docs/scaling.md`).",
    )
    confirm_timeout_seconds: float = Field(
        default=15,
        ge=0.1,
        le=600,
        description="How long a publish waits for the broker's confirm.",
    )
    seal_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Keys that seal credentials at rest: `id:base64-of-32-bytes`, separated by commas; the "
        "first one seals, all of them open. Empty: a request that carries a credential is refused.",
    )
    handler: str = Field(
        default="",
        description="Your own creation, `module:function`; empty: the built-in one.",
    )
    build: str = Field(
        default="",
        pattern=r"^[!-~]{0,100}$",
        description="Name of the handler's build, such as a commit: it stands with the worker, its metrics "
        "and events, and each attempt. Empty: the version of the package that the handler is in, if it was "
        "installed, and a digest of its file.",
    )
    handler_concurrency: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Calls of the handler that may run at once; each of a plain function has a thread.",
    )
    handler_timeout_seconds: float = Field(
        default=30,
        gt=0,
        le=86400,
        description="A call of the handler that takes longer counts as a failed attempt.",
    )
    fair_shares: bool = Field(
        default=True,
        description="When several organisations (`org_id`) want more than there is, each gets its share, "
        "whoever came first (`docs/waiting.md`).",
    )
    max_waiting: int = Field(
        default=200_000,
        ge=0,
        le=100_000_000,
        description="Most requests that wait in Postgres, of all workers together; beyond it requests stay "
        "in the queue.",
    )
    limits: str = Field(
        default="",
        description="Limits and shares, for all workers together: `all: running=200; each: rate=50/s "
        "burst=100; org-7: weight=2 running=10`. `session-worker limits` changes them while workers run, and "
        "counts before this; an organisation that is called `all` or `each` needs it.",
    )
    breaker_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="When more than this share of the handler's last calls failed (it raises, or takes too "
        "long), the worker makes one call at a time until one succeeds, and a request that failed before "
        "spends no further attempt. 1: never.",
    )
    retention_days: float = Field(
        default=30,
        ge=0,
        le=3650,
        description="Finished requests older than this are deleted; 0 keeps them for ever.",
    )
    max_dead_letters: int = Field(
        default=100_000,
        ge=0,
        le=10_000_000,
        description="Most dead letters that workers take into Postgres, where `session-worker dead` shows, "
        "mends and replays them; beyond it they stay in `<prefix>.dead`. 0: all stay there, for a consumer "
        "of yours.",
    )
    events: bool = Field(
        default=False,
        description="Whether each step of a request is told on the exchange `<prefix>.events`, for programs "
        "that watch requests (`docs/contract.md`). It costs about three publishes for each request.",
    )
    dead_letter_days: float = Field(
        default=30,
        ge=0,
        le=3650,
        description="Dead letters in Postgres older than this are deleted; 0 keeps them for ever.",
    )
    audit_days: float = Field(
        default=365,
        ge=0,
        le=3650,
        description="What operators did is kept on record for so long; 0 keeps it for ever.",
    )
    http_host: str = Field(
        default="127.0.0.1",
        description="Address of `/livez`, `/readyz` and `/metrics`, and of the console: by default only this "
        "machine reaches them. The image sets `0.0.0.0`: what asks a container comes from outside of it.",
    )
    http_port: int = Field(
        default=8080,
        ge=0,
        le=65535,
        description="Port of health and metrics. With `--processes N` the first worker has this port, and "
        "each further worker the next one. 0 picks any free port.",
    )
    metrics_token: SecretStr = Field(
        default=SecretStr(""),
        description="Token that whoever asks for `/metrics` has to send: `Authorization: Bearer TOKEN`. "
        "Empty: anybody may ask who reaches the port.",
    )
    console: bool = Field(
        default=False,
        description="Whether a worker serves the console beside health and metrics, at the same port "
        "(`docs/console.md`). `session-worker console` serves it by itself.",
    )
    console_tokens_file: str = Field(
        default="",
        description="File that says who may log in to the console: a line for each, which `session-worker "
        "console token` makes, with the token's hash. The console needs it.",
    )
    console_proxy_header: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9-]*$",
        description="Header in which a proxy before the console names who has logged in there, such as "
        "`X-Forwarded-User`. It counts from trusted proxies alone.",
    )
    console_trusted_proxies: str = Field(
        default="",
        description="Addresses and networks of those proxies, separated by commas: `10.0.0.5, 10.1.0.0/16`.",
    )
    environment_name: str = Field(
        default="",
        max_length=40,
        description="Name of the environment, which each page of the console shows, such as `production`.",
    )
    environment_color: Literal["red", "orange", "yellow", "green", "blue", "grey"] = Field(
        default="grey",
        description="Its colour. Production is red.",
    )
    otlp_endpoint: str = Field(
        default="",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        pattern=r"^(https?://[^\s@]+)?$",
        description="The collector that traces go to, over OTLP/HTTP: `http://collector:4318`. Empty: no "
        "traces are recorded. Needs the extra `tracing` (`docs/tracing.md`).",
    )
    service_name: str = Field(
        default="session-worker",
        min_length=1,
        max_length=200,
        validation_alias="OTEL_SERVICE_NAME",
        description="Name of the workers in traces.",
    )
    trace_sample: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of the requests without a `traceparent` of which a trace is recorded. For those "
        "with one, it says whether.",
    )
    trace_url: str = Field(
        default="",
        pattern=r"^(https?://\S*\{trace_id\}\S*)?$",
        description="Where a trace can be looked at, with `{trace_id}` in the place of its id: "
        "`https://grafana.example/explore/trace/{trace_id}`. Commands and console link a request to its "
        "trace with it.",
    )
    tls_ca_file: str = Field(
        default="",
        description="File with CA certificates for both servers, in place of the system's.",
    )
    tls_cert_file: str = Field(
        default="",
        description="File with the client certificate for both servers.",
    )
    tls_key_file: str = Field(
        default="",
        description="File with the key of that certificate.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Least severe event that is logged.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="`auto`: console on a terminal, JSON lines elsewhere.",
    )
    mode: Literal["production", "test"] = Field(
        default="production",
        description="`test` allows what only tests may do to a worker.",
    )
    fail_point: str = Field(
        default="",
        description="Test mode only: the point in a batch's way where the worker dies or freezes, as "
        "`GAP:kill`.",
    )

    @property
    def prefetch_in_effect(self) -> int:
        """The deliveries to hold. With fair shares they are many: so whoever is behind a flood is seen."""
        if self.fair_shares and not self.prefetch:
            return _READ_AHEAD
        return self.begun_soon

    @property
    def begun_soon(self) -> int:
        """As many deliveries as can be begun soon. More of them would wait, while another worker may be free:
        with a handler they go into the lines, where each worker finds them.
        """
        if self.prefetch:
            return self.prefetch
        if not self.handler:
            return _READ_AHEAD if self.fair_shares else _PREFETCH
        return max(_LEAST_PREFETCH, 2 * self.handler_concurrency)

    @property
    def sender(self) -> str | None:
        """The user of the broker that messages name who sends them; None where no worker goes by it."""
        if not self.org_of_user:
            return None
        return unquote(urlsplit(self.amqp_url.get_secret_value()).username or "guest")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Say where values come from: what the caller gives, secrets in files, the environment."""
        return init_settings, _SecretFiles(settings_cls), env_settings

    @model_validator(mode="after")
    def _no_fail_point_in_production(self) -> Self:
        if self.fail_point and self.mode == "production":
            raise PydanticCustomError("reason", "WORKER_FAIL_POINT is refused unless WORKER_MODE=test")
        return self

    @model_validator(mode="after")
    def _tls_is_not_taken_back(self) -> Self:
        """Refuse a URL that lets Postgres be spoken to in the clear where a file asks for TLS."""
        mode = parse_qs(urlsplit(self.database_url.get_secret_value()).query).get("sslmode", [""])[-1]
        files = {"TLS_CA_FILE": self.tls_ca_file, "TLS_CERT_FILE": self.tls_cert_file}
        asking = [f"{PREFIX}{name}" for name, path in files.items() if path]
        if asking and mode in _PERHAPS_IN_THE_CLEAR:
            raise PydanticCustomError(
                "reason",
                "DATABASE_URL: says sslmode={mode}, which may speak in the clear, while {file} asks for TLS: "
                "take sslmode out of the URL, or unset the file",
                {"mode": mode, "file": asking[0]},
            )
        return self

    @field_validator("database_url")
    @classmethod
    def _is_a_database_url(cls, url: SecretStr) -> SecretStr:
        """Check the URL before the driver does: its error would show a part of it, often of the password."""
        text = url.get_secret_value()
        if not text:
            raise PydanticCustomError("missing", "is not set")
        if not _is_database_url(text):
            raise PydanticCustomError(
                "reason",
                "is not postgresql://user:password@host:5432/name (in a password, write / as %2F, ? as %3F, "
                "# as %23, @ as %40, : as %3A, [ as %5B, ] as %5D)",
            )
        return url

    @field_validator("org_of_user")
    @classmethod
    def _has_users(cls, text: str) -> str:
        """Read the file that it names, if it does, and check what is in it."""
        try:
            if text.startswith("/"):
                text = Path(text).read_text("utf-8")
            if text:
                orgs_of_users(text)
        except (OSError, ValueError) as error:
            why = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise PydanticCustomError("reason", "{why}", {"why": why}) from None
        return text

    @field_validator("reply_to_pattern")
    @classmethod
    def _is_a_pattern(cls, text: str) -> str:
        try:
            re.compile(text)
        except re.error as error:
            why = f"is no regular expression: {error}"
            raise PydanticCustomError("reason", "{why}", {"why": why}) from None
        return text

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


def _is_database_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        return False
    hosts = parts.netloc.rpartition("@")[2].split(",")
    known = parts.scheme in ("postgresql", "postgres") and not parts.fragment
    return known and all(map(_HOST.fullmatch, hosts))


class _SecretFiles(PydanticBaseSettingsSource):
    """Gives the secrets whose files the environment names."""

    def __call__(self) -> dict[str, Any]:
        fields = {
            variable_name(field): field
            for field in secret_fields()
            if field not in self.current_state and variable_name(field) not in self.current_state
        }
        found = secrets_in_files(os.environ, fields)
        return {
            variable if fields[variable] in PLAIN_NAMES else fields[variable]: text
            for variable, text in found.items()
        }

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # the base class asks for it; all of them are given at once


def variable_name(field: str) -> str:
    return PLAIN_NAMES.get(field, PREFIX + field.upper())


def secret_fields() -> list[str]:
    """Return the settings that are secret: those of the type SecretStr. Each may be given in a file."""
    return [name for name, field in Settings.model_fields.items() if field.annotation is SecretStr]


def secret_variables() -> list[str]:
    """Return the variables of the secret settings."""
    return [variable_name(field) for field in secret_fields()]


def read_settings(**overrides: object) -> Settings:
    """The settings from the environment; a wrong one is named together with what is wrong with it."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # values are checked by the model
    except ValidationError as error:
        problems = []
        for detail in error.errors(include_input=False, include_url=False):
            if not detail["loc"]:
                problems.append(detail["msg"])
                continue
            name = str(detail["loc"][0])
            field = name if name.isupper() else variable_name(name)
            problems.append(f"{field}: {'is not set' if detail['type'] == 'missing' else detail['msg']}")
        raise SettingsError("\n".join(problems)) from None
