"""Makes the settings of a worker on the local stack's servers, as `up` and `demo` start it."""

import base64
import secrets
from collections.abc import Mapping

from worker.settings import Settings, read_settings
from worker.stack import Stack


def settings_on(stack: Stack, environ: Mapping[str, str], **changes: object) -> Settings:
    """The settings of a worker on these servers. Unless the environment says otherwise, it listens on any
    free port, for this machine alone.
    """
    local: dict[str, object] = {"amqp_url": stack.amqp_url, "database_url": stack.database_url, **changes}
    if stack.kind != "environment":  # the servers that we start speak no TLS
        local |= {"tls_ca_file": "", "tls_cert_file": "", "tls_key_file": ""}
    local |= {
        name: value
        for name, value in (("http_host", "127.0.0.1"), ("http_port", 0))
        if f"WORKER_{name.upper()}" not in environ
    }
    return read_settings(**local)


def throwaway_key() -> str:
    """A seal key for credentials that nobody opens after this worker has stopped."""
    return f"passing:{base64.b64encode(secrets.token_bytes(32)).decode()}"
