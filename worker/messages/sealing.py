"""Seals secrets at rest, and makes the fingerprints that tell a repeated request from another.

A secret is sealed with AES-256-GCM; the sealed text names its key and is bound to its request and place.
"""

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

from schemas.secret import map_secrets
from worker.errors import SealError, SettingsError
from worker.values import Arrival

MAX_SECRETS = 5_000  # in one request
CANCELLED = b"cancelled:"  # the fingerprint of a request that was cancelled before it came
_UNKEYED = "plain"  # in the place of the key's name
_UNKEYED_MARK = f"{_UNKEYED}:".encode()
_MARK = "sealed:v1:"
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_SEALED_TEXT = re.compile(r'"(sealed:v1:[A-Za-z0-9_.-]{1,32}:[A-Za-z0-9+/]+=*)"')  # in a JSON text
_KEY_BYTES = 32
_NONCE_BYTES = 12


class Secrets(NamedTuple):
    """The secrets of a document: how many there are, and where the first one is sealed already."""

    number: int
    sealed_at: str | None


def look_for_secrets(document: dict[str, Any]) -> Secrets | None:
    """Counts the secrets of a document that came from outside; None if there is none."""
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
        """Copies the document, with each secret sealed in its place."""
        sealed: dict[str, Any] = map_secrets(
            document, lambda path, value: self._seal(json.dumps(value), request_id, path)
        )
        return sealed

    def open_document(self, document: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        """Copies the document, with each secret opened: the inverse of `seal_document`."""
        opened: dict[str, Any] = map_secrets(
            document, lambda path, value: json.loads(self._open(value, request_id, path))
        )
        return opened

    def reseal_text(
        self, text: str, document: dict[str, Any], request_id: UUID, *, old: str, new: str
    ) -> str:
        """Seals those secrets of a stored JSON text anew that the old key has sealed; all the rest keeps its
        bytes. `document`: what is in the text and has the secrets.
        """
        anew: dict[str, str] = {}

        def seal(path: str, value: Any) -> Any:  # noqa: ANN401 — any JSON
            if isinstance(value, str) and value.startswith(_MARK) and _key_of(value) == old:
                anew[value] = self._seal(self._open(value, request_id, path), request_id, path, new)
            return value

        map_secrets(document, seal)
        return _SEALED_TEXT.sub(lambda found: f'"{anew.get(found[1], found[1])}"', text)

    def seal_bytes(self, data: bytes, bound_to: bytes, key: str | None = None) -> tuple[str | None, bytes]:
        """Seal any bytes, and name the key: this one, else the first. Without keys they stay as they are, and
        the name is None.
        """
        name = key or self._current
        if name is None:
            return None, data
        nonce = os.urandom(_NONCE_BYTES)
        return name, nonce + self._ciphers[name].encrypt(nonce, data, bound_to)

    def open_bytes(self, data: bytes, key: str | None, bound_to: bytes) -> bytes:
        """Open what `seal_bytes` has sealed."""
        if key is None:
            return data
        if key not in self._ciphers:
            raise SealError(f"it is sealed with the key {key!r}: add that to WORKER_SEAL_KEYS")
        try:
            return self._ciphers[key].decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError):
            raise SealError(f"it does not open with the key {key!r} that is set") from None

    def fingerprint(self, canonical: str, *, has_secrets: bool, key: str | None = None) -> bytes:
        """Makes the mark that tells a repeated request from another. It is keyed if secrets went in, so that
        a reader of the database cannot brute-force them.
        """
        data = canonical.encode()
        if not has_secrets:
            return _UNKEYED_MARK + hashlib.blake2b(data, digest_size=16).digest()
        name = key if key in self._fingerprint_keys else self._current
        if name is None:
            raise SealError("no key to fingerprint a request that carries secrets: set WORKER_SEAL_KEYS")
        digest = hmac.digest(self._fingerprint_keys[name], data, hashlib.sha256)
        return name.encode() + b":" + digest[:16]

    def _seal(self, text: str, request_id: UUID, path: str, key: str | None = None) -> str:
        name = key or self._current
        if name is None:
            raise SealError("no key to seal secrets with: set WORKER_SEAL_KEYS")
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[name].encrypt(nonce, text.encode(), _bound_to(request_id, path))
        return f"{_MARK}{name}:{base64.b64encode(nonce + sealed).decode()}"

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
    """Makes what a sealed text is bound to: it opens in its own row and place and nowhere else."""
    return request_id.bytes + path.encode()


def keys_of(document: dict[str, Any]) -> set[str]:
    """Tells which keys have sealed the secrets of a stored document, by their names."""
    found: set[str] = set()

    def note(_path: str, value: Any) -> Any:  # noqa: ANN401 — any JSON
        if isinstance(value, str) and value.startswith(_MARK):
            found.add(_key_of(value))
        return value

    map_secrets(document, note)
    return found


def _key_of(sealed: str) -> str:
    return sealed[len(_MARK) :].partition(":")[0]


def key_of_fingerprint(fingerprint: bytes) -> str:
    """Reads the name of the key that a stored fingerprint was made with."""
    return fingerprint.partition(b":")[0].decode()


def is_same_request(arrival: Arrival, stored: bytes, keys: SealKeys) -> bool:
    """Tells whether a known request id came again with the same content, or was cancelled before it came."""
    if stored in (arrival.fingerprint, CANCELLED):
        return True
    has_secrets = not stored.startswith(_UNKEYED_MARK)  # an unkeyed one may be of a time without keys
    if has_secrets and not keys:
        return False
    key = key_of_fingerprint(stored) if has_secrets else None
    return any(
        keys.fingerprint(content, has_secrets=has_secrets, key=key) == stored for content in arrival.contents
    )


def parse_seal_keys(text: str) -> SealKeys:
    """Reads the ring from `WORKER_SEAL_KEYS`; an error shows nothing of a key."""
    keys: dict[str, bytes] = {}
    for position, part in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        name, _, encoded = part.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if not _KEY_ID.fullmatch(name) or name == _UNKEYED or len(key) != _KEY_BYTES:
            raise SettingsError(
                f"WORKER_SEAL_KEYS: key {position} is not `id:base64-of-32-bytes` "
                "(make one: echo k1:$(openssl rand -base64 32))"
            )
        if name in keys:
            raise SettingsError(f"WORKER_SEAL_KEYS: the id {name!r} is there twice")
        keys[name] = key
    return SealKeys(keys)
