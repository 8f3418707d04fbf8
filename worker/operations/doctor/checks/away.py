"""Tells that a server is away. The checks that need it cannot be done then."""

from functools import partial

from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site

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


def _check(name: str, part: Part, server: Need) -> Check:
    return Check(
        name, part, Severity.ERROR, f"{server} cannot be reached", frozenset(), partial(_away, name, server)
    )


AWAY = {
    Need.POSTGRES: _check("pg-away", Part.POSTGRES, Need.POSTGRES),
    Need.BROKER: _check("broker-away", Part.RABBITMQ, Need.BROKER),
}
