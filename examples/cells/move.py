"""Moves an organisation to another cell, while requests come.

    python move.py cells.json org-1 b

1. The cell in which it is now is *held*: routers send nothing there, and what is for it waits at the front.
2. That cell works off all that it was sent. Then each request that it has ever got is on its record, and
   routers find there which ids are its.
3. The new cell stands behind the old one in the map, and nothing is held. Ids that the old cell knows go to
   it, all others to the new one.

If this is ended in between, begin it again. Sessions stay where they were made.
"""

import base64
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from the_map import REREAD_SECONDS, Cell, change, read

SEEN_SECONDS = 2 * REREAD_SECONDS + 5  # then each router knows, and what it was sending has come or not
COUNTED_SECONDS = 11  # RabbitMQ counts anew every five seconds
QUEUES = ("requests", "cancels", "undelivered")


def messages_in(cell: Cell, queue: str) -> int:
    """Count what lies in a queue of the cell, and what its workers have in hand of it."""
    parts = urlsplit(cell.management_url)
    vhost = urlsplit(cell.amqp_url).path[1:]
    where = f"{parts.scheme}://{parts.hostname}:{parts.port}/api/queues/{vhost}/{cell.prefix}.{queue}"
    account = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    request = Request(where, headers={"Authorization": f"Basic {account}"})  # noqa: S310 — the map's own address
    with urlopen(request, timeout=10) as answer:  # noqa: S310 — as above
        return int(json.load(answer)["messages"])


def move(file: Path, org: str, to: str) -> None:
    now = read(file)
    cells = [cell.name for cell in now.cells_of(org)]
    source = now.cells[cells[-1]]
    if source.name == to:
        return
    change(file, held=sorted({*now.held, source.name}))
    time.sleep(SEEN_SECONDS + COUNTED_SECONDS)
    while any(messages_in(source, queue) for queue in QUEUES):
        time.sleep(1)
    change(
        file, held=[name for name in now.held if name != source.name], orgs={**now.orgs, org: [*cells, to]}
    )


if __name__ == "__main__":
    move(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
