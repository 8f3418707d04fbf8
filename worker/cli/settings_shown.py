"""Shows the settings in force, and writes them for a shell, Docker Compose and Kubernetes; never a secret."""

import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple

from pydantic import SecretStr

from worker.secret_files import file_variable
from worker.settings import PREFIX, Settings, read_settings, secret_variables, variable_name

HIDDEN = "***"
_SECRETS = "session-worker"  # the Secret in Kubernetes
_FILES = "/run/secrets"  # where Docker and others put a secret as a file
_UNUSED = {"amqp_url": "amqp://unused", "database_url": "postgresql://unused"}


Source = Literal["environment", "file", "default", "not set"]


class Shown(NamedTuple):
    """A setting as it may be shown. A secret in a file has another one for the file's path."""

    variable: str
    value: str  # of a secret that is set: `***`
    source: Source
    secret: bool


def shown_settings(environ: Mapping[str, str]) -> list[Shown]:
    """Read the settings, and show each. A wrong one raises SettingsError; a server's URL may be missing."""
    given = {name.upper(): value for name, value in environ.items()}  # as the settings are read: in any case
    files = {
        name: given[file_variable(name)] for name in secret_variables() if given.get(file_variable(name))
    }
    missing = {
        field: text
        for field, text in _UNUSED.items()
        if variable_name(field) not in given and variable_name(field) not in files
    }
    settings = read_settings(**missing)
    found = []
    for field in Settings.model_fields:
        value = getattr(settings, field)
        variable, secret = variable_name(field), isinstance(value, SecretStr)
        text = "" if field in missing else _text(value)
        source: Source = (
            "file" if variable in files
            else "environment" if variable in given
            else "not set" if field in missing
            else "default"
        )  # fmt: skip
        found.append(Shown(variable, text, source, secret))
        if source == "file":
            found.append(Shown(file_variable(variable), files[variable], "environment", secret=False))
    return found


def unknown(environ: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Find what looks like a setting, and is none."""
    names = {*known, *map(file_variable, secret_variables())}
    return sorted(name for name in environ if name.upper().startswith(PREFIX) and name.upper() not in names)


def shell(settings: Iterable[Shown]) -> list[str]:
    """Write lines for a shell. A secret is read from a file of its own."""
    return [
        f'export {each.variable}="$(cat {_FILES}/{each.variable})"'
        if each.secret
        else f"export {each.variable}={shlex.quote(each.value)}"
        for each in settings
    ]


def compose(settings: Iterable[Shown]) -> list[str]:
    """Write a block for Docker Compose. A secret is the variable of that name, where Compose is called."""
    return [
        "environment:",
        *(
            f"  {each.variable}: ${{{each.variable}:?}}"
            if each.secret
            else f"  {each.variable}: {_quoted(each.value.replace('$', '$$'))}"
            for each in settings
        ),
    ]


def kubernetes(settings: Iterable[Shown]) -> list[str]:
    """Write a list for a container in Kubernetes. A secret is the key of that name in a Secret."""
    lines = ["env:"]
    for each in settings:
        lines.append(f"  - name: {each.variable}")
        if each.secret:
            lines += [
                "    valueFrom:",
                "      secretKeyRef:",
                f"        name: {_SECRETS}",
                f"        key: {each.variable}",
            ]
        else:
            lines.append(f"    value: {_quoted(each.value.replace('$(', '$$('))}")
    return lines


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return HIDDEN if value.get_secret_value() else ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _quoted(text: str) -> str:
    """Quote a text for YAML: between double quotes everything may be escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in escaped) + '"'
