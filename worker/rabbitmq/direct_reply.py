"""Recognises the addresses of RabbitMQ's direct reply-to, and those among them that a broker can read."""

import base64
import binascii

from schemas.wire import DIRECT_REPLY

# An Erlang process in the external term format: the version, the process's tag, the tag of its node's name.
_VERSION, _HEAD = 131, 3
_REST_OF_PROCESS = {88: 12, 103: 9}  # by its tag: the bytes after the name
_NAME_SIZE_BYTES = {100: 2, 115: 1, 118: 2, 119: 1}  # by its tag: the bytes that say how long the name is


def is_direct_reply(address: str) -> bool:
    return address.startswith(DIRECT_REPLY)


def can_be_decoded(address: str) -> bool:
    """Return whether a direct-reply address is made of an Erlang process and a key, each in base64.

    Over one that is not, some brokers close the connection.
    """
    process, dot, key = address.removeprefix(DIRECT_REPLY).partition(".")
    try:
        raw = base64.b64decode(process, validate=True)
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        return False
    if not dot or not key or len(raw) <= _HEAD or raw[0] != _VERSION or raw[1] not in _REST_OF_PROCESS:
        return False
    size_bytes = _NAME_SIZE_BYTES.get(raw[2])
    if size_bytes is None:
        return False
    end = _HEAD + size_bytes + int.from_bytes(raw[_HEAD : _HEAD + size_bytes])
    return b"@" in raw[_HEAD + size_bytes : end] and len(raw) == end + _REST_OF_PROCESS[raw[1]]
