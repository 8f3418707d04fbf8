"""The codes of failures, what each means and what the requester can do about it; the documents repeat it."""

from enum import StrEnum
from typing import Final, NamedTuple


class FailureCode(StrEnum):
    """Why a request failed, for programs: it stands in `metadata.code` of the response."""

    INVALID_REQUEST = "invalid_request"
    REQUEST_ID_CONFLICT = "request_id_conflict"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    REJECTED = "rejected"
    SECRETS_REFUSED = "secrets_refused"
    TOO_LARGE = "too_large"
    CANCELLED = "cancelled"
    NOT_ALLOWED = "not_allowed"


class Explanation(NamedTuple):
    """A failure code, for people."""

    meaning: str
    remedy: str


FAILURES: Final = {
    FailureCode.INVALID_REQUEST: Explanation(
        "The request does not follow the contract; `metadata.errors` lists fields and reasons, "
        "never the values that were sent.",
        "Correct it and send it with a new request id; where `metadata.recorded` is false, with the "
        "same one.",
    ),
    FailureCode.REQUEST_ID_CONFLICT: Explanation(
        "Another request with this id and other content was accepted before; that one is untouched.",
        "Use a new id for new content. To ask for the first one again, send it as it was.",
    ),
    FailureCode.DEADLINE_EXCEEDED: Explanation(
        "The deadline passed before the session was created.",
        "If the session is still wanted, ask with a new id and a later deadline: the same id repeats this "
        "failure.",
    ),
    FailureCode.ATTEMPTS_EXHAUSTED: Explanation(
        "Every attempt that is allowed has failed, or each process that read the message died over it.",
        "Tell the operators: something was broken for long. Once it is mended, ask with a new id.",
    ),
    FailureCode.REJECTED: Explanation(
        "The creation of sessions refused the request; `error` says why.",
        "Change what `error` names and ask with a new id; unchanged it will be refused again.",
    ),
    FailureCode.SECRETS_REFUSED: Explanation(
        "The request carries credentials, and the worker has no key to seal them with.",
        "Leave the credentials out, or have the operators set WORKER_SEAL_KEYS; then ask with a new id.",
    ),
    FailureCode.TOO_LARGE: Explanation(
        "The body is larger than the worker takes.",
        "Send less, with a new id; or have the operators raise WORKER_MAX_BODY_BYTES.",
    ),
    FailureCode.CANCELLED: Explanation(
        "The request was cancelled before it was finished.",
        "Nothing, if that was wanted; else ask with a new id.",
    ),
    FailureCode.NOT_ALLOWED: Explanation(
        "Who sent the message may not act for the organisation of this request, or did not say who that is. "
        "Nothing was done; there may be such a request, or none.",
        "Ask for your own organisation, with your user of the broker in the property `user_id`; or have the "
        "operators extend WORKER_ORG_OF_USER.",
    ),
}
