"""Reads secrets from files: a secret setting may be one, `AMQP_URL_FILE` in place of `AMQP_URL`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from worker.errors import SettingsError

SUFFIX = "_FILE"
_MOST_BYTES = 65_536


def file_variable(variable: str) -> str:
    """Name the variable that has the path of a secret's file."""
    return variable + SUFFIX


def secrets_in_files(environ: Mapping[str, str], variables: Iterable[str]) -> dict[str, str]:
    """Return the secrets that files hold, by the variables that they stand for. Names count in any case, and
    an empty variable is one that is not set. Raises SettingsError, with a line for each that is wrong.
    """
    given = {name.upper(): value for name, value in environ.items() if value}
    found, problems = {}, []
    for variable in variables:
        path = given.get(file_variable(variable))
        if path is None:
            continue
        if variable in given:
            problems.append(f"{variable} and {file_variable(variable)}: set one of them, not both")
            continue
        try:
            found[variable] = _content(Path(path))
        except ValueError as error:
            problems.append(f"{file_variable(variable)}: {path} {error}")
    if problems:
        raise SettingsError("\n".join(problems))
    return found


def with_secrets_read(environ: Mapping[str, str], variables: Iterable[str]) -> dict[str, str]:
    """Copy an environment, with the secrets themselves in the place of their files' names."""
    variables = list(variables)
    files = {file_variable(variable) for variable in variables}
    rest = {name: value for name, value in environ.items() if name.upper() not in files}
    return rest | secrets_in_files(environ, variables)


def _content(path: Path) -> str:
    """Read a file without the end of its last line; raise ValueError, which says nothing of what is in it."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"has more than {_MOST_BYTES} bytes: it is no secret of this kind")
    try:
        text = raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("is no text in UTF-8") from None
    if not text.strip():
        raise ValueError("is empty")
    return text
