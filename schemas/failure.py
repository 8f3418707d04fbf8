"""What each failure code means, and what whoever asked can do about it; the documents repeat it."""

from typing import Final, NamedTuple

from schemas.status import FailureCode


class Failure(NamedTuple):
    meaning: str
    remedy: str


FAILURES: Final = {
    FailureCode.INVALID_REQUEST: Failure(
        "The request does not follow the contract; `metadata.errors` lists fields and reasons, "
        "never the values that were sent.",
        "Correct it and send it with a new request id; where `metadata.recorded` is false, with the "
        "same one.",
    ),
    FailureCode.REQUEST_ID_CONFLICT: Failure(
        "Another request with this id and other content was accepted before; that one is untouched.",
        "Use a new id for new content. To ask for the first one again, send it as it was.",
    ),
    FailureCode.DEADLINE_EXCEEDED: Failure(
        "The deadline passed before the session was created.",
        "If the session is still wanted, ask with a new id and a later deadline: the same id repeats this "
        "failure.",
    ),
    FailureCode.ATTEMPTS_EXHAUSTED: Failure(
        "Every attempt that is allowed has failed, or each process that read the message died over it.",
        "Tell the operators: something was broken for long. Once it is mended, ask with a new id.",
    ),
    FailureCode.REJECTED: Failure(
        "The creation of sessions refused the request; `error` says why.",
        "Change what `error` names and ask with a new id; unchanged it will be refused again.",
    ),
    FailureCode.SECRETS_REFUSED: Failure(
        "The request carries credentials, and the worker has no key to seal them with.",
        "Leave the credentials out, or have the operators set WORKER_SEAL_KEYS; then ask with a new id.",
    ),
    FailureCode.TOO_LARGE: Failure(
        "The body is larger than the worker takes.",
        "Send less, with a new id; or have the operators raise WORKER_MAX_BODY_BYTES.",
    ),
    FailureCode.CANCELLED: Failure(
        "The request was cancelled before it was finished.",
        "Nothing, if that was wanted; else ask with a new id.",
    ),
}
