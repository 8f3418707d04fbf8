"""Tells that something is not there which other checks need: these cannot be done then."""

from functools import partial

from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import word

_VARIABLES = {Need.POSTGRES: "DATABASE_URL", Need.BROKER: "AMQP_URL"}


async def _away(check: str, server: Need, site: Site) -> list[Finding]:
    if server not in site.lacking:
        return []
    return [
        Finding(
            check,
            Severity.ERROR,
            f"{server} cannot be reached: {site.lacking[server]}",
            f"start it, or mend {_VARIABLES[server]}; workers go on by themselves once it answers, and "
            "no attempt is spent meanwhile",
        )
    ]


async def _tables(site: Site) -> list[Finding]:
    if Need.TABLES not in site.lacking:
        return []
    remedy = f"WORKER_PREFIX={word(site.settings.prefix)} session-worker migrate"
    return [Finding("pg-tables", Severity.ERROR, site.lacking[Need.TABLES], remedy)]


def _check(name: str, part: Part, server: Need) -> Check:
    return Check(
        name, part, Severity.ERROR, f"{server} cannot be reached", frozenset(), partial(_away, name, server)
    )


AWAY = {
    Need.POSTGRES: _check("pg-away", Part.POSTGRES, Need.POSTGRES),
    Need.TABLES: Check(
        "pg-tables",
        Part.POSTGRES,
        Severity.ERROR,
        "tables that are missing, lack migrations, or are those of another prefix",
        frozenset({Need.POSTGRES}),
        _tables,
    ),
    Need.BROKER: _check("broker-away", Part.RABBITMQ, Need.BROKER),
}
