"""Tells a cancellation of the running task from one that only comes up in it."""

import asyncio


def is_being_cancelled() -> bool:
    """Return whether somebody has cancelled the running task itself, so that it has to end.

    Not every CancelledError means that. The client library cancels the futures of a lost channel: whoever
    waits on one gets a CancelledError, and has to reconnect. A handler may let out the cancellation of a task
    of its own: its attempt has failed. Only the task knows how often it was itself asked to end.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
