"""The map says which cell an organisation is in. It is a file, which every router reads again and again."""

import json
from pathlib import Path
from typing import NamedTuple

REREAD_SECONDS = 1.0  # after so long each router has seen a change


class Cell(NamedTuple):
    """An installation of its own: a prefix, a broker and a database."""

    name: str
    amqp_url: str
    management_url: str
    database_url: str
    prefix: str
    schema: str


class Front(NamedTuple):
    """Where requests come to: a broker, and how its exchange and queues are called."""

    amqp_url: str
    prefix: str


class Map(NamedTuple):
    front: Front
    cells: dict[str, Cell]
    otherwise: str
    """The cell of an organisation that is not in the map."""
    orgs: dict[str, list[str]]
    """The cells that an organisation has been in; the last one is where it is now."""
    held: list[str]
    """Nothing goes to these now."""

    def cells_of(self, org: str | None) -> list[Cell]:
        return [self.cells[name] for name in self.orgs.get(org or "", [self.otherwise])]


def read(file: Path) -> Map:
    found = json.loads(file.read_text("utf-8"))
    cells = {name: Cell(name=name, **cell) for name, cell in found.pop("cells").items()}
    return Map(front=Front(**found.pop("front")), cells=cells, **found)


def change(file: Path, **values: object) -> None:
    """Write some values of the map anew, in one step: whoever reads it sees all of them or none."""
    found = json.loads(file.read_text("utf-8"))
    new = file.with_suffix(".new")
    new.write_text(json.dumps(found | values, indent=2) + "\n", "utf-8")
    new.replace(file)
