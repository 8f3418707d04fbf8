"""Looks at the broker: what it has of the topology, whether it takes messages, and what our user may do."""

from functools import partial
from urllib.parse import urlsplit

from worker.errors import TopologyError
from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import count, size, some, word
from worker.rabbitmq import topology, trial
from worker.rabbitmq.connection import vhost_of
from worker.rabbitmq.management import Node

_NEEDS = frozenset({Need.BROKER})
_OLDEST = (3, 10)  # at-least-once dead-lettering of quorum queues began with it
_CONFIRM_SECONDS = 4
_APPLY = "session-worker topology apply"


def designed(site: Site) -> topology.Topology:
    """Return what has to be there."""
    settings = site.settings
    from_policy = settings.queue_limits == "policy"
    return topology.design(
        settings.prefix, limits_from_policy=from_policy, events=settings.events, spread=settings.shards
    )


async def _topology(site: Site) -> list[Finding]:
    """Compare what is declared; what our user may not ask for is told by `broker-rights`."""
    found, missing = [], []
    for thing in designed(site).declared:
        try:
            await topology.declared_as_designed(site.broker, thing)
        except TopologyError as error:
            what, _, remedy = str(error).partition(". Remedy: ")
            if remedy:
                found.append(Finding("topology", Severity.ERROR, what, remedy))
            else:
                missing.append(what.partition(" is missing")[0])
        except topology.REFUSED:
            continue
    if missing:
        number = count(len(missing), "exchange or queue is", "exchanges and queues are")
        what = f"{number} missing: {some(missing)}"
        found.append(Finding("topology", Severity.ERROR, what, _APPLY))
    return found


async def _delivery_limit(site: Site) -> list[Finding]:
    found = []
    for queue in designed(site).queues:
        try:
            notes = await topology.declared_as_designed(site.broker, queue)
        except (TopologyError, *topology.REFUSED):
            continue  # told by the others
        for note in notes:
            what = note.partition(". It is served")[0]
            found.append(
                Finding(
                    "delivery-limit", Severity.WARNING, what,
                    f"delete it at leisure, once it is empty and no producer writes to it, then {_APPLY} "
                    "(docs/operating.md, “Renewing a queue”)",
                )
            )  # fmt: skip
    return found


async def _version(site: Site) -> list[Finding]:
    has = trial.version_of(site.broker)
    if not has or has >= _OLDEST:
        return []
    shown, oldest = (".".join(map(str, version)) for version in (has, _OLDEST))
    what = f"RabbitMQ is {shown}; quorum queues that lose nothing they dead-letter need {oldest} or newer"
    return [Finding("broker-version", Severity.ERROR, what, f"upgrade RabbitMQ to {oldest} or newer")]


async def _rights(site: Site) -> list[Finding]:
    refused = []
    async with site.broker_apart() as connection:
        try:
            await trial.publish(connection, _CONFIRM_SECONDS)
        except topology.REFUSED as error:
            refused.append(trial.in_words(error))
        except TimeoutError:
            pass  # that is `broker-alarm`
    wanted = designed(site)
    others = await trial.refusals(site.broker, wanted)
    if not refused and not others:
        return []
    url = site.settings.amqp_url.get_secret_value()
    user, vhost = urlsplit(url).username or "guest", vhost_of(url)
    remedy = f"session-worker access rabbitmq --role worker --user {word(user)}"
    if site.settings.prefix != "sessions":
        remedy += f" --prefix {site.settings.prefix}"
    if vhost != "/":
        remedy += f" --vhost {word(vhost)}"
    remedy += " | rabbitmqctl import_definitions"
    if not refused and len(others) >= len(wanted.declared):  # it may declare none of them, and may send
        what = f"the user {user!r} has the rights of a console at most: no worker can be it"
        return [Finding("broker-rights", Severity.NOTE, what, f"none, if no worker is to; else: {remedy}")]
    what = f"the user {user!r} may not do what a worker does: {some(refused + others)}"
    return [Finding("broker-rights", Severity.ERROR, what, remedy)]


async def _alarm(site: Site) -> list[Finding]:
    """Ask the nodes, where they can be asked; else try whether a publish is confirmed."""
    if site.opened_management is not None:
        found = [each for node in await site.management.nodes() for each in _of_node(node)]
        if found:
            return found
    async with site.broker_apart() as connection:
        try:
            await trial.publish(connection, _CONFIRM_SECONDS)
        except TimeoutError:
            what = (
                f"RabbitMQ takes no messages: one was not confirmed within {_CONFIRM_SECONDS} s. It is short "
                "of memory or disk (an alarm), or has lost most of its nodes"
            )
            return [Finding("broker-alarm", Severity.ERROR, what, "rabbitmq-diagnostics alarms")]
        except topology.REFUSED:
            pass  # that is `broker-rights`
    return []


def _of_node(node: Node) -> list[Finding]:
    alarm = partial(Finding, "broker-alarm", Severity.ERROR)
    found = []
    if node.memory_alarm:
        found.append(
            alarm(
                f"{node.name} takes no messages: it uses {size(node.memory)} of memory, and its limit is "
                f"{size(node.memory_limit)}",
                "let the queues be read, or raise vm_memory_high_watermark: rabbitmqctl "
                "set_vm_memory_high_watermark 0.6",
            )
        )
    if node.disk_alarm:
        found.append(
            alarm(
                f"{node.name} takes no messages: {size(node.disk_free)} are free on its disk, and its limit "
                f"is {size(node.disk_limit)}",
                "make room on its disk, or let the queues be read",
            )
        )
    return found


CHECKS: tuple[Check, ...] = (
    Check(
        "topology", Part.RABBITMQ, Severity.ERROR,
        "an exchange or a queue that is missing, or is not as a worker needs it", _NEEDS, _topology,
    ),
    Check(
        "delivery-limit", Part.RABBITMQ, Severity.WARNING,
        "a queue that gives a message up after some returns", _NEEDS, _delivery_limit,
    ),
    Check(
        "broker-alarm", Part.RABBITMQ, Severity.ERROR,
        "RabbitMQ takes no messages: short of memory or disk", _NEEDS, _alarm,
    ),
    Check("broker-version", Part.RABBITMQ, Severity.ERROR, "RabbitMQ is too old", _NEEDS, _version),
    Check(
        "broker-rights", Part.RABBITMQ, Severity.ERROR,
        "what the user of `AMQP_URL` may not do of what a worker does", _NEEDS, _rights,
    ),
)  # fmt: skip
