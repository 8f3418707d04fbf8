"""A module of handlers that lacks what it needs."""

import os

os.environ["NOT_SET"]
