"""Says whether the installed client library is the version whose inside the tests know.

Reading frames eagerly and writing a batch at once rely on that inside. With any other version the library's
own way is taken, which is slower.
"""

import importlib.metadata

import structlog

_TESTED_WITH = "7.2.4"
_log = structlog.get_logger(__name__)


def inside_is_known(consequence: str) -> bool:
    """Return whether aiormq is the tested version; log a warning with the `consequence` when it is not."""
    installed = importlib.metadata.version("aiormq")
    if installed == _TESTED_WITH:
        return True
    _log.warning(
        "client.slow_path",
        reason=f"aiormq is {installed}, its inside was tested with {_TESTED_WITH}",
        consequence=consequence,
    )
    return False
