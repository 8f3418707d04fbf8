"""The rows of the API, for ROUTES, in the order of the document."""

from typing import Final

from worker.console.api import looking, openapi, requests

_ROWS = tuple(call.row for calls in (looking.CALLS, requests.CALLS) for call in calls)
API: Final = (openapi.served(_ROWS), *_ROWS)
