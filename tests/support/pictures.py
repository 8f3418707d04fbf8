"""Takes the pictures of the console: each page, light and dark, as wide as a desk and as a telephone.

`make pictures` makes docs/console/ anew, and the part of docs/console.md that shows them. What is seen is an
installation in the middle of a bad hour, as staged.py plants it.
"""

import asyncio
import base64
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import aio_pika
import asyncpg
from playwright.async_api import Browser, Page
from pydantic import SecretStr
from support.browser import NARROW, WIDE, Scheme, chromium, opened
from support.console import Console, open_console, reached
from support.databases import made_database
from support.harness import declare_topology, delete_topology, eventually
from support.sealed import ring_text
from support.servers import servers
from support.staged import Staged, stage, still_alive

from worker.console import checkup
from worker.console.server import serve
from worker.monitoring import log
from worker.operations.doctor.run import chosen
from worker.postgres.migrate import migrate
from worker.rabbitmq.topology import names_for
from worker.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "console"
PAGES = {
    "overview": "/",
    "requests": "/requests?since=1h&status=failed&limit=12",
    "request": "/requests/{failed}",
    "action": "/requests/actions/retry?status=failed&since=1h",
    "selection": "/selections/{selection}",
    "selections": "/selections",
    "failures": "/failures?since=1h",
    "waiting": "/waiting",
    "dead": "/dead",
    "dead_letter": "/dead/{letters[1]}",
    "dead_replay": "/dead/actions/replay?app=billing-exporter&edits=rename+id%3Drequest_id",
    "dead_edit": "/dead/{letters[1]}/edit",
    "work": "/works/{work}",
    "responses": "/responses",
    "workers": "/workers",
    "orgs": "/orgs",
    "keys": "/keys",
    "storage": "/storage",
    "audit": "/audit",
    "search": "/search?id=order-17",
    "problem": "/requests?status=failed&since=yesterday",
    "login": "/login",
}
"""Of each template the page that is shown."""
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
WIDTHS = {WIDE: "", NARROW: "-narrow"}
_HIGHEST = 1_200
_QUALITY = 25
_SMALLER = {WIDE: 0.75, NARROW: 0.8}  # than it is on the screen
_PREFIX = "rooms"
_DRAWN = re.compile(r"(?<=<!-- drawn: pictures -->\n).*?(?=<!-- end -->)", re.DOTALL)


def file_of(name: str, width: int, scheme: Scheme) -> str:
    return f"{name}-{scheme}{WIDTHS[width]}.webp"


def page_with_pictures() -> str:
    """Return docs/console.md with all pictures, each in the theme of whoever reads it."""
    rows = []
    for name in PAGES:
        shown = " ".join(
            f'<picture><source media="(prefers-color-scheme: dark)" '
            f'srcset="console/{file_of(name, width, "dark")}">'
            f'<img alt="{name}" src="console/{file_of(name, width, "light")}" width="{across}"></picture>'
            for width, across in ((WIDE, 600), (NARROW, 170))
        )
        rows.append(f"`{name}`\n\n{shown}\n")
    drawn = "\n".join(rows)
    return _DRAWN.sub(lambda _: f"\n{drawn}\n", (DOCS / "console.md").read_text("utf-8"))


@asynccontextmanager
async def installation() -> AsyncIterator[tuple[Settings, asyncpg.Connection]]:
    """Make an installation with a database of its own."""
    async with servers() as stack, made_database(stack.database_url, "pictures") as url:
        await migrate(url, prefix=_PREFIX)
        settings = Settings(
            amqp_url=stack.amqp_url, database_url=url, prefix=_PREFIX, http_host="127.0.0.1", http_port=0,
            log_level="warning", management_url="", seal_keys=SecretStr(ring_text("k2", "k1")),
            environment_name="production", environment_color="red",
        )  # fmt: skip
        log.configure(settings)
        await declare_topology(settings)
        db = await asyncpg.connect(url)
        try:
            yield settings, db
        finally:
            await db.close()
            await delete_topology(stack.amqp_url, _PREFIX)


async def take_all(
    browser: Browser, base: str, console: Console, db: asyncpg.Connection, staged: Staged
) -> None:
    """Take each picture."""
    for width in WIDTHS:
        for scheme in SCHEMES:
            await still_alive(db)
            async with opened(browser, base, console.tokens["anna"], width=width, scheme=scheme) as page:
                for name, path in PAGES.items():
                    await still_alive(db)
                    if name == "login":  # the last one
                        await page.context.clear_cookies()
                    await page.goto(path.format(**staged._asdict()))
                    (FOLDER / file_of(name, width, scheme)).write_bytes(await taken(page, width))


async def taken(page: Page, width: int) -> bytes:
    """Take a picture of a page, or of its upper part, as small as can be."""
    height = min(_HIGHEST, await page.evaluate("document.documentElement.scrollHeight"))
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": _SMALLER[width]}
    devtools = await page.context.new_cdp_session(page)
    answer = await devtools.send(
        "Page.captureScreenshot",
        {"format": "webp", "quality": _QUALITY, "clip": clip, "captureBeyondViewport": True},
    )
    return base64.b64decode(answer["data"])


async def lay_responses(settings: Settings) -> None:
    """Put responses into their queue, which nobody reads."""
    async with await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
        channel = await connection.channel()
        for _ in range(37):
            await channel.default_exchange.publish(aio_pika.Message(b"{}"), names_for(_PREFIX).responses)


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    # The servers of tests are none of production.
    checkup.AGAIN_SECONDS = 2
    checkup.chosen = lambda only: chosen(only or ("requests", "workers"))  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        async with installation() as (settings, db), open_console(settings, Path(folder)) as console:
            staged = await stage(db)
            await lay_responses(settings)
            await still_alive(db)
            looks = await (await reached(console)).bearer("viewer")

            async def has_looked() -> bool:
                await still_alive(db)
                return "The doctor is looking" not in (await looks.get("/")).text

            await eventually(has_looked)
            async with serve(console.app, "127.0.0.1", 0) as port, chromium() as browser:
                await take_all(browser, f"http://127.0.0.1:{port}", console, db, staged)
    (DOCS / "console.md").write_text(page_with_pictures(), "utf-8")
    size = sum(each.stat().st_size for each in FOLDER.iterdir())
    print(
        f"{len(list(FOLDER.iterdir()))} pictures, {size / 1e6:.2f} MB, in {FOLDER.relative_to(DOCS.parent)}"
    )


if __name__ == "__main__":
    asyncio.run(main())
