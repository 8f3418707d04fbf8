"""The errors that a call of the client can end with."""

from uuid import UUID

from schemas import CreateSessionResponse, FailureCode


class ClientError(Exception):
    """Base of every error that the client raises on purpose."""


class SessionFailed(ClientError):
    """The response says that there is no session: `code` says why for programs, `reason` for people."""

    def __init__(self, response: CreateSessionResponse) -> None:
        code = response.metadata.get("code")
        self.response = response
        self.request_id = response.request_id
        # A worker newer than this client may know more codes.
        self.code = FailureCode(code) if code in set(FailureCode) else str(code)
        self.reason = response.error or ""
        self.errors: list[dict[str, str]] = response.metadata.get("errors") or []
        fields = "".join(f"; {error.get('field')} {error.get('reason')}" for error in self.errors)
        super().__init__(f"request {self.request_id} failed ({self.code}): {self.reason}{fields}")


class NotAllowed(SessionFailed):
    """The user of the broker who sent this may not act for that organisation, or has no such request."""


class RequestTimedOut(ClientError):
    """No response came in time. It is not known whether there is a session."""

    def __init__(
        self, request_id: UUID, seconds: float, connection: str = "", *, cancelling: bool = False
    ) -> None:
        self.request_id = request_id
        if cancelling:
            what, remedy = "the cancellation of request", "Cancel it again: to do so twice is safe"
        else:
            what, remedy = (
                "request",
                "It is safe to ask again with this request_id: there is never more than one session for it",
            )
        super().__init__(f"no response to {what} {request_id} within {seconds:g} s{connection}. {remedy}")


class RequestUnroutable(ClientError):
    """The broker has nowhere to put a request: nothing was sent."""

    def __init__(self, exchange: str) -> None:
        super().__init__(
            f"the broker has no queue for requests behind the exchange {exchange!r}: "
            "run `session-worker topology apply`, or check the prefix"
        )


class RequestInFlight(ClientError):
    """This client waits for a request with the same id and other content: nothing was sent."""

    def __init__(self, request_id: UUID) -> None:
        self.request_id = request_id
        super().__init__(f"request {request_id} is in flight with other content: one id, one request")


class ResponseUnreadable(ClientError):
    """The message that came back is no response of this contract."""


class BrokerUnreachable(ClientError):
    """There was no connection to the broker within the time to connect, or it refuses this user."""


class QueueMissing(ClientError):
    """The queue to subscribe to is not there."""

    def __init__(self, name: str) -> None:
        remedy = "check its name, or run `session-worker topology apply`"
        super().__init__(f"the queue {name!r} is missing: {remedy}")


class EventsOff(ClientError):
    """There is no exchange of events: nothing can be watched."""

    def __init__(self, exchange: str) -> None:
        super().__init__(
            f"there is no exchange {exchange!r}: the workers of this prefix tell no events (WORKER_EVENTS), "
            "or the prefix is another"
        )


class EventsMissed(ClientError):
    """The connection was away for so long that events may have been missed, the last one too."""

    def __init__(self, request_id: UUID) -> None:
        self.request_id = request_id
        super().__init__(
            f"the connection to RabbitMQ was away, and events of request {request_id} may have been missed: "
            "to ask again with its id brings its response"
        )


class ClientClosed(ClientError):
    """The client was closed while this call was waiting."""
