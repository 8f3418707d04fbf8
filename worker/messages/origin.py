"""Where a dead letter came from: what a person needs to find its producer and to send it again."""

from aio_pika.abc import HeadersType
from pamqp import commands as spec
from pamqp import encode

from schemas.secret import is_secret_name
from schemas.wire import LONGEST_TEXT

_MOST_HEADERS = 100
_MOST_BYTES = 16_384  # of a frame's 131,072, which the other properties share
_LONGEST_VALUE = 1024
_ROUTING = {"cc", "bcc"}  # the broker would act upon them again
_PLAIN = (str, bytes, bytearray, int, float)


def origin_headers(properties: spec.Basic.Properties, exchange: str, routing_key: str) -> HeadersType:
    """The producer's headers, as far as they are plain, short and carry no credential; and what a property
    cannot say of another's message.
    """
    kept: HeadersType = {}
    room = _MOST_BYTES
    for name, value in list((properties.headers or {}).items())[:_MOST_HEADERS]:
        size = _size(name, value)
        if size is not None and size <= room:
            kept[name] = value
            room -= size
    return kept | {
        "x-original-exchange": exchange,
        "x-original-routing-key": routing_key,
        "x-original-message-id": text(properties.message_id, LONGEST_TEXT) or "",
        "x-original-app-id": text(properties.app_id, LONGEST_TEXT) or "",
        "x-original-user-id": text(properties.user_id, LONGEST_TEXT) or "",
    }


def _size(name: str, value: object) -> int | None:
    """How many bytes it takes; None for what is not kept."""
    if name.lower() in _ROUTING or is_secret_name(name) or not isinstance(value, _PLAIN):
        return None
    if isinstance(value, str | bytes | bytearray) and len(value) > _LONGEST_VALUE:
        return None
    try:
        return len(encode.field_table({name: value}))
    except Exception:  # noqa: BLE001 — whatever the library cannot write is not kept
        return None


def text(value: object, longest: int) -> str | None:
    """A property's text without what Postgres or a frame cannot hold; None when there is none."""
    if isinstance(value, bytes | bytearray):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or not value:
        return None
    return value.replace("\x00", "").encode("utf-8", "replace").decode()[:longest]
