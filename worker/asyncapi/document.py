"""Makes the AsyncAPI document: the channels, operations and messages, as the worker sees them."""

import json
from typing import Any, Final

from pydantic import TypeAdapter

from schemas import CreateSessionRequest, FailureCode
from schemas.cancel import CancelSessionRequest
from schemas.documents import CONTRACT_VERSION, Untitled, without_discriminators
from schemas.event import EventKind, RequestEvent
from schemas.failure import FAILURES
from schemas.strict_response import STRICT_RESPONSE
from schemas.wire import CANCEL_TYPE, CONTENT_TYPE, EVENT_TYPE, REQUEST_TYPE, RESPONSE_TYPE
from worker.asyncapi import examples, properties
from worker.messages.json_body import MAX_CONTAINERS, MAX_DEPTH
from worker.messages.sealing import MAX_SECRETS
from worker.rabbitmq.topology import CANCEL_KEY, REQUEST_KEY, Exchange, Topology, design
from worker.settings import Settings

_BINDING: Final = "0.3.0"
Document = dict[str, Any]


def document(prefix: str = "sessions") -> Document:
    """Makes the AsyncAPI 3.0 document for the queues of this prefix."""
    fields = Settings.model_fields
    topology = design(prefix, limits_from_policy=False, events=True)
    made = {
        "asyncapi": "3.0.0",
        "info": _info(fields["max_body_bytes"].default),
        "defaultContentType": CONTENT_TYPE,
        "servers": _SERVERS,
        "channels": _channels(topology),
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "schemas": _schemas(),
            "securitySchemes": {"account": {"type": "userPassword", "description": "A RabbitMQ account."}},
        },
        "x-topology": _as_declared(topology),
        "x-failure-codes": {code.value: FAILURES[code]._asdict() for code in FailureCode},
    }
    # A copy in which no part is shared: a change of one changes nothing else.
    plain: Document = json.loads(json.dumps(made))
    return plain


_SERVERS: Final[Document] = {
    "rabbitmq": {
        "host": "{host}:{port}",
        "protocol": "amqp",
        "protocolVersion": "0.9.1",
        "description": "RabbitMQ 3.10 or newer. With TLS, `amqps` and port 5671.",
        "variables": {"host": {"default": "localhost"}, "port": {"default": "5672"}},
        "security": [{"$ref": "#/components/securitySchemes/account"}],
    }
}


def _info(max_body_bytes: int) -> Document:
    return {
        "title": "Create-session worker",
        "version": CONTRACT_VERSION,
        "description": "Publish a request to create a session, and receive exactly one response body for it: "
        "completed, or failed with a code and a reason. The request id is the idempotency key: asking again "
        "with the same id and content makes no second session and repeats the response. Responses are "
        "delivered at least once, each copy with the same bytes and the same `message_id`. A body is UTF-8 "
        f"JSON of at most {max_body_bytes} bytes, nested at most {MAX_DEPTH} levels, with at most "
        f"{MAX_CONTAINERS} objects and arrays, and {MAX_SECRETS} credentials and header values. The names "
        "begin with the installation's prefix, `sessions` unless it chose another.",
        "license": {"name": "MIT"},
    }


def _channels(topology: Topology) -> Document:
    exchanges = {exchange.name: exchange for exchange in topology.exchanges}
    names = topology.names
    requests, responses, dead = exchanges[names.requests], exchanges[names.responses], exchanges[names.dead]
    return {
        "requests": {
            "title": "Requests",
            "description": "Publish with confirms and `mandatory`: what is confirmed will be answered. When "
            "the queue is full the publish is refused (nack): wait and send it again.",
            **_routed(requests, REQUEST_KEY, "CreateSessionRequest"),
        },
        "cancels": {
            "title": "Cancel requests",
            "description": "To the same exchange as the requests, with a key and a queue of their own: a "
            "cancel request does not wait behind the requests that came before it.",
            **_routed(requests, CANCEL_KEY, "CancelSessionRequest", queue=names.cancels),
        },
        "replies": {
            "title": "Private responses",
            "description": "The queue that a request names in `reply_to`, reached through the default "
            "exchange. When it is gone, the response stays readable with the worker's operators.",
            "address": None,
            "messages": {"CreateSessionResponse": {"$ref": "#/components/messages/CreateSessionResponse"}},
        },
        "responses": {
            "title": "Responses",
            "description": "Responses to requests without `reply_to`. The queue of the same name holds them "
            "for whoever consumes it; bind a queue of your own to get a copy of each, or of one status.",
            **_routed(responses, "{status}", "CreateSessionResponse"),
            "parameters": {
                "status": {"enum": ["completed", "failed"], "description": "The status of the response."}
            },
        },
        "events": {
            "title": "Events",
            "description": "What happens to requests, one event for each step that is recorded. There is "
            "such an exchange where operators have switched events on (`WORKER_EVENTS`). Bind a queue of "
            "your own: with `*.REQUEST_ID`, with `completed.*` or its like, or with `#`.",
            **_routed(topology.events, "{kind}.{request_id}", "RequestEvent", queue=""),
            "parameters": {
                "kind": {
                    "enum": [kind.value for kind in EventKind],
                    "description": "What has happened; others may be added.",
                },
                "request_id": {"description": "The request, in lower case."},
            },
        },
        "deadLetters": {
            "title": "Dead letters",
            "description": "Messages that nobody can be answered for, with the reason in their headers: no "
            "request id was found, or a cancel request is not valid and names no reply queue. Also responses "
            "that their readers rejected. For operators.",
            **_routed(dead, "", "UnreadableMessage", "UndeliveredMessage"),
        },
    }


def _routed(exchange: Exchange, key: str, *messages: str, queue: str | None = None) -> Document:
    """Describes a channel by its routing key; its queue is named as the exchange is, or `queue`. With an
    empty name it has none.
    """
    behind = exchange.name if queue is None else queue
    return {
        "address": key or exchange.name,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {
                    "name": exchange.name,
                    "type": exchange.kind,
                    "durable": True,
                    "autoDelete": False,
                    "vhost": "/",
                },
                "bindingVersion": _BINDING,
            }
        },
        **({"x-queue": behind} if behind else {}),
    }


def _operations() -> Document:
    return {
        "createSession": {
            "title": "Create a session",
            "summary": "One request, one session at most, one response.",
            **_asked_on("requests", "CreateSessionRequest"),
        },
        "cancelSession": {
            "title": "Cancel a request",
            "summary": "A request that is not finished ends with the code `cancelled`; a finished one is "
            "left as it is. The answer is a copy of the request's response, whichever it is.",
            **_asked_on("cancels", "CancelSessionRequest"),
        },
        "publishResponse": {
            "title": "Responses to requests without `reply_to`",
            **_sent_to("responses", "CreateSessionResponse"),
        },
        "tellEvent": {
            "title": "What happens to requests",
            **_sent_to("events", "RequestEvent", mandatory=False),
        },
        "setAside": {
            "title": "What cannot be answered",
            **_sent_to("deadLetters", "UnreadableMessage", "UndeliveredMessage"),
        },
    }


def _asked_on(channel: str, message: str) -> Document:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
        "bindings": {"amqp": {"ack": True, "bindingVersion": _BINDING}},
        "reply": {
            "address": {
                "description": "The AMQP property `reply_to` of the request; without it, see the channel "
                "`responses`.",
                "location": "$message.header#/reply_to",
            },
            "channel": {"$ref": "#/channels/replies"},
            "messages": [{"$ref": "#/channels/replies/messages/CreateSessionResponse"}],
        },
    }


def _sent_to(channel: str, *messages: str, mandatory: bool = True) -> Document:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": mandatory, "bindingVersion": _BINDING}},
    }


def _messages() -> Document:
    same_id = {
        "description": "The request id: the same in a request and in its response.",
        "location": "$message.payload#/request_id",
    }
    anything: Document = {"description": "The body as it came, whatever it is."}
    return {
        "CreateSessionRequest": {
            **_message("A request to create a session", REQUEST_TYPE, examples.REQUESTS),
            "headers": properties.headers_of_request(),
            "x-amqp-properties": properties.of_request(REQUEST_TYPE),
            "payload": _ref("CreateSessionRequest"),
            "correlationId": same_id,
        },
        "CancelSessionRequest": {
            **_message("A request that is not wanted any more", CANCEL_TYPE, examples.CANCELS),
            "headers": properties.headers_of_cancel(),
            "x-amqp-properties": properties.of_cancel(CANCEL_TYPE),
            "payload": _ref("CancelSessionRequest"),
            "correlationId": same_id,
        },
        "CreateSessionResponse": {
            **_message("The response to a request", RESPONSE_TYPE, examples.RESPONSES),
            "headers": properties.headers_of_response(),
            "x-amqp-properties": properties.of_response(),
            "payload": _ref("CreateSessionResponse"),
            "correlationId": same_id,
        },
        "RequestEvent": {
            **_message("A step of a request", EVENT_TYPE, examples.EVENTS),
            "x-amqp-properties": properties.of_event(),
            "payload": _ref("RequestEvent"),
            "correlationId": same_id,
        },
        "UnreadableMessage": {
            **_message(
                "A message that nobody can be answered for, set aside by a worker",
                None,
                examples.DEAD_LETTERS,
            ),
            "headers": properties.headers_of_dead_letter(),
            "x-amqp-properties": properties.of_dead_letter(),
            "payload": anything,
        },
        "UndeliveredMessage": {
            **_message("A message that its readers rejected, set aside by the broker", None, []),
            "headers": properties.headers_of_undelivered(),
            "payload": anything,
        },
    }


def _message(title: str, message_type: str | None, shown: list[examples.Example]) -> Document:
    made: Document = {"title": title}
    if message_type is not None:
        binding = {"contentEncoding": "utf-8", "messageType": message_type, "bindingVersion": _BINDING}
        made |= {"name": message_type, "contentType": CONTENT_TYPE, "bindings": {"amqp": binding}}
    return made | ({"examples": shown} if shown else {})


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> Document:
    """Makes the schemas of all objects, by name; that of the response is as strict as what is sent."""
    template = "#/components/schemas/{model}"
    _, made = TypeAdapter.json_schemas(
        [
            (model.__name__, "validation", TypeAdapter(model))
            for model in (CreateSessionRequest, CancelSessionRequest, RequestEvent)
        ],
        ref_template=template,
        schema_generator=Untitled,
    )
    response = STRICT_RESPONSE.json_schema(ref_template=template, schema_generator=Untitled)
    parts = response.pop("$defs")
    found: Document = without_discriminators({**made["$defs"], "CreateSessionResponse": response, **parts})
    return found


def _as_declared(topology: Topology) -> Document:
    """Lists what the broker holds; all of it is durable."""
    return {
        "exchanges": [exchange._asdict() for exchange in topology.exchanges],
        "queues": [queue._asdict() for queue in topology.queues],
        "bindings": [binding._asdict() for binding in topology.bindings],
    }
