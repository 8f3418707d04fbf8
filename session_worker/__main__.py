"""`python -m session_worker` and the script `session-worker`."""

import sys

from worker.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
