"""Dead letters as JSON: groups, lists, one; and what is done with them."""

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, get_args
from uuid import UUID

from starlette.datastructures import QueryParams

from worker.console.access import Right
from worker.console.api.bodies import ChangeOfDead, Redirect, Replay
from worker.console.api.call import Ask, Call
from worker.console.api.models import listed, model, of, paged
from worker.console.api.parameters import AFTER_ID, DEAD, DEAD_STATE, GROUPING, LIMIT, MOST, next_page
from worker.console.dead_filters import filter_of
from worker.console.pages import dead_actions
from worker.console.pages.dead import the_one
from worker.console.problems import bad
from worker.console.reading import one_of, read, uuid, whole
from worker.messages.masking import masked_text, shown
from worker.operations import dead_letters
from worker.operations.dead_letters import Filter, Group, Grouping, Listed, State
from worker.operations.replaying import as_record

_GROUP: Final = "dead letters"
_GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
_USUAL: Final = 50


async def _groups(ask: Ask) -> Mapping[str, Any]:
    which = await filter_of(ask.desk, ask.query)
    grouping = read(ask.query, "group", one_of(_GROUPINGS)) or "reason"
    found = await dead_letters.groups(ask.desk.database, which, grouping)
    return {"items": [each._asdict() for each in found], "messages": sum(each.messages for each in found)}


async def _letters(ask: Ask) -> Mapping[str, Any]:
    which, most = await filter_of(ask.desk, ask.query), read(ask.query, "limit", whole(MOST)) or _USUAL
    after = read(ask.query, "after", uuid)
    found = await dead_letters.page(ask.desk.database, which, most + 1, after)
    more = found.letters[most - 1].id if len(found.letters) > most else None
    return {
        "items": [each._asdict() for each in found.letters[:most]],
        "next": next_page(ask.request, more),
        "found": found.found,
    }


async def _letter(ask: Ask) -> Mapping[str, Any]:
    letter = await the_one(ask.request)
    return {
        **letter.about._asdict(), "properties": letter.properties,
        "headers": {name: masked_text(str(value)) for name, value in letter.headers.items()},
        "body": shown(letter.body) if ask.desk.who.may(Right.PAYLOAD) else None,
    }  # fmt: skip


async def _replay(ask: Ask) -> Mapping[str, Any]:
    desk, body = ask.desk, ask.body
    edits = dead_actions.edits_of("\n".join(body.edits))
    which, ids = await _chosen(ask, "kept")
    if not body.dry_run:
        work = await dead_actions.send(
            desk, which, ids, to=None, edits=[(each.edit.do, each.text) for each in edits], rate=body.rate,
            reason=body.reason,
        )  # fmt: skip
        return _sending(len(ids), work)
    judged = await dead_actions.look_ahead(
        dead_actions.replaying(desk, edits=[each.edit for each in edits]),
        ids[body.skip : body.skip + dead_actions.LOOKED_AT],
    )
    counted = Counter(each.prospect.value for each in judged)
    return {**_sending(len(ids), None), "items": [as_record(each) for each in judged], "prospects": counted}


async def _redirect(ask: Ask) -> Mapping[str, Any]:
    which, ids = await _chosen(ask, "kept")
    work = await dead_actions.send(
        ask.desk, which, ids, to=ask.body.to, edits=[], rate=ask.body.rate, reason=ask.body.reason
    )
    return _sending(len(ids), work)


async def _drop(ask: Ask) -> Mapping[str, Any]:
    which, ids = await _chosen(ask, "kept")
    done = await dead_letters.drop(
        ask.desk.database, ids, reason=ask.body.reason, by=ask.desk.who.signature,
        about={"dead_letters": which.told},
    )  # fmt: skip
    return {"done": "dropped", "messages": len(done), "selected": len(ids)}


async def _restore(ask: Ask) -> Mapping[str, Any]:
    which, ids = await _chosen(ask, "dropped")
    done = await dead_letters.restore(
        ask.desk.database, ids, reason=ask.body.reason, by=ask.desk.who.signature,
        about={"dead_letters": which.told},
    )  # fmt: skip
    return {"done": "restored", "messages": len(done), "selected": len(ids)}


async def _chosen(ask: Ask, state: State) -> tuple[Filter, list[UUID]]:
    query: QueryParams = ask.body.which.query
    if bool(query) == ask.body.which.all:
        raise bad("which: say which dead letters are meant, or `all`: not both. Nothing was done.")
    return await dead_actions.select(ask.desk, query, state)


def _sending(selected: int, work: str | None) -> dict[str, Any]:
    return {"selected": selected, "work": work, "items": [], "prospects": {}}


_JUDGED = model("Judged", {"id": UUID, "prospect": str, "why": str | None, "to": str})
_SENDING = listed("Sending", _JUDGED, selected=int, work=str | None, prospects=dict[str, int])
_DONE = model("DeadLettersDone", {"done": str, "messages": int, "selected": int})

CALLS: Final = (
    Call(
        "/dead-letters", Right.VIEW, "dead_letters", _GROUP, "List dead letters, the newest first", _letters,
        paged("DeadLetters", of("DeadLetter", Listed), found=int), query=(DEAD_STATE, *DEAD, LIMIT, AFTER_ID),
    ),
    Call(
        "/dead-letters/groups", Right.VIEW, "dead_letter_groups", _GROUP, "Group dead letters", _groups,
        listed("DeadLetterGroups", of("DeadLetterGroup", Group), messages=int),
        query=(GROUPING, DEAD_STATE, *DEAD),
    ),
    Call(
        "/dead-letters/{id}", Right.VIEW, "dead_letter", _GROUP,
        "Show a dead letter; its body to those who may see payloads", _letter,
        of(
            "WholeDeadLetter", Listed, properties=dict[str, Any], headers=dict[str, str], body=str | None,
        ),
    ),
    Call(
        "/dead-letters/replay", Right.OPERATE, "replay_dead_letters", _GROUP,
        "Send dead letters again, or say in a dry run what would become of them", _replay, _SENDING,
        takes=Replay, status=HTTPStatus.ACCEPTED,
    ),
    Call(
        "/dead-letters/redirect", Right.OPERATE, "redirect_dead_letters", _GROUP,
        "Send dead letters to another queue", _redirect, _SENDING, takes=Redirect, status=HTTPStatus.ACCEPTED,
    ),
    Call(
        "/dead-letters/drop", Right.OPERATE, "drop_dead_letters", _GROUP,
        "Drop dead letters; for 7 days they can be restored", _drop, _DONE, takes=ChangeOfDead,
    ),
    Call(
        "/dead-letters/restore", Right.OPERATE, "restore_dead_letters", _GROUP,
        "Restore dead letters that were dropped", _restore, _DONE, takes=ChangeOfDead,
    ),
)  # fmt: skip
