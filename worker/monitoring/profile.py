"""Describes what a worker does with a request: all workers of one queue should do the same."""

import hashlib
import importlib.util
import json
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from worker.settings import Settings

BUILT_IN = "built-in"
_INSTALLED = {"site-packages", "dist-packages"}  # folders of what was installed
_AGREED = (
    "prefix", "max_attempts", "retry_seconds", "max_put_offs", "retry_base_seconds", "retry_cap_seconds",
    "lease_seconds", "handler_timeout_seconds", "breaker_share", "max_body_bytes", "queue_limits",
    "retention_days", "reply_to_pattern", "events", "shards",
)  # fmt: skip


class Profile(NamedTuple):
    handler: str  # module:function, or "" for the built-in creation
    handler_build: str | None
    settings: dict[str, str | int | float]

    @property
    def handler_name(self) -> str:
        return self.handler or BUILT_IN

    @property
    def settings_digest(self) -> str:
        """Return what two workers have alike when these settings of theirs are the same."""
        return _digest(json.dumps(self.settings, sort_keys=True).encode())


def profile_of(settings: Settings) -> Profile:
    """Make a worker's profile. Of the seal keys it has the names, and nothing made of the keys themselves."""
    agreed = {name: getattr(settings, name) for name in _AGREED}
    keys = settings.seal_keys.get_secret_value()
    agreed["seal_keys"] = ",".join(key.partition(":")[0].strip() for key in keys.split(",") if key.strip())
    agreed["org_of_user"] = settings.org_of_user and _digest(settings.org_of_user.encode())
    return Profile(settings.handler, build_of(settings.handler, settings.build), agreed)


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


def build_of(handler: str, given: str) -> str | None:
    """Return what tells the old and the new code of a rollout apart: what the setting says, else the version
    of the package that the handler was installed with, and a digest of its file.
    """
    if not handler or given:
        return given if handler else None
    module = handler.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
        assert spec is not None and spec.origin is not None  # noqa: S101, PT018 — it was loaded
        file = Path(spec.origin)
        digest = _digest(file.read_bytes())
    except Exception:  # noqa: BLE001 — a module that is in no file of its own
        return None
    version = _version_of(module.partition(".")[0]) if _INSTALLED & set(file.parts) else None
    return f"{version}+{digest}" if version else digest


def _version_of(package: str) -> str | None:
    """Return the version that a package was installed with. To look for it takes a while."""
    for distribution in metadata.packages_distributions().get(package, ()):
        return metadata.version(distribution)
    return None
