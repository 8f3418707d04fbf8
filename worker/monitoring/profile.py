"""Describes what a worker does with a request: all workers of one queue should do the same."""

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

from worker.settings import Settings

BUILT_IN = "built-in"
_AGREED = (
    "prefix", "max_attempts", "retry_seconds", "max_put_offs", "retry_base_seconds", "retry_cap_seconds",
    "lease_seconds", "handler_timeout_seconds", "breaker_share", "max_body_bytes", "queue_limits",
    "retention_days", "reply_to_pattern",
)  # fmt: skip


class Profile(NamedTuple):
    handler: str  # module:function, or "" for the built-in creation
    handler_build: str | None
    settings: dict[str, str | int | float]

    @property
    def handler_name(self) -> str:
        return self.handler or BUILT_IN


def profile_of(settings: Settings) -> Profile:
    """Make a worker's profile. Of the seal keys it has the names, and nothing made of the keys themselves."""
    agreed = {name: getattr(settings, name) for name in _AGREED}
    keys = settings.seal_keys.get_secret_value()
    agreed["seal_keys"] = ",".join(key.partition(":")[0].strip() for key in keys.split(",") if key.strip())
    agreed["org_of_user"] = settings.org_of_user and _digest(settings.org_of_user.encode())
    return Profile(settings.handler, _build_of(settings.handler), agreed)


def differences(mine: Profile, other: Profile) -> dict[str, tuple[object, object]]:
    """Compare two profiles; return by name the values that differ, ours first. A setting that only one of the
    two versions knows is no difference.
    """
    found: dict[str, tuple[object, object]] = {
        name: (mine.settings[name], other.settings[name])
        for name in sorted(mine.settings.keys() & other.settings.keys())
        if mine.settings[name] != other.settings[name]
    }
    if mine.handler != other.handler:
        found["handler"] = mine.handler_name, other.handler_name
    elif mine.handler_build != other.handler_build:
        found["handler_build"] = mine.handler_build, other.handler_build
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _build_of(handler: str) -> str | None:
    """Make a digest of the module's file: it tells the old and the new code of a rollout apart."""
    if not handler:
        return None
    try:
        spec = importlib.util.find_spec(handler.partition(":")[0])
        assert spec is not None and spec.origin is not None  # noqa: S101, PT018 — it was loaded
        return _digest(Path(spec.origin).read_bytes())
    except Exception:  # noqa: BLE001 — a module that is in no file of its own
        return None
