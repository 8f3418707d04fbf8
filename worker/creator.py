"""The former place of `Context` and `Handler`, until the release after the next: see `worker.handlers`."""

import warnings

from worker.handlers import Context, Handler

warnings.warn("import Context and Handler from worker.handlers", DeprecationWarning, stacklevel=2)

__all__ = ["Context", "Handler"]
