"""Makes the TLS context for both servers from files; the client libraries read what a URL says of TLS."""

import ssl

from worker.errors import SettingsError
from worker.settings import Settings


def context_from(settings: Settings) -> ssl.SSLContext | None:
    """Return a context when a file is set; None otherwise: the URL then says all."""
    if not (settings.tls_ca_file or settings.tls_cert_file or settings.tls_key_file):
        return None
    if bool(settings.tls_cert_file) != bool(settings.tls_key_file):
        raise SettingsError("WORKER_TLS_CERT_FILE and WORKER_TLS_KEY_FILE: set both or neither")
    variable, path = "WORKER_TLS_CA_FILE", settings.tls_ca_file
    try:
        context = ssl.create_default_context(cafile=path or None)
        if settings.tls_cert_file:
            variable, path = "WORKER_TLS_CERT_FILE", f"{settings.tls_cert_file} with {settings.tls_key_file}"
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, _no_passphrase)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"{variable}: {path} cannot be read: {error}") from error
    return context


def _no_passphrase() -> str:
    raise SettingsError("WORKER_TLS_KEY_FILE: is encrypted: give a key without a passphrase")
