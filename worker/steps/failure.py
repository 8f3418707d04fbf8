"""Describes why a handler's attempt came to nothing: in words, with the place, without any value."""

import sysconfig
from functools import cache
from pathlib import Path
from types import TracebackType

from worker.values import Failure

_OUR_OWN = ("worker", "schemas")
_LONGEST_TYPE = 200
_LONGEST = 500


def raised(error: BaseException, handler: object) -> Failure:
    """Describe an error of the handler's. Its text is not kept: it may quote what was sent."""
    name = _plain(type(error).__name__, _LONGEST_TYPE)
    return Failure("raised", f"the handler raised {name}"[:_LONGEST], name, place_in(error, handler))


def timed_out(error: BaseException, handler: object, seconds: float) -> Failure:
    """Describe a call that took too long, and where it was when its time was over."""
    place = place_in(error.__cause__ or error, handler)
    return Failure("timeout", f"the handler took longer than {seconds:g} s", type(error).__name__, place)


def put_off(error: BaseException, reason: str, handler: object) -> Failure:
    """Describe the handler's own wish, with the sentence that its author gave."""
    return Failure("retry_later", _plain(reason, _LONGEST), type(error).__name__, place_in(error, handler))


def place_in(error: BaseException, handler: object) -> str | None:
    """Return `file:line function` of the innermost frame of the handler's own code: a frame of a library
    that it called says less. None: the error did not come out of the handler.
    """
    package = str(getattr(handler, "__module__", "")).partition(".")[0]
    found = None
    step: TracebackType | None = error.__traceback__
    while step is not None:
        code, name = step.tb_frame.f_code, str(step.tb_frame.f_globals.get("__name__", ""))
        top = name.partition(".")[0]
        if top == package or (top not in _OUR_OWN and not _is_library(code.co_filename)):
            found = f"{_file(code.co_filename, name)}:{step.tb_lineno} {code.co_qualname}"
        step = step.tb_next
    return None if found is None else _plain(found, _LONGEST)


@cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(paths[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def _is_library(path: str) -> bool:
    installed = {"site-packages", "dist-packages"} & set(Path(path).parts)
    return bool(installed) or path.startswith(("<", *_library_folders()))


def _file(path: str, module: str) -> str:
    """Name a file as it is imported: where the program is installed is of no interest."""
    parts = Path(path).parts
    depth = module.count(".") + (2 if parts[-1:] == ("__init__.py",) else 1)
    return "/".join(parts[-depth:])


def _plain(text: str, longest: int) -> str:
    """Keep what a text column takes: no NUL, no halves of surrogate pairs."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()[:longest]
