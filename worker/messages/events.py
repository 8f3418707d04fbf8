"""Makes the messages that tell of a request's steps."""

from pamqp import commands as spec

from schemas import RequestEvent
from schemas.wire import APP_ID, CONTENT_TYPE, EVENT_TYPE


def event_key(event: RequestEvent) -> str:
    """Makes its routing key: who watches binds `*.ID`, or `KIND.*`."""
    return f"{event.kind}.{event.request_id}"


def event_body(event: RequestEvent) -> bytes:
    """Writes it as JSON; what it has not is left out."""
    return event.model_dump_json(exclude_none=True).encode()


def event_properties(event: RequestEvent) -> spec.Basic.Properties:
    """Makes its properties: an event that is sent again has the same `message_id`."""
    return spec.Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=2,
        correlation_id=str(event.request_id),
        message_id=f"{event.request_id}.{event.number}",
        timestamp=event.occurred_at,
        message_type=EVENT_TYPE,
        app_id=APP_ID,
    )
