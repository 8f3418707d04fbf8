"""The words of the wire in a message's properties, once for the worker, its client and the docs."""

from typing import Final

REQUEST_TYPE: Final = "CreateSessionRequest"
CANCEL_TYPE: Final = "CancelSessionRequest"
RESPONSE_TYPE: Final = "CreateSessionResponse"
CONTENT_TYPE: Final = "application/json"
APP_ID: Final = "session-worker"
LONGEST_TEXT: Final = 255
"""Bytes of a text property in AMQP, and characters of those that the worker keeps."""
DIRECT_REPLY: Final = "amq.rabbitmq.reply-to."
"""How the address of a direct reply begins once the broker has filled it in."""
