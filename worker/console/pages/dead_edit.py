"""Mends the body of one dead letter by hand, and sends it."""

from starlette.requests import Request
from starlette.responses import Response

from worker.console.access import Right
from worker.console.acting import carried_out
from worker.console.context import desk_of
from worker.console.forms import form_of, reason_of
from worker.console.pages.dead import is_text, the_one
from worker.console.pages.dead_actions import look_ahead, replaying
from worker.console.problems import bad, conflict
from worker.console.render import page
from worker.messages.masking import MASK, shown
from worker.operations.dead_letters import Listed, Whole
from worker.operations.replaying import LEFT, Judged

_RATE = 50.0
_LONGEST = 100_000  # characters: with more of them a browser is slow


async def ask_edit(request: Request) -> Response:
    """Show the body to be mended. One with a credential in it is not: it would have to be shown in clear."""
    desk_of(request).require(Right.OPERATE)
    letter = await the_one(request)
    return _page(request, letter, _editable(letter) or "", None)


async def edit(request: Request) -> Response:
    """Judge the mended body and, when that is asked for, send it."""
    desk, form = desk_of(request), await form_of(request)
    desk.require(Right.OPERATE)
    letter = await the_one(request)
    text = form.get("body", "")
    if _editable(letter) is None:
        raise bad(
            "It has a credential, is no text, or is long: mend it with `session-worker dead replay --editor`."
        )
    how = replaying(desk, bodies={letter.about.id: text.encode()})
    judged = await look_ahead(how, [letter.about.id])
    if not judged:
        raise conflict("It is not in custody any more: somebody else was quicker.")
    if form.get("do") != "send" or judged[0].prospect in LEFT:
        return _page(request, letter, text, judged[0])
    reason = reason_of(form)
    return await carried_out(desk, lambda: _send(request, letter.about, text, reason))


async def _send(request: Request, one: Listed, text: str, reason: str) -> str:
    """Send it, and return the path of its page."""
    desk = desk_of(request)
    async for part in replaying(desk, bodies={one.id: text.encode()}).replay(
        desk.broker, [one.id], rate=_RATE, by=desk.who.signature, reason=reason,
        about={"dead_letters": {"ids": [str(one.id)]}, "editor": True},
        seconds=desk.settings.confirm_timeout_seconds,
    ):  # fmt: skip
        for judged in part:
            if judged.left is not None:
                raise conflict(f"It was not sent, and is still in custody: {judged.left}.")
    return str(request.app.url_path_for("dead_letter", id=one.id))


def _page(request: Request, letter: Whole, text: str, judged: Judged | None) -> Response:
    return page(
        request, "dead_edit.html", one=letter.about, text=text, judged=judged,
        editable=_editable(letter) is not None, kept=letter.about.state == "kept", left=LEFT,
    )  # fmt: skip


def _editable(letter: Whole) -> str | None:
    """Return the body as it may be changed; None: something of it is masked, it is no text, or long."""
    if not is_text(letter.body):
        return None
    text = shown(letter.body)
    return None if MASK in text or len(text) > _LONGEST else text
