"""The states of a request."""

from enum import StrEnum


class RequestStatus(StrEnum):
    """Status of a request."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
