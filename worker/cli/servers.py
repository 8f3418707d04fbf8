"""Makes what speaks to the broker from the settings of a command."""

import ssl

from worker.client import Client
from worker.errors import SettingsError
from worker.rabbitmq import topology
from worker.rabbitmq.connection import Broker
from worker.settings import Settings
from worker.tls import context_from


def client_for(settings: Settings, wait_seconds: float) -> Client:
    """A client with the settings' broker and prefix; the broker shows it under this program's name."""
    url = settings.amqp_url.get_secret_value()
    try:
        return Client(
            url,
            settings.prefix,
            tls=_broker_tls(settings),
            connect_timeout=wait_seconds,
            app_id="session-worker cli",
            broker_user=settings.sender,
        )
    except ValueError as error:
        raise SettingsError(f"AMQP_URL: {error}") from None


def broker_for(settings: Settings) -> Broker:
    """The settings' broker, for commands that declare, compare or remove queues."""
    try:
        return Broker(settings.amqp_url.get_secret_value(), _broker_tls(settings), "session-worker topology")
    except ValueError as error:
        raise SettingsError(f"AMQP_URL: {error}") from None


def design_for(settings: Settings) -> topology.Topology:
    """The exchanges and queues that a worker with these settings needs."""
    from_policy = settings.queue_limits == "policy"
    return topology.design(
        settings.prefix, limits_from_policy=from_policy, events=settings.events, spread=settings.shards
    )


def _broker_tls(settings: Settings) -> ssl.SSLContext | None:
    return context_from(settings) if settings.amqp_url.get_secret_value().startswith("amqps:") else None
