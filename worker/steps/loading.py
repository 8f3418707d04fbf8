"""Loads a handler, and tells how it is to be called."""

import importlib
import inspect
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TypeGuard

from worker.errors import SettingsError
from worker.handlers import Handler, Lifespan, PlainHandler


def load_handler(path: str) -> Handler | PlainHandler:
    """Load the handler that `WORKER_HANDLER` names."""
    module_name, _, name = path.partition(":")
    try:
        handler = getattr(importlib.import_module(module_name), name)
    except Exception as error:
        raise SettingsError(
            f"WORKER_HANDLER: cannot load {path!r} (module:function; its folder in PYTHONPATH): {error!r}"
            f"{_renamed(error)}"
        ) from error
    if wrong := _wrong(handler):
        raise SettingsError(f"WORKER_HANDLER: {path!r} {wrong}")
    loaded: Handler | PlainHandler = handler
    return loaded


def _renamed(error: Exception) -> str:
    """Say what to import, if ours may be meant, by the names of the repository's folders."""
    asked = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if asked not in ("worker", "schemas"):
        return ""
    return "; what a worker gives to handlers is in session_worker.handlers and session_worker.schemas"


def is_async(handler: Handler | PlainHandler) -> TypeGuard[Handler]:
    """Return whether it is called in the event loop. A plain function is called in a thread."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def lifespan_of(handler: object) -> Lifespan:
    """Return what is open around the life of its worker; nothing, for most."""
    lifespan: Lifespan = getattr(handler, "lifespan", nullcontext)
    return lifespan


def _wrong(handler: object) -> str | None:
    """Say what keeps it from being a handler."""
    if isinstance(handler, type):
        return "is a class: name an instance of it"
    if not callable(handler):
        return "is not a function of (request, context)"
    if any(map(inspect.isgeneratorfunction, (handler, type(handler).__call__))) or any(
        map(inspect.isasyncgenfunction, (handler, type(handler).__call__))
    ):
        return "has a `yield`: a handler returns what it has to say"
    try:
        inspect.signature(handler).bind("request", "context")
    except TypeError as error:
        return f"cannot be called with (request, context): {error}"
    return _wrong_lifespan(lifespan_of(handler))


def _wrong_lifespan(lifespan: object) -> str | None:
    if inspect.isasyncgenfunction(lifespan):
        return "has a lifespan that is no async context manager: write @asynccontextmanager above it"
    if not callable(lifespan):
        return "has a lifespan that is no function"
    try:
        inspect.signature(lifespan).bind()
    except TypeError as error:
        return f"has a lifespan that cannot be called without arguments: {error}"
    return None


def opened(lifespan: Lifespan) -> AbstractAsyncContextManager[object]:
    """Make the context manager of a lifespan."""
    made = lifespan()
    if not isinstance(made, AbstractAsyncContextManager):
        raise TypeError(f"it gives {type(made).__name__}, which is no async context manager")
    return made
