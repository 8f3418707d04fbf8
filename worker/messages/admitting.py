"""Refuses what a sender may not do: to act for another one's organisation, or to have answers go astray.

What is refused here is not recorded, and its answer says nothing of what is on record.
"""

from schemas import FailureCode
from worker.messages.refusing import invalid_property
from worker.values import Arrival, Cancellation, Read, Refusal, Unreadable, Unrecorded
from worker.whose import OrgsOfUsers

NOT_ALLOWED = Refusal(
    code=FailureCode.NOT_ALLOWED,
    reason="the user of the broker who sent this may not act for the organisation of this request, or not "
    "under this request id",
)
"""The one answer for all of these, whether there is such a request or not."""
_NO_SENDER = Refusal(
    code=FailureCode.NOT_ALLOWED,
    reason="the message does not say who sent it: set its property user_id to the name of your user of the "
    "broker, which RabbitMQ then checks",
)


def without_way_back(read: Read, why: str) -> Read:
    """Refuse a message whose `reply_to` may not be answered at: the answer goes to the response queue. No
    request is said to have failed there over a cancellation: that becomes a dead letter, as each that names
    no queue.
    """
    match read:
        case Arrival() | Unrecorded():
            return Unrecorded(read.request_id, invalid_property("reply_to", why), read.route)
        case Cancellation():
            return Unreadable(f"nothing was cancelled: {why}")
        case Unreadable():
            return read


def of_its_sender(read: Read, sender: str | None, orgs: OrgsOfUsers) -> Read:
    """Refuse a message whose sender may not act for its organisation. What a cancellation is about is known
    from the record alone: it takes its sender along. A content that is refused is not recorded: it would
    occupy an id in the name of nobody.
    """
    if isinstance(read, Unreadable):
        return read
    if sender is None:
        return _refused(read, _NO_SENDER)
    match read:
        case Cancellation():
            return read._replace(sender=sender)
        case Unrecorded():
            return read
        case Arrival(org_id=None, refusal=Refusal() as refusal):
            return Unrecorded(read.request_id, refusal, read.route)
        case Arrival():
            return read if orgs.may_act(sender, read.org_id) else _refused(read, NOT_ALLOWED)


def _refused(read: Arrival | Cancellation | Unrecorded, refusal: Refusal) -> Read:
    if isinstance(read, Cancellation):
        return read._replace(invalid=refusal)
    return Unrecorded(read.request_id, refusal, read.route)
