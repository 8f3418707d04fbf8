"""Examples of messages of each kind, as they go over the wire."""

from typing import Any

from schemas import FailureCode

REQUEST_ID = "0b9fd3a3-6f0e-4a5b-9d70-6d1c0d2c7a11"
_OTHER_ID = "6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11"
_THIRD_ID = "1f0e8d6a-2c3b-4d5e-8f90-a1b2c3d4e5f6"
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

Example = dict[str, Any]

REQUESTS: list[Example] = [
    {
        "name": "minimal",
        "summary": "The least that is a request.",
        "payload": {
            "request_id": REQUEST_ID,
            "org_id": "org-1",
            "operation": "create_session",
            "payload": {},
        },
    },
    {
        "name": "conversation",
        "summary": "An assistant of one's own, with a deadline.",
        "headers": {"deadline": "2026-01-02T03:05:05Z", "traceparent": _TRACE},
        "payload": {
            "request_id": _OTHER_ID,
            "org_id": "org-1",
            "user_id": "user-7",
            "operation": "create_session",
            "payload": {
                "name": "Support chat",
                "expiration_seconds": 3600,
                "casefile_id": "cf_260102_abc123",
                "assistant": {
                    "first_message": "Hello, how can I help?",
                    "model": {"provider": "openai", "model": "gpt-4o-mini", "temperature": 0.2},
                },
                "messages": [{"role": "user", "message": "My order is late.", "time": 0, "end_time": 1,
                              "seconds_from_start": 0}],
            },
            "timestamp": "2026-01-02T03:04:05Z",
            "metadata": {"source": "web"},
        },
    },
    {
        "name": "scheduled",
        "summary": "One that may begin at nine, and is not wanted after noon.",
        "headers": {"not_before": "2026-01-03T09:00:00+01:00", "deadline": "2026-01-03T12:00:00+01:00"},
        "payload": {
            "request_id": _THIRD_ID,
            "org_id": "org-1",
            "operation": "create_session",
            "payload": {"name": "Follow-up call", "assistant_id": "asst_1"},
        },
    },
]  # fmt: skip

CANCELS: list[Example] = [
    {
        "name": "cancel",
        "summary": "The request is not wanted any more.",
        "payload": {
            "request_id": REQUEST_ID,
            "operation": "cancel_session",
            "reason": "the customer hung up",
        },
    }
]

RESPONSES: list[Example] = [
    {
        "name": "completed",
        "summary": "There is a session.",
        "headers": {"traceparent": _TRACE},
        "payload": {
            "request_id": _OTHER_ID,
            "status": "completed",
            "payload": {
                "session_id": "ts_260102_0g5dprhtm0c5n",
                "casefile_id": "cf_260102_abc123",
                "created_at": "2026-01-02T03:04:05.120000+00:00",
            },
            "timestamp": "2026-01-02T03:04:05.131000+00:00",
            "error": None,
            "metadata": {},
        },
    },
    {
        "name": "failed",
        "summary": "There is none, and why. No session stands under the id that was reserved.",
        "payload": {
            "request_id": REQUEST_ID,
            "status": "failed",
            "payload": {
                "session_id": "ts_260102_1h6eqsjun1d6p",
                "casefile_id": None,
                "created_at": "2026-01-02T03:04:05.120000+00:00",
            },
            "timestamp": "2026-01-02T03:04:05.131000+00:00",
            "error": "the request is not valid",
            "metadata": {
                "code": FailureCode.INVALID_REQUEST.value,
                "errors": [{"field": "payload.name", "reason": "must have at most 40 characters"}],
            },
        },
    },
]

DEAD_LETTERS: list[Example] = [
    {
        "name": "unreadable",
        "summary": "The body is that of the message, whatever it was.",
        "headers": {
            "x-reason": "the body is not JSON: Expecting value at character 0; "
            "and no request id was found in it",
            "x-code": "unreadable",
            "x-failed-at": "2026-01-02T03:04:05.120000+00:00",
            "x-worker": "worker-1:17",
            "x-version": "0.1.0",
            "x-original-message-id": "",
        },
        "payload": "hello",
    }
]

EVENTS: list[Example] = [
    {
        "name": "put off",
        "summary": "Its first attempt failed, and the next one is due in two seconds.",
        "payload": {
            "request_id": REQUEST_ID,
            "kind": "retrying",
            "status": "processing",
            "attempt": 1,
            "number": 4711,
            "occurred_at": "2026-01-02T03:04:05.120000Z",
            "org_id": "org-1",
            "reason": "rooms answered 503",
            "until": "2026-01-02T03:04:07.120000Z",
        },
    },
    {
        "name": "cancelled",
        "summary": "Its last event.",
        "payload": {
            "request_id": REQUEST_ID,
            "kind": "cancelled",
            "status": "failed",
            "attempt": 1,
            "number": 4719,
            "occurred_at": "2026-01-02T03:04:06.480000Z",
            "org_id": "org-1",
            "code": "cancelled",
            "reason": "cancelled: the customer hung up",
        },
    },
]
