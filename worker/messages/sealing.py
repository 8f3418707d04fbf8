"""Secrets at rest: AES-256-GCM, the key named in the sealed text, bound to the request it belongs to."""

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.secret import map_secrets, may_hold_secrets
from worker.errors import SealError, SettingsError

_MARK = "sealed:v1:"
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_KEY_BYTES = 32
_NONCE_BYTES = 12


class Secrets(NamedTuple):
    """What a document holds of secrets: how many, and where the first one is sealed already."""

    number: int
    sealed_at: str | None


def look_for_secrets(document: dict[str, Any]) -> Secrets | None:
    """The secrets of a document that came from outside; None if there is none."""
    count, sealed_at = 0, None

    def note(path: str, value: Any) -> Any:  # noqa: ANN401 — any JSON
        nonlocal count, sealed_at
        count += 1
        if sealed_at is None and isinstance(value, str) and value.startswith(_MARK):
            sealed_at = path
        return value

    map_secrets(document, note)
    return Secrets(count, sealed_at) if count else None


class SealKeys:
    """The key ring. The first key seals, every key opens, so a key is rotated by putting one in front."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self._fingerprint_keys = {
            name: hmac.digest(key, b"session-worker fingerprint", hashlib.sha256)
            for name, key in keys.items()
        }
        self._current = next(iter(keys), None)

    def __bool__(self) -> bool:
        return self._current is not None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._ciphers)

    def seal_document(self, document: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        """The document with each secret in it sealed in its place."""
        sealed: dict[str, Any] = map_secrets(
            document, lambda path, value: self._seal(json.dumps(value), request_id, path)
        )
        return sealed

    def open_document(self, document: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        """The inverse of `seal_document`."""
        opened: dict[str, Any] = map_secrets(
            document, lambda path, value: json.loads(self._open(value, request_id, path))
        )
        return opened

    def fingerprint(self, canonical: str, *, has_secrets: bool, key: str | None = None) -> bytes:
        """What tells a repeated request from another. Keyed when secrets went in, so that
        who reads the database cannot test guesses of them."""
        data = canonical.encode()
        if not has_secrets:
            return b"plain:" + hashlib.blake2b(data, digest_size=16).digest()
        name = key if key in self._fingerprint_keys else self._current
        if name is None:
            raise SealError("no key to fingerprint a request that carries secrets: set WORKER_SEAL_KEYS")
        digest = hmac.digest(self._fingerprint_keys[name], data, hashlib.sha256)
        return name.encode() + b":" + digest[:16]

    def _seal(self, text: str, request_id: UUID, path: str) -> str:
        if self._current is None:
            raise SealError("no key to seal secrets with: set WORKER_SEAL_KEYS")
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, text.encode(), _bound_to(request_id, path))
        return f"{_MARK}{self._current}:{base64.b64encode(nonce + sealed).decode()}"

    def _open(self, text: object, request_id: UUID, path: str) -> str:
        if not isinstance(text, str) or not text.startswith(_MARK):
            raise SealError(f"{path} of request {request_id} is not sealed")
        name, _, encoded = text[len(_MARK) :].partition(":")
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise SealError(f"{path} of request {request_id} needs key {name!r}: add it to WORKER_SEAL_KEYS")
        try:
            blob = base64.b64decode(encoded)
            opened = cipher.decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], _bound_to(request_id, path))
        except (InvalidTag, ValueError):
            raise SealError(f"{path} of request {request_id} does not open with key {name!r}") from None
        return opened.decode()


def _bound_to(request_id: UUID, path: str) -> bytes:
    """A sealed text opens only in its own row and place: moved elsewhere it is worth nothing."""
    return request_id.bytes + path.encode()


def key_of_fingerprint(fingerprint: bytes) -> str:
    """The name of the key that a stored fingerprint was made with."""
    return fingerprint.partition(b":")[0].decode()


def parse_seal_keys(text: str) -> SealKeys:
    """The ring from `WORKER_SEAL_KEYS`; what is wrong with it is said without showing any of it."""
    keys: dict[str, bytes] = {}
    for position, part in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        name, _, encoded = part.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if not _KEY_ID.fullmatch(name) or name == "plain" or len(key) != _KEY_BYTES:
            raise SettingsError(
                f"WORKER_SEAL_KEYS: key {position} is not `id:base64-of-32-bytes` "
                "(make one: echo k1:$(openssl rand -base64 32))"
            )
        if name in keys:
            raise SettingsError(f"WORKER_SEAL_KEYS: the id {name!r} is there twice")
        keys[name] = key
    return SealKeys(keys)


__all__ = ["SealKeys", "key_of_fingerprint", "look_for_secrets", "may_hold_secrets", "parse_seal_keys"]
