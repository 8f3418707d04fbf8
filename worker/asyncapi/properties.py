"""Describes the AMQP properties and headers of each kind of message, as JSON Schemas."""

from typing import Any

from schemas.wire import APP_ID, CONTENT_TYPE, EVENT_TYPE, LONGEST_TEXT, RESPONSE_TYPE

Schema = dict[str, Any]


def _text(description: str, **more: object) -> Schema:
    return {"type": "string", "description": description, **more}


def _object(properties: dict[str, Schema], *required: str) -> Schema:
    made: Schema = {"type": "object", "properties": properties}
    return made | {"required": list(required)} if required else made


def _moment(description: str) -> Schema:
    return {
        "description": f"{description} ISO 8601, or milliseconds since 1970 as a number or its digits.",
        "oneOf": [{"type": "string"}, {"type": "number"}],
    }


_TRACEPARENT = _text("W3C trace context; passed on from a request to its response.", maxLength=LONGEST_TEXT)
_PERSISTENT: Schema = {
    "type": "integer",
    "const": 2,
    "description": "Persistent: the message outlives the broker.",
}


def of_request(message_type: str) -> Schema:
    """Describes what a producer sets: nothing is required, but without `reply_to` no response is private."""
    return _object(
        {
            "type": _text(f"`{message_type}`, to tell versions and kinds apart.", const=message_type),
            "content_type": _text(
                f"`{CONTENT_TYPE}`; a body that is JSON is read whatever this says.", default=CONTENT_TYPE
            ),
            "content_encoding": _text("Absent, `identity`, `utf-8` or its like: the body is plain UTF-8."),
            "delivery_mode": {
                "type": "integer",
                "enum": [1, 2],
                "description": "2, persistent: a request that is not may be lost with the broker.",
            },
            "correlation_id": _text(
                "Comes back on the response; the request id when absent. If it is a UUID, it also stands in "
                "for a request id that cannot be found in the body.",
                maxLength=LONGEST_TEXT,
            ),
            "reply_to": _text(
                "A queue of the sender's: the response goes there through the default exchange, and only "
                "there. With one of the worker's own queues the answer is `invalid_request`, in the channel "
                "`responses`.",
                maxLength=LONGEST_TEXT,
            ),
            "user_id": _text(
                "The broker's user who publishes it, which RabbitMQ checks. Needed where workers go by it: "
                "without it, or for another one's organisation, the answer is `not_allowed`."
            ),
            "message_id": _text("The producer's own; distinct for each copy in flight on a channel."),
            "timestamp": {
                "type": "integer",
                "description": "When it was sent, in seconds since 1970; `expiration` counts from it.",
            },
            "expiration": _text(
                "Milliseconds; a deadline too, and the earlier of both holds.", pattern="^[0-9]+$"
            ),
            "app_id": _text("The producer's name."),
        }
    )


def headers_of_request() -> Schema:
    return _object(
        {
            "deadline": _moment("After it no session is created and the answer is `deadline_exceeded`."),
            "not_before": _moment(
                "No worker begins the request earlier. In the past, it is as if absent; more than 366 days "
                "ahead, or not earlier than the deadline, the answer is `invalid_request`."
            ),
            "traceparent": _TRACEPARENT,
        }
    )


def of_cancel(message_type: str) -> Schema:
    """Describes the same without the properties of a deadline: a cancel request has none."""
    made = of_request(message_type)
    del made["properties"]["expiration"], made["properties"]["timestamp"]
    return made


def headers_of_cancel() -> Schema:
    return _object({"traceparent": _TRACEPARENT})


def of_response() -> Schema:
    return _object(
        {
            "type": _text(f"`{RESPONSE_TYPE}`.", const=RESPONSE_TYPE),
            "content_type": _text(f"`{CONTENT_TYPE}`.", const=CONTENT_TYPE),
            "delivery_mode": _PERSISTENT,
            "correlation_id": _text("That of the request, or else its request id.", maxLength=LONGEST_TEXT),
            "message_id": _text("One for each response, however often it is sent: drop repeats by it."),
            "timestamp": {"type": "integer", "description": "When it was published, in seconds since 1970."},
            "app_id": _text(f"`{APP_ID}`.", const=APP_ID),
        },
        *("type", "content_type", "delivery_mode", "correlation_id", "message_id", "timestamp", "app_id"),
    )


def headers_of_response() -> Schema:
    return _object({"traceparent": _TRACEPARENT})


def of_event() -> Schema:
    return _object(
        {
            "type": _text(f"`{EVENT_TYPE}`.", const=EVENT_TYPE),
            "content_type": _text(f"`{CONTENT_TYPE}`.", const=CONTENT_TYPE),
            "delivery_mode": _PERSISTENT,
            "correlation_id": _text("The request id."),
            "message_id": _text("One for each event, however often it is sent: drop repeats by it."),
            "timestamp": {"type": "integer", "description": "When it was recorded, in seconds since 1970."},
            "app_id": _text(f"`{APP_ID}`.", const=APP_ID),
        },
        *("type", "content_type", "delivery_mode", "correlation_id", "message_id", "timestamp", "app_id"),
    )


def of_dead_letter() -> Schema:
    return _object(
        {
            "message_id": _text("A new one."),
            "correlation_id": _text("That of the message, if it had one.", maxLength=LONGEST_TEXT),
            "content_type": _text("That of the message, if it had one."),
            "content_encoding": _text("That of the message, if it had one."),
            "type": _text("That of the message, if it had one."),
            "delivery_mode": _PERSISTENT,
            "reply_to": _text("That of the message, if it had one.", maxLength=LONGEST_TEXT),
            "timestamp": {
                "type": "integer",
                "description": "That of the message, or else when it was set aside; in seconds since 1970.",
            },
            "app_id": _text(f"`{APP_ID}`.", const=APP_ID),
        },
        *("message_id", "delivery_mode", "timestamp", "app_id"),
    )


def headers_of_dead_letter() -> Schema:
    """Describes the headers that a worker sets; the producer's own and the broker's, as `x-death`, stay."""
    return _object(
        {
            "x-reason": _text("A sentence: why nobody could be answered. Nothing of the body."),
            "x-code": _text("`unreadable`.", const="unreadable"),
            "x-failed-at": _text("When, ISO 8601.", format="date-time"),
            "x-worker": _text("Host and process that set it aside."),
            "x-version": _text("The version of that worker."),
            "x-original-message-id": _text("The message id it came with; empty if it had none."),
            "x-original-app-id": _text("The app id it came with; empty if it had none."),
            "x-original-user-id": _text("The broker's user who published it, if the message named one."),
            "x-original-exchange": _text("The exchange it was published to."),
            "x-original-routing-key": _text("The routing key it was published with."),
        },
        *("x-reason", "x-code", "x-failed-at", "x-worker", "x-version", "x-original-message-id"),
    )


def headers_of_undelivered() -> Schema:
    """Describes the headers that the broker sets on what it gives up: a response, or a message that no worker
    could answer after that.
    """
    return _object(
        {
            "x-first-death-reason": _text("Why the broker took it: `expired`, `delivery_limit`, `rejected`."),
            "x-first-death-queue": _text("The queue it was taken from."),
            "x-first-death-exchange": _text("The exchange it had been published to."),
            "x-death": {
                "type": "array",
                "description": "The broker's record, a table for each queue and reason.",
            },
        }
    )
