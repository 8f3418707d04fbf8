"""Until the release after the next: where the author of a handler imported from before `worker.handlers`."""

import warnings

from worker.handlers import Context, Handler

warnings.warn("import Context and Handler from worker.handlers", DeprecationWarning, stacklevel=2)

__all__ = ["Context", "Handler"]
