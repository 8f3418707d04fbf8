"""Looks at bindings and policies, which only the management API tells."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from worker.operations.doctor.checks.rabbitmq import designed
from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.rabbitmq import topology, trial
from worker.rabbitmq.management import QueueDetails
from worker.rabbitmq.topology import NEVER, Queue

_NEEDS = frozenset({Need.MANAGEMENT})
_VERSION_TOO = _NEEDS | {Need.BROKER}
_HAS_A_LIMIT_OF_ITS_OWN = (4,)  # RabbitMQ, where nobody sets one: 20
_FROM_POLICY = ("dead-letter-exchange", "dead-letter-strategy", "overflow")
_APPLY = "session-worker topology apply"


async def _bindings(site: Site) -> list[Finding]:
    design = designed(site)
    found = []
    for binding in (*design.bindings, *design.shard_bindings):
        keys = await site.management.keys_between(binding.exchange, binding.queue)
        if keys is not None and binding.key not in keys:
            what = (
                f"the queue {binding.queue!r} is not bound to the exchange {binding.exchange!r} with the key "
                f"{binding.key!r}: what is published there does not reach it"
            )
            found.append(Finding("bindings", Severity.ERROR, what, _APPLY))
    for binding in design.former_bindings:
        keys = await site.management.keys_between(binding.exchange, binding.queue)
        if keys and binding.key in keys:
            what = f"the queue {binding.queue!r} is bound with the key {binding.key!r}, as "
            if binding.key == topology.CANCEL_KEY:
                what += "an earlier version had it: cancellations wait behind the requests"
            else:
                what += "it is without shards: requests come twice, and the second ones cost work"
            found.append(Finding("bindings", Severity.WARNING, what, _APPLY))
    return found


async def _policies(site: Site) -> list[Finding]:
    from_policy = site.settings.queue_limits == "policy"
    needed = topology.design(
        site.settings.prefix, limits_from_policy=False, spread=site.settings.shards
    ).queues
    limited = trial.version_of(site.broker) >= _HAS_A_LIMIT_OF_ITS_OWN
    found = []
    for queue in needed:
        if has := await site.management.queue(queue.name):
            found += list(_taken_away(queue, has))
            if from_policy:
                found += list(_not_given(queue, has, gives_up=limited))
    return found


def _taken_away(queue: Queue, has: QueueDetails) -> Iterator[Finding]:
    """Tell what a policy takes from the queue, whatever the arguments say: of two limits the lower counts."""
    by = f"the policy {' and '.join(map(repr, has.policies))}"
    remedy = f"take it out of {by}: rabbitmqctl list_policies, list_operator_policies"
    policy, goes = has.policy, _goes(has)
    if "expires" in policy:
        yield _policy(
            Severity.ERROR, f"{by} deletes {queue.name!r}, and all in it, when it is not used for "
            f"{policy['expires'] / 1000:g} s", remedy,
        )  # fmt: skip
    if "message-ttl" in policy:
        seconds = policy["message-ttl"] / 1000
        what = f"{by} takes messages out of {queue.name!r} after {seconds:g} s: each {goes}"
        yield _policy(Severity.WARNING, what, remedy)
    limits = [f"{name} {policy[name]}" for name in ("max-length", "max-length-bytes") if name in policy]
    if limits and _effective(has, "overflow") != "reject-publish":
        what = f"{by} drops the oldest of {queue.name!r} beyond {' and '.join(limits)}: each {goes}"
        yield _policy(Severity.WARNING, what, f"{remedy}; or add overflow reject-publish to it")
    limit = policy.get("delivery-limit", NEVER)
    if 0 <= limit < NEVER:
        what = (
            f"{by} gives {queue.name!r} a delivery limit of {limit}: a message that is returned more often, "
            f"as each stop and each lost connection of a reader does, {goes}"
        )
        yield _policy(Severity.WARNING, what, remedy)


def _not_given(queue: Queue, has: QueueDetails, *, gives_up: bool) -> Iterator[Finding]:
    """Tell what the queue needs, and neither a policy nor an argument gives it."""
    remedy = "set the policies of docs/operating.md, “Limits by policy”"
    for name in _FROM_POLICY:
        needed, value = queue.arguments.get(f"x-{name}"), _effective(has, name)
        if needed is not None and value != needed:
            drops = name == "dead-letter-exchange"
            lost = "drops what it should dead-letter" if drops else "can lose messages"
            what = f"{queue.name!r} has {name} {value!r} and not {needed!r}: it {lost}"
            yield _policy(Severity.ERROR if drops else Severity.WARNING, what, remedy)
    if gives_up and _effective(has, "delivery-limit") is None:
        what = f"{queue.name!r} has no delivery limit, so after 20 returns, RabbitMQ's own, each {_goes(has)}"
        yield _policy(Severity.WARNING, what, remedy)


def _effective(has: QueueDetails, name: str) -> Any:  # noqa: ANN401 — a text or a number
    """Return what counts, where an argument goes before a policy."""
    arguments: Mapping[str, Any] = has.arguments
    return arguments.get(f"x-{name}", has.policy.get(name))


def _goes(has: QueueDetails) -> str:
    goes = _effective(has, "dead-letter-exchange")
    return f"goes to {goes!r}" if goes else "is lost"


_policy = partial(Finding, "policies")

CHECKS: tuple[Check, ...] = (
    Check(
        "bindings", Part.RABBITMQ, Severity.ERROR,
        "a queue that is not bound, or bound as an earlier version had it", _NEEDS, _bindings,
    ),
    Check(
        "policies", Part.RABBITMQ, Severity.ERROR,
        "a policy that overrules the limits of a queue, or lacks what the queue needs",
        _VERSION_TOO, _policies,
    ),
)  # fmt: skip
