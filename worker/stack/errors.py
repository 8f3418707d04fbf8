"""The error of a local stack that cannot start."""


class StackError(Exception):
    """A sentence for a person: what could not be started, and what to do about it."""
