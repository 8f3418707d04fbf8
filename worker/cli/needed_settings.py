"""Reads the settings that a command needs. It imports little: a command that needs little starts soon."""

from worker.settings import Settings, read_settings


def settings_for(*, broker: bool = False, database: bool = False) -> Settings:
    """The settings from the environment; the URL of a server that the command does not use may be missing."""
    unused = {} if broker else {"amqp_url": "amqp://unused"}
    if not database:
        unused["database_url"] = "postgresql://unused"
    return read_settings(**unused)
