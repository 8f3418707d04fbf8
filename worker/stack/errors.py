"""What the local stack says when it cannot start."""


class StackError(Exception):
    """A sentence for a person: what could not be started, and what to do about it."""
