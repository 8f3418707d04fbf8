"""The states of a request and the stable codes of its failures."""

from enum import StrEnum


class RequestStatus(StrEnum):
    """Status of a request."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


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
