"""Reads variables from a file, in the form that a shell, Docker Compose and systemd read."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from worker.cli import exits
from worker.cli.exits import CommandError

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_QUOTES = ("'", '"')


def variables_in(path: str) -> Mapping[str, str]:
    """Return the variables that the lines NAME=VALUE of a file set. Raises CommandError, which shows none."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise CommandError(exits.USAGE, f"--env-file {path}: {reason}") from None
    found = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        parts = _LINE.fullmatch(line)
        value = _unquoted(parts[2].strip()) if parts else None
        if parts is None or value is None:
            raise CommandError(
                exits.USAGE,
                f"--env-file {path}: line {number} is not NAME=VALUE, or only a shell can read its value",
            )
        found[parts[1]] = value
    return found


def _unquoted(text: str) -> str | None:
    """Take a value out of its quotes; None: it does not end with them, or has a command in it."""
    if not text.startswith("'") and ("$(" in text or "`" in text):
        return None
    if not text.startswith(_QUOTES):
        return text
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    return words[0] if len(words) == 1 else None
