"""A module of handlers that cannot be imported: it needs a variable that is not set."""

import os

os.environ["NOT_SET"]
