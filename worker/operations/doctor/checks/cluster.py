"""Looks at the members of the queues, and at the nodes they are on."""

from functools import partial

from worker.operations.doctor.checks.rabbitmq import designed
from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.rabbitmq.management import QueueDetails

_NEEDS = frozenset({Need.MANAGEMENT})
_ENOUGH = 3  # members; more of them make a queue slower and hardly safer


async def _quorum(site: Site) -> list[Finding]:
    all_nodes = await site.management.nodes()
    nodes = {node.name for node in all_nodes}
    running = {node.name for node in all_nodes if node.runs}
    found = partial(Finding, "broker-quorum")
    findings = []
    for queue in await _queues(site):
        members, online = set(queue.members), running.intersection(queue.online)
        away = ", ".join(sorted(members - online))
        has = f"{queue.name!r}: {len(online)} of its {len(members)} members are online"
        if members and 2 * len(online) <= len(members):
            what = f"{has}, which is no majority: it takes and gives nothing. Away: {away}"
            findings.append(found(Severity.ERROR, what, f"start the nodes {away}"))
        elif away:
            more = len(online) - len(members) // 2
            what = f"{has}; without {more} more of them it stands still. Away: {away}"
            findings.append(found(Severity.WARNING, what, f"start the nodes {away}"))
        elif members and len(members) < min(_ENOUGH, len(nodes)):
            lacking = sorted(nodes - members)
            what = f"{queue.name!r} has members on {len(members)} of {len(nodes)} nodes: it is lost with them"
            remedy = "; ".join(f"rabbitmq-queues grow {node} all" for node in lacking)
            findings.append(found(Severity.WARNING, what, remedy))
    return findings


async def _leader(site: Site) -> list[Finding]:
    queues = await _queues(site)
    leaders = {queue.leader for queue in queues}
    others = {node.name for node in await site.management.nodes() if node.runs} - leaders
    if not others or len(leaders) != 1:
        return []
    what = (
        f"the leaders of all {len(queues)} queues are on {leaders.pop()}, one of {len(others) + 1} nodes: it "
        "does all the work"
    )
    return [Finding("broker-leader", Severity.NOTE, what, "rabbitmq-queues rebalance quorum")]


async def _queues(site: Site) -> list[QueueDetails]:
    found = [await site.management.queue(queue.name) for queue in designed(site).queues]
    return [queue for queue in found if queue is not None]


CHECKS: tuple[Check, ...] = (
    Check(
        "broker-quorum", Part.RABBITMQ, Severity.ERROR,
        "a queue that has lost most of its members, or some, or has too few", _NEEDS, _quorum,
    ),
    Check(
        "broker-leader", Part.RABBITMQ, Severity.NOTE,
        "a cluster in which one node leads all queues", _NEEDS, _leader,
    ),
)  # fmt: skip
