"""Who may do what: each row of the table of routes is tried by each role, and by nobody."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from starlette.routing import Route as Served
from support.console import Console, act, csrf_of, open_console, text_of

from worker.console import app as console_app
from worker.console.access import Right, Role, Who
from worker.console.app import API
from worker.console.routes import ROUTES, Route
from worker.settings import Settings

PEOPLE = {
    "viewer": Who("viewer", Role.VIEWER),
    "operator": Who("operator", Role.OPERATOR),
    "admin": Who("admin", Role.ADMIN),
    "anna": Who("anna", Role.ADMIN, payloads=True),
}
CASES = [(row, method) for row in ROUTES for method in row.methods]


def path_of(row: Route) -> str:
    return re.sub(r"\{\w+(:\w+)?\}", str(UUID(int=7)), row.path)


async def test_each_row_is_served_to_those_who_have_its_right_and_to_nobody_else(console: Console) -> None:
    clients = {name: await console.client(name) for name in PEOPLE}
    nobody = await console.client()
    programs = {name: await console.bearer(name) for name in PEOPLE}
    tokens = {name: csrf_of(await client.get("/")) for name, client in clients.items()}
    for row, method in CASES:
        if row.name in ("log_in", "log_out"):
            continue  # below
        what = f"{method} {row.path}"
        answer = await nobody.request(method, path_of(row))
        if row.right is None:
            assert answer.status_code not in (303, 401, 403), what
        elif row.path.startswith(API):
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), what
            assert answer.headers["content-type"] == "application/problem+json", what
        else:
            assert answer.status_code == 303, what
            assert answer.headers["location"].startswith("/login?next="), what
        for name, client in clients.items():
            if row.path.startswith(API):
                answer = await client.request(method, path_of(row), headers={"X-CSRF-Token": tokens[name]})
                assert answer.status_code == 401, f"{name}: {what}: a cookie counts"
                client = programs[name]  # noqa: PLW2901 — what they ask with there
            forged = await client.request(method, path_of(row))
            answer = await client.request(method, path_of(row), headers={"X-CSRF-Token": tokens[name]})
            if not PEOPLE[name].may(row.right):
                assert answer.status_code == forged.status_code == 403, f"{name}: {what}"
                assert row.right is not None
                assert (
                    f"“{row.right.value}”" in json.loads(answer.text).get("detail", "")
                    if row.path.startswith(API)
                    else f"“{row.right.value}”" in text_of(answer)
                ), f"{name}: {what}"
                continue
            assert answer.status_code < 500, f"{name}: {what}: {answer.text[:2000]}"
            assert answer.status_code not in (401, 403), f"{name}: {what}"
            assert not answer.headers.get("location", "").startswith("/login"), f"{name}: {what}"
            if method != "GET" and row.right is not None and not row.path.startswith(API):
                assert forged.status_code == 403, f"{name}: {what}"
                assert "another session" in forged.text, f"{name}: {what}"


def test_the_app_serves_the_rows_and_nothing_else(console: Console) -> None:
    served = {
        (route.path, method)
        for route in console.app.__closure__[0].cell_contents.routes
        if isinstance(route, Served)
        for method in route.methods or ()
    }
    heads = {(row.path, "HEAD") for row in ROUTES if "GET" in row.methods}

    assert served == {(row.path, method) for row, method in CASES} | heads
    assert len({row.name for row in ROUTES}) == len(ROUTES)
    assert all(
        row.right is not Right.VIEW for row in ROUTES if row.methods != ("GET",) and row.name != "log_out"
    )


async def test_a_role_has_the_rights_of_the_one_before_and_none_sees_payloads_by_itself() -> None:
    assert [len(role.rights) for role in Role] == [1, 2, 3]
    assert not any(Right.PAYLOAD in role.rights for role in Role)
    assert PEOPLE["anna"].may(Right.PAYLOAD)


async def test_headers_stand_on_every_page_and_no_page_has_an_inline_script_or_style(
    console: Console,
) -> None:
    client = await console.client("anna")
    for path in ("/", "/login", "/actions/pause", "/nothing-here", "/search?id=abcdefgh", "/?token=x"):
        answer = await client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert not re.search(
            r"<style|style=|<script(?![^>]*src=)| on\w+=|javascript:|//[a-z]+\.", answer.text
        ), path


async def test_a_session_is_a_cookie_that_scripts_do_not_see_and_that_ends(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await console.client()
    start = datetime.now(UTC)
    answer = await client.post("/login?next=/actions/pause", data={"token": console.tokens["viewer"]})
    cookie = answer.headers["set-cookie"]

    assert answer.headers["location"] == "/actions/pause"
    assert all(flag in cookie for flag in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert not any(flag in cookie for flag in ("Secure", "Max-Age", "xpires")), (
        "the browser's clock may be wrong"
    )
    assert console.tokens["viewer"] not in cookie

    async def at(after: timedelta, **headers: str) -> int:
        monkeypatch.setattr(console_app, "_now", lambda: start + after)
        return (await client.get("/", headers=headers)).status_code

    assert await at(timedelta(minutes=59)) == 200
    assert await at(timedelta(minutes=118)) == 200, "it was used meanwhile"
    assert await at(timedelta(minutes=177), **{"HX-Request": "true"}) == 200
    assert await at(timedelta(minutes=179)) == 303, (
        "what a page asks by itself is no sign that somebody is there"
    )
    assert await at(timedelta(minutes=-61)) == 303, "a session of the future"
    await client.post("/login", data={"token": console.tokens["viewer"]})
    begun = timedelta(minutes=-61)
    for minutes in range(50, 480, 50):
        assert await at(begun + timedelta(minutes=minutes)) == 200
    assert await at(begun + timedelta(minutes=485)) == 303, "after eight hours it ends, however busy"


def other_letter(letter: str) -> str:
    return "A" if letter != "A" else "B"


async def test_what_is_forged_or_logged_out_is_no_session(console: Console) -> None:
    client = await console.client("operator")
    ((name, cookie),) = client.cookies.items()
    text, _, signature = cookie.partition(".")
    forged = f"{text}.{other_letter(signature[0])}{signature[1:]}"
    changed = f"{other_letter(text[0])}{text[1:]}.{signature}"
    for wrong in (forged, changed, "x", "", "é.a", "." * 2000):
        other = await console.client()
        answer = await other.get("/", headers=[(b"cookie", f"{name}={wrong}".encode())])
        assert answer.status_code == 303, wrong

    csrf = csrf_of(await client.get("/"))
    assert (await client.post("/logout", data={"csrf": csrf})).headers["location"] == "/login"
    assert not client.cookies
    stolen = await (await console.client()).get("/", headers={"Cookie": f"{name}={cookie}"})
    assert stolen.status_code == 303, "a session that was left is over, whoever has its cookie"


async def test_a_session_that_ends_in_an_action_leads_back_to_its_form(console: Console) -> None:
    client = await console.client("operator")
    csrf = csrf_of(await client.get("/actions/pause?org=org-7"))
    client.cookies.clear()

    answer = await client.post("/actions/pause?org=org-7", data={"csrf": csrf, "reason": "late"})
    assert answer.headers["location"] == "/login?next=%2Factions%2Fpause%3Forg%3Dorg-7&ended=1"
    said = text_of(await client.get(answer.headers["location"]))
    assert "Your session has ended. Nothing was done." in said
    by_htmx = await client.get("/", headers={"HX-Request": "true"})
    assert (by_htmx.status_code, by_htmx.headers["hx-redirect"]) == (401, "/login?next=%2F")


@pytest.mark.parametrize(
    "where", ["//evil.test", "https://evil.test/", "/\\evil.test", "evil", "/a\nb", "", "javascript:1"]
)
async def test_the_login_leads_to_no_other_site(console: Console, where: str) -> None:
    client = await console.client()
    answer = await client.post("/login", params={"next": where}, data={"token": console.tokens["viewer"]})

    assert answer.headers["location"] == "/"


async def test_wrong_tokens_are_limited_in_rate_by_where_they_come_from(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr(console_app, "_now", lambda: now)
    client = await console.client(address="192.0.2.7")
    codes = [
        (await client.post("/login", data={"token": f"swc_{number}"})).status_code for number in range(12)
    ]
    assert codes == [403] * 10 + [429] * 2

    right = {"token": console.tokens["viewer"]}
    answer = await client.post("/login", data=right)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "6")
    assert "set-cookie" not in answer.headers
    assert (await client.get("/", headers={"Authorization": "Bearer swc_x"})).status_code == 429
    other = await console.client(address="192.0.2.8")
    assert (await other.post("/login", data=right)).status_code == 303
    now += timedelta(seconds=7)
    assert (await client.post("/login", data=right)).status_code == 303


async def test_a_token_in_an_address_is_refused_and_not_repeated(console: Console) -> None:
    client = await console.client("anna")
    token = console.tokens["anna"]
    for path in (
        f"/?x={token}",
        f"/{token}",
        "/?token=abc",
        "/api/v1/x?access_token=abc",
        f"/?q={token.replace('_', '%5F')}",
    ):
        answer = await client.get(path)
        assert answer.status_code == 400, path
        assert "does not belong in an address" in answer.text
        assert token not in answer.text
    assert (await client.get("/?tokens=1")).status_code == 200


async def test_a_form_of_another_site_or_session_changes_nothing(console: Console) -> None:
    client, other = await console.client("operator"), await console.client("operator")
    csrf = csrf_of(await client.get("/actions/pause"))
    form = {"csrf": csrf, "reason": "a test"}

    for answer in (
        await client.post("/actions/pause", data=form, headers={"Sec-Fetch-Site": "cross-site"}),
        await other.post("/actions/pause", data=form),
        await client.post("/actions/pause", data={"reason": "a test"}),
    ):
        assert answer.status_code == 403
        assert "Nothing was done" in answer.text
    assert "there is no pause" in text_of(await client.get("/actions/resume"))


async def test_who_is_taken_out_of_the_file_is_out_at_once(here: Settings, tmp_path: Path) -> None:
    async with open_console(here, tmp_path) as console:
        client, program = await console.client("admin"), await console.bearer("admin")
        assert [(await each.get("/")).status_code for each in (client, program)] == [200, 200]
        lines = console.file.read_text("utf-8").splitlines()

        console.file.write_text("\n".join(line for line in lines if not line.startswith("admin ")), "utf-8")
        assert [(await each.get("/")).status_code for each in (client, program)] == [303, 303]

        console.file.write_text("who is this\n", "utf-8")
        answer = await (await console.client()).get("/")
        assert answer.status_code == 503
        assert "line 1 is not NAME ROLE" in text_of(answer)
        console.file.unlink()
        assert "No such file" in text_of(await client.get("/"))


async def test_a_trusted_proxy_names_who_has_logged_in_there(here: Settings, tmp_path: Path) -> None:
    behind = {"console_proxy_header": "X-Forwarded-User", "console_trusted_proxies": "10.0.0.5, 10.1.0.0/16"}
    async with open_console(here, tmp_path, **behind) as console:
        console.file.write_text("berta operator proxy\n* viewer proxy\n", "utf-8")
        proxy, stranger = await console.client(address="10.1.2.3"), await console.client(address="10.2.0.1")
        berta, anybody = {"X-Forwarded-User": "berta"}, {"X-Forwarded-User": "carl"}

        assert (await stranger.get("/", headers=berta)).status_code == 303, "anybody can write a header"
        assert "carl (viewer)" in text_of(await proxy.get("/", headers=anybody))
        form = await proxy.get("/actions/pause?org=x", headers=berta)
        answer = await proxy.post(
            "/actions/pause?org=x", headers=anybody, data={"csrf": csrf_of(form), "reason": "no"}
        )
        assert answer.status_code == 403
        answer = await proxy.post(
            "/actions/pause?org=x", headers=berta, data={"csrf": csrf_of(form), "reason": "yes"}
        )
        assert answer.status_code == 303
        assert "by berta via console" in text_of(await proxy.get("/actions/resume?org=x", headers=berta))

        secure = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.9, 10.1.9.9"}
        for _ in range(10):
            await proxy.post("/login", data={"token": "x"}, headers=secure)
        answer = await proxy.post("/login", data={"token": "x"}, headers=secure)
        assert "from 198.51.100.9." in text_of(answer)
        assert (await proxy.post("/login", data={"token": "x"})).status_code == 403


async def test_the_cookie_is_secure_behind_a_proxy_that_speaks_tls(here: Settings, tmp_path: Path) -> None:
    behind = {"console_proxy_header": "X-User", "console_trusted_proxies": "10.0.0.5"}
    async with open_console(here, tmp_path, **behind) as console:
        answers = [
            await (await console.client(address=address)).post(
                "/login", data={"token": console.tokens["viewer"]}, headers={"X-Forwarded-Proto": "https"}
            )
            for address in ("10.0.0.5", "10.0.0.6")
        ]
        assert ["Secure" in answer.headers["set-cookie"] for answer in answers] == [True, False]


async def test_pausing_and_resuming_are_on_record_with_who_and_why(console: Console) -> None:
    client = await console.client("operator")
    refused = await client.post(
        "/actions/pause", data={"csrf": csrf_of(await client.get("/actions/pause")), "reason": " "}
    )
    assert (refused.status_code, "A reason is required" in text_of(refused)) == (400, True)

    hostile = "<script>alert(1)</script> \u202etxt"
    page = await act(client, "/actions/pause?org=<b>org</b>", reason=hostile, minutes="60")
    assert "<script>alert" not in page.text
    assert "Done: line" in text_of(page)
    assert "the requests of <b>org</b>, by operator via console" in text_of(page)
    again = text_of(await client.get("/actions/pause?org=<b>org</b>"))
    assert "It takes the place of a pause by operator via console" in again
    gone = await act(client, "/actions/resume?org=<b>org</b>", reason="it is over")
    assert "the requests of <b>org</b>" not in text_of(gone)
