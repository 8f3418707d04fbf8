"""The rows of the API, for ROUTES, in the order of the document."""

from typing import Final

from worker.console.api import (
    dead_letters,
    failures,
    keeping,
    looking,
    openapi,
    requests,
    selections,
    steering,
)

_CALLS = (
    *looking.CALLS, *requests.CALLS, *failures.CALLS, *selections.CALLS, *dead_letters.CALLS, *steering.CALLS,
    *keeping.CALLS,
)  # fmt: skip
_ROWS = tuple(call.row for call in _CALLS)
API: Final = (openapi.served(_ROWS), *_ROWS)
