"""Looks at the settings: those that the live workers have on record, else those of this environment."""

from collections import Counter
from functools import partial
from urllib.parse import parse_qs, unquote, urlsplit

from worker.operations.doctor.checks.workers import live_profiles
from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import some, span
from worker.rabbitmq.connection import split_hosts
from worker.settings import variable_name

_OUTAGE_SECONDS = 300.0  # an ordinary outage of what a handler calls
_PUBLISHED = ("local-only", "guest", "postgres", "password")  # in this project, and in many others
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 — these are looked for
_HERE = "in the settings of this environment"
_RETRYING = ("max_attempts", "retry_seconds", "retry_base_seconds", "retry_cap_seconds")


async def _attempts(site: Site) -> list[Finding]:
    """Find what gives a request up after so short a time that an ordinary outage fails it for good."""
    found: dict[tuple[float, ...], str] = {}
    for place, profile in await live_profiles(site):
        if all(name in profile.settings for name in _RETRYING):
            found.setdefault(tuple(float(profile.settings[name]) for name in _RETRYING), f"of {place}")
    if not found:
        found = {tuple(float(getattr(site.settings, name)) for name in _RETRYING): _HERE}
    return [
        Finding(
            "attempts-too-few", Severity.WARNING,
            f"WORKER_MAX_ATTEMPTS {attempts:g} and WORKER_RETRY_SECONDS {least:g} {where} give a request up "
            f"after about {span(tried_for(int(attempts), least, base, cap))} of errors: a short outage of "
            "what the handler calls fails it for good",
            "WORKER_RETRY_SECONDS=7200",
        )
        for (attempts, least, base, cap), where in found.items()
        if tried_for(int(attempts), least, base, cap) < _OUTAGE_SECONDS
    ]  # fmt: skip


def tried_for(attempts: int, least: float, base: float, cap: float) -> float:
    """Return for how long a request is tried that fails each time; a delay is half of the longest, mostly."""
    delays = sum(min(cap, base * 2.0 ** min(attempt, 62)) / 2 for attempt in range(attempts - 1))
    return max(least, delays)


async def _http_open(site: Site) -> list[Finding]:
    host = site.settings.http_host
    if host not in _EVERYWHERE:
        return []
    what = (
        f"WORKER_HTTP_HOST is {host!r} {_HERE}: whoever reaches this machine may read health and metrics, "
        "which are plain HTTP"
    )
    remedy = "WORKER_HTTP_HOST=127.0.0.1, unless probes come from outside and nobody else gets to that port"
    return [Finding("http-open", Severity.NOTE, what, remedy)]


async def _default_password(site: Site) -> list[Finding]:
    settings, found = site.settings, []
    for name in ("amqp_url", "database_url"):
        password = unquote(urlsplit(getattr(settings, name).get_secret_value()).password or "")
        if password in _PUBLISHED:
            what = f"the password in {variable_name(name)} {_HERE} is one that everybody knows"
            remedy = "change it at the server, and then in the setting: openssl rand -base64 24"
            found.append(Finding("default-password", Severity.WARNING, what, remedy))
    return found


async def _in_the_clear(site: Site) -> list[Finding]:
    """Find a server on another machine that is spoken to in the clear, or that nobody verifies."""
    settings, found = site.settings, []
    amqp = settings.amqp_url.get_secret_value()
    hosts = [str(url.host) for url in split_hosts(amqp)]
    if amqp.startswith("amqp:") and (far := [host for host in hosts if host not in _THIS_MACHINE]):
        what = f"RabbitMQ at {some(far)} is spoken to in the clear {_HERE}"
        found.append(Finding("in-the-clear", Severity.NOTE, what, "amqps:// in AMQP_URL"))
    parts = urlsplit(settings.database_url.get_secret_value())
    mode = parse_qs(parts.query).get("sslmode", ["prefer"])[-1]
    hosts = [urlsplit(f"//{host}").hostname or "" for host in parts.netloc.rpartition("@")[2].split(",")]
    far = [host for host in hosts if host and host not in _THIS_MACHINE]
    if far and mode != "verify-full" and not (settings.tls_ca_file or settings.tls_cert_file):
        what = f"whoever answers for Postgres at {some(far)} is not verified (sslmode {mode}) {_HERE}"
        remedy = "sslmode=verify-full in DATABASE_URL, with sslrootcert, or WORKER_TLS_CA_FILE"
        found.append(Finding("in-the-clear", Severity.NOTE, what, remedy))
    return found


async def _debug(site: Site) -> list[Finding]:
    found = []
    if site.settings.mode == "test":
        what = f"WORKER_MODE is 'test' {_HERE}, which allows what only tests may do to a worker"
        found.append(Finding("debug", Severity.WARNING, what, "unset WORKER_MODE"))
    if site.settings.log_level == "debug":
        what = f"WORKER_LOG_LEVEL is 'debug' {_HERE}: some lines for each request"
        found.append(Finding("debug", Severity.NOTE, what, "WORKER_LOG_LEVEL=info"))
    return found


async def _sender(site: Site) -> list[Finding]:
    """Find that what is sent from here says nothing of its sender, and the workers want to know."""
    if site.settings.org_of_user:
        return []
    asking = [place for place, profile in await live_profiles(site) if profile.settings.get("org_of_user")]
    if not asking:
        return []
    what = (
        f"{some(asking)}: the worker goes by WORKER_ORG_OF_USER, which is not set {_HERE}: cancels, retries "
        "and requests that are sent from here do not say who sends them, and are answered not_allowed"
    )
    remedy = "set WORKER_ORG_OF_USER here as for the workers"
    return [Finding("sender-unsaid", Severity.WARNING, what, remedy)]


async def _metrics_port(site: Site) -> list[Finding]:
    note, port = partial(Finding, "metrics-port", Severity.NOTE), site.settings.http_port
    if port == 0:
        what = f"WORKER_HTTP_PORT is 0 {_HERE}: any free port, which nobody can ask for metrics"
        return [note(what, "WORKER_HTTP_PORT=8080")]
    by_host = Counter(place.rpartition(":")[0] for place, _ in await live_profiles(site))
    return [
        note(
            f"{number} workers live on {host}, and each has metrics of its own: with --processes and "
            f"WORKER_HTTP_PORT {port} at the ports {port} to {port + number - 1}",
            "have Prometheus ask each of these ports",
        )
        for host, number in by_host.items()
        if number > 1
    ]


async def _log_format(site: Site) -> list[Finding]:
    if site.settings.log_format != "console":
        return []
    what = f"WORKER_LOG_FORMAT is 'console' {_HERE}: lines for people, which no program reads well"
    remedy = "WORKER_LOG_FORMAT=auto: JSON where there is no terminal"
    return [Finding("log-format", Severity.NOTE, what, remedy)]


_TABLES, _BOTH_URLS = frozenset({Need.TABLES}), frozenset({Need.POSTGRES, Need.BROKER})

CHECKS: tuple[Check, ...] = (
    Check(
        "attempts-too-few", Part.SETTINGS, Severity.WARNING,
        "requests that are given up before a short outage is over", _TABLES, _attempts,
    ),
    Check(
        "default-password", Part.SETTINGS, Severity.WARNING,
        "a password in a URL that everybody knows", _BOTH_URLS, _default_password,
    ),
    Check(
        "in-the-clear", Part.SETTINGS, Severity.NOTE,
        "a server on another machine that is spoken to in the clear, or not verified",
        _BOTH_URLS, _in_the_clear,
    ),
    Check(
        "debug", Part.SETTINGS, Severity.WARNING, "test mode, or logs of each step", frozenset(), _debug,
    ),
    Check(
        "sender-unsaid", Part.SETTINGS, Severity.WARNING,
        "an environment whose messages do not name their sender, where workers go by it", _TABLES, _sender,
    ),
    Check(
        "http-open", Part.SETTINGS, Severity.NOTE,
        "health and metrics at all addresses of a machine", frozenset(), _http_open,
    ),
    Check(
        "metrics-port", Part.SETTINGS, Severity.NOTE,
        "metrics at a port that nobody knows, or at several", _TABLES, _metrics_port,
    ),
    Check(
        "log-format", Part.SETTINGS, Severity.NOTE, "logs that are no JSON", frozenset(), _log_format,
    ),
)  # fmt: skip
