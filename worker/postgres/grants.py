"""Says in SQL what each role may do: `migrate --grant` carries it out, and `access postgres` prints it."""

from enum import StrEnum

from worker.postgres.installation import search_path
from worker.postgres.sql import load_queries

_FILE = "grants.sql"


class Kind(StrEnum):
    """What a role is for that works with the tables, and does not own them."""

    WORKER = "worker"
    CONSOLE = "console"


def grants(kind: Kind, role: str, schema: str, *, no_more: bool) -> str:
    """Return the statements that give a role the rights of its kind; with `no_more` they take from it first
    what it had.
    """
    sections = ("no_more", kind) if no_more else (kind,)
    return "\n\n".join(_filled(section, role, schema) for section in sections)


def script(kind: Kind, role: str, schema: str) -> str:
    """Return the same as a script for psql, of the owner of the tables."""
    settings = f"set local search_path = {search_path(schema)};"
    return "\n\n".join(["begin;", settings, grants(kind, role, schema, no_more=True), "commit;"])


def owner_script(role: str, schema: str, *, own: bool) -> str:
    """Return a script for psql, of an administrator, that lets a role make the tables of an installation;
    with `own`, in a schema that is the installation's own.
    """
    return _filled("migrator_of_own_schema" if own else "migrator", role, schema)


def quoted(name: str) -> str:
    """Write a name as SQL does, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _filled(section: str, role: str, schema: str) -> str:
    sections = load_queries(_FILE)
    return sections[section].format(role=quoted(role), schema=quoted(schema), all=sections["all"])
