"""Finds where in a handler something happens: its file, line and function, without any value."""

import sysconfig
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, TracebackType

from worker.process.own_command import PROGRAM, is_ours

# Where the event loop, or a thread, begins to run what is the handler's.
_OUTSIDE = (
    "asyncio.base_events", "asyncio.events", "asyncio.runners", "uvloop",
    f"{PROGRAM}.process.threads", f"{PROGRAM}.steps.creating",
)  # fmt: skip
_LONGEST = 500


def place_in(error: BaseException, handler: object) -> str | None:
    """Return `file:line function` of the innermost frame of the handler's own code: a frame of a library
    that it called says less. None: the error did not come out of the handler.
    """
    found = None
    step: TracebackType | None = error.__traceback__
    while step is not None:
        if _is_own(step.tb_frame, handler):
            found = _place(step.tb_frame, step.tb_lineno)
        step = step.tb_next
    return found


def place_at(frame: FrameType | None, handler: object) -> str | None:
    """Return the same for what runs now, by its innermost frame. None: the handler does not run there."""
    own = own_frame(frame, handler)
    return None if own is None else _place(own, own.f_lineno)


def own_frame(frame: FrameType | None, handler: object) -> FrameType | None:
    """Return the innermost frame that is the handler's own code."""
    while frame is not None and not _is_own(frame, handler):
        if _module(frame) in _OUTSIDE:
            return None
        frame = frame.f_back
    return frame


def plain(text: str, longest: int = _LONGEST) -> str:
    """Keep what a text column takes: no NUL, no halves of surrogate pairs."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()[:longest]


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _is_own(frame: FrameType, handler: object) -> bool:
    top = _module(frame).partition(".")[0]
    package = str(getattr(handler, "__module__", "")).partition(".")[0]
    return top == package or (not is_ours(top) and not _is_library(frame.f_code))


def _place(frame: FrameType, line: int) -> str:
    code = frame.f_code
    return plain(f"{_file(code.co_filename, _module(frame))}:{line} {code.co_qualname}")


@cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(paths[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def _is_library(code: CodeType) -> bool:
    path = code.co_filename
    installed = {"site-packages", "dist-packages"} & set(Path(path).parts)
    return bool(installed) or path.startswith(("<", *_library_folders()))


def _file(path: str, module: str) -> str:
    """Name a file as it is imported: where the program is installed is of no interest."""
    parts = Path(path).parts
    depth = module.count(".") + (2 if parts[-1:] == ("__init__.py",) else 1)
    return "/".join(parts[-depth:])
