"""The one table of what is served: paths, methods, and the right that each needs.

Everything is a row here. The app is built from it, and so are the tests that try each row by each role.
"""

from worker.console import files
from worker.console.access import Right
from worker.console.acting import routes_of
from worker.console.api.rows import API
from worker.console.health import HEALTH
from worker.console.pages import (
    actions,
    audit,
    dead,
    dead_actions,
    dead_edit,
    failures,
    keys,
    login,
    muting,
    orgs,
    overview,
    pausing,
    request,
    requests,
    responses,
    search,
    selections,
    storage,
    waiting,
    workers,
    works,
)
from worker.console.route import GET, POST, Route

__all__ = ["GET", "POST", "ROUTES", "Route"]

ROUTES: tuple[Route, ...] = (
    *HEALTH,
    Route("/static/{version}/{file}", GET, None, files.static, "static"),
    Route("/login", GET, None, login.login, "login"),
    Route("/login", POST, None, login.log_in, "log_in"),
    Route("/logout", POST, Right.VIEW, login.log_out, "log_out"),
    Route("/", GET, Right.VIEW, overview.overview, "overview"),
    *routes_of("", pausing.PAUSE),
    *routes_of("", pausing.RESUME),
    Route("/search", GET, Right.VIEW, search.search, "search"),
    Route("/requests", GET, Right.VIEW, requests.requests, "requests"),
    Route("/requests/export", GET, Right.VIEW, requests.export, "export_requests"),
    *routes_of("/requests", actions.RETRY),
    *routes_of("/requests", actions.RESEND),
    *routes_of("/requests", actions.CANCEL),
    Route("/requests/{id}", GET, Right.VIEW, request.request, "request"),
    Route("/failures", GET, Right.VIEW, failures.failures, "failures"),
    *routes_of("/failures", muting.MUTE),
    *routes_of("/failures", muting.UNMUTE),
    Route("/selections", GET, Right.VIEW, selections.selections, "selections"),
    Route("/selections/{id}", GET, Right.VIEW, selections.selection, "selection"),
    Route("/selections/{id}", POST, Right.OPERATE, selections.steer, "steer_selection"),
    Route("/waiting", GET, Right.VIEW, waiting.waiting, "waiting"),
    *routes_of("/waiting", waiting.LIMIT),
    *routes_of("/waiting", waiting.CLEAR_LIMIT),
    Route("/dead", GET, Right.VIEW, dead.dead, "dead"),
    Route("/dead/export", GET, Right.VIEW, dead.export_dead, "export_dead"),
    Route("/dead/actions/replay", GET, Right.OPERATE, dead_actions.ask_replay, "replay"),
    Route("/dead/actions/replay", POST, Right.OPERATE, dead_actions.replay, "do_replay"),
    *routes_of("/dead", dead_actions.REDIRECT),
    *routes_of("/dead", dead_actions.DROP),
    *routes_of("/dead", dead_actions.RESTORE),
    Route("/dead/{id}", GET, Right.VIEW, dead.dead_letter, "dead_letter"),
    Route("/dead/{id}/edit", GET, Right.PAYLOAD, dead_edit.ask_edit, "edit_dead"),
    Route("/dead/{id}/edit", POST, Right.PAYLOAD, dead_edit.edit, "do_edit_dead"),
    Route("/responses", GET, Right.VIEW, responses.responses, "responses"),
    Route("/workers", GET, Right.VIEW, workers.workers, "workers"),
    Route("/orgs", GET, Right.VIEW, orgs.orgs, "orgs"),
    Route("/keys", GET, Right.VIEW, keys.keys, "keys"),
    *routes_of("/keys", keys.COUNT),
    *routes_of("/keys", keys.ROTATE),
    Route("/storage", GET, Right.VIEW, storage.storage, "storage"),
    *routes_of("/storage", storage.RUN),
    Route("/works/{id}", GET, Right.VIEW, works.work, "work"),
    *routes_of("/works/{id}", works.STOP),
    *routes_of("/works/{id}", works.GO_ON),
    Route("/audit", GET, Right.VIEW, audit.audit, "audit"),
    Route("/audit/export", GET, Right.VIEW, audit.export_audit, "export_audit"),
    *API,
)
"""All of the console, in the order of its navigation."""
