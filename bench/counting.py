"""Shows what it costs to keep the counts: the same worker on the same tables, with and without, in turn."""

import asyncpg

from bench import in_turn, report
from bench.contenders import THIS_WORKER
from bench.stage import Servers, a_site, running, until_up

SUITE = "counting"
GOAL = 0.03
_FUNCTIONS = ("record_beginning", "record_transition")
# On the way of the measured requests there is nothing else that they do.
_WITHOUT = """
create or replace function record_beginning() returns trigger language plpgsql
  security definer set search_path from current as $$ begin return null; end $$;
create or replace function record_transition() returns trigger language plpgsql
  security definer set search_path from current as $$ begin return null; end $$;
"""


async def run(servers: Servers, requests: int, pairs: int) -> str:
    async with a_site(servers) as site, running(THIS_WORKER, site.environ) as process:
        await until_up(site.database_url)
        database = await asyncpg.connect(site.database_url)
        counting = ";".join(
            [await database.fetchval("select pg_get_functiondef($1::regproc)", name) for name in _FUNCTIONS]
        )

        async def switch(counts: bool) -> None:
            await database.execute(counting if counts else _WITHOUT)

        compared = await in_turn.compare(site, process, requests, pairs, switch)
        await database.close()
    report.save(SUITE, {"requests": requests, **in_turn.figures(compared)})
    return in_turn.told(compared, "Keeping the counts", GOAL)
