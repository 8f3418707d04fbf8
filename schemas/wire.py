"""The constants of AMQP properties, for the worker, its client and the documents."""

from typing import Final

REQUEST_TYPE: Final = "CreateSessionRequest"
CANCEL_TYPE: Final = "CancelSessionRequest"
RESPONSE_TYPE: Final = "CreateSessionResponse"
EVENT_TYPE: Final = "RequestEvent"
CONTENT_TYPE: Final = "application/json"
APP_ID: Final = "session-worker"
LONGEST_TEXT: Final = 255
"""The most bytes of a text property in AMQP, and the most characters that the worker keeps of one."""
DIRECT_REPLY: Final = "amq.rabbitmq.reply-to."
"""The beginning of the address of a direct reply, once the broker has filled it in."""
