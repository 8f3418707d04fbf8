"""Makes settings from what a test gives, and from nothing else."""

from collections.abc import Mapping
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from worker.settings import Settings

_NOWHERE = {"amqp_url": "amqp://nowhere.invalid/%2F", "database_url": "postgresql://nowhere.invalid/none"}


class _GivenSettings(Settings):
    """Settings that the environment does not change."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 — pydantic-settings gives all of these
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def given_settings(changes: Mapping[str, Any]) -> Settings:
    """Make settings without servers; all that is not given has its default."""
    refuse_unknown(changes)
    return _GivenSettings(**{**_NOWHERE, **changes})


def refuse_unknown(changes: Mapping[str, Any]) -> None:
    """Refuse what is no setting: a slip of the pen would change nothing, and the test would still pass."""
    if unknown := changes.keys() - Settings.model_fields.keys():
        raise TypeError(f"{', '.join(sorted(unknown))}: a worker has no such setting")
