"""Says in words why TLS with a server came to nothing, and what to do. Pure."""

import ssl

_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING", "HTTP_REQUEST"}
_OLD = {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE", "VERSION_TOO_LOW"}
_CLIENT = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_UNKNOWN_CA",
    "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_REVOKED",
}  # fmt: skip
_OTHER_CA = (18, 19, 20, 21)  # numbers of OpenSSL
_OTHER_NAME = (62, 64)
_DEEP = 8


def tls_in_words(error: BaseException | None) -> str | None:
    """Look for an error of TLS in this one and in its causes; None: there is none."""
    for _ in range(_DEEP):  # the causes of an error may go round in a circle
        if isinstance(error, ssl.SSLError):
            return f"{_words(error)} ({error.reason or error})"
        if error is None:
            break
        error = error.__cause__ or error.__context__
    return None


def _words(error: ssl.SSLError) -> str:
    reason = str(error.reason or "").upper()
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message}{_remedy(error.verify_code)}"
    if reason in _NO_TLS:
        return "the server does not speak TLS at this port: take the port that does"
    if reason in _OLD:
        return "the server speaks no TLS of version 1.2 or later"
    if reason in _CLIENT:
        return (
            "the server wants a client certificate that it trusts: set WORKER_TLS_CERT_FILE and "
            "WORKER_TLS_KEY_FILE, or look whether that one is still valid"
        )
    return "TLS with the server came to nothing"


def _remedy(code: int) -> str:
    if code in _OTHER_CA:
        return "; give the certificate of its CA in WORKER_TLS_CA_FILE"
    if code in _OTHER_NAME:
        return "; it is for another host than the URL names"
    return ""
