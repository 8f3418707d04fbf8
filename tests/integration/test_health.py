"""A worker reports its health and metrics over HTTP."""

import asyncio
import json
import socket
from itertools import count

import aiohttp
import asyncpg
import pytest
from pydantic import SecretStr
from support.faults.proxy import proxy_to
from support.harness import Desk, NewWorker, good_request, http_get
from support.nobodys_port import nobodys_port

from worker.console.health import Health
from worker.errors import SettingsError
from worker.monitoring import log
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.settings import Settings
from worker.stack import Stack


async def test_a_worker_that_waits_for_its_servers_is_alive_and_not_ready(new_worker: NewWorker) -> None:
    with nobodys_port() as port:
        worker = await new_worker(
            until_ready=False,
            amqp_url=SecretStr(f"amqp://guest:hidden-word@127.0.0.1:{port}/"),
            database_url=SecretStr(f"postgresql://user:hidden-word@127.0.0.1:{port}/x"),
        )

        assert await http_get(worker, "/livez") == (200, '{"status": "alive"}')
        status, page = await http_get(worker, "/readyz")

        assert status == 503
        shown = json.loads(page)
        assert shown["status"] == "not ready"
        assert set(shown["reasons"]) == {"postgres", "requests", "responses"}
        assert "hidden-word" not in page
        worker.stop_event.set()
        await asyncio.wait_for(worker.task, 60)


async def test_a_worker_at_work_is_alive_and_ready(new_worker: NewWorker) -> None:
    worker = await new_worker()

    assert await http_get(worker, "/livez") == (200, '{"status": "alive"}')
    assert await http_get(worker, "/readyz") == (200, '{"status": "ready"}')


async def test_readiness_goes_with_the_broker_and_comes_back_with_it(
    stack: Stack, new_worker: NewWorker, desk: Desk
) -> None:
    async with proxy_to(stack.amqp_url) as (proxy, url):
        worker = await new_worker(amqp_url=SecretStr(url))
        down = [asyncio.create_task(worker.readiness.until_down(part)) for part in ("requests", "responses")]

        cut = proxy.cut(refuse=True)
        assert cut in (2, 3, 4), "nobody waits for those of the direct replies and of the queues' depths"
        await asyncio.wait_for(asyncio.gather(*down), 60)

        status, page = await http_get(worker, "/readyz")
        assert status == 503
        assert set(json.loads(page)["reasons"]) == {"requests", "responses"}
        assert (await http_get(worker, "/livez"))[0] == 200
        await desk.send(request := good_request())
        proxy.heal()
        await asyncio.wait_for(worker.readiness.until_up(), 60)
        assert (await http_get(worker, "/readyz"))[0] == 200
        assert json.loads((await desk.next()).body)["request_id"] == request["request_id"]
        await worker.stop()


async def test_readiness_goes_with_postgres_and_comes_back_with_it(
    settings: Settings, new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    async with proxy_to(settings.database_url.get_secret_value()) as (proxy, url):
        worker = await new_worker(database_url=SecretStr(url))
        down = asyncio.create_task(worker.readiness.until_down("postgres"))

        assert proxy.cut(refuse=True) >= settings.pool_size
        await desk.send(request := good_request())
        await asyncio.wait_for(down, 60)

        status, page = await http_get(worker, "/readyz")
        assert (status, list(json.loads(page)["reasons"])) == (503, ["postgres"])
        proxy.heal()
        assert json.loads((await desk.next()).body)["request_id"] == request["request_id"]
        await asyncio.wait_for(worker.readiness.until_up(), 60)
        assert await db.fetchval("select attempt from requests") == 1
        await worker.stop()


async def test_a_port_that_is_taken_is_a_settings_error(new_worker: NewWorker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(SettingsError, match=rf"^WORKER_HTTP_PORT: cannot listen on 127\.0\.0\.1:{port}"):
            await new_worker(http_port=port)


async def test_an_address_of_another_machine_is_a_settings_error(new_worker: NewWorker) -> None:
    for host in ("no-such-host.invalid", "a..b"):
        with pytest.raises(SettingsError, match=r"^WORKER_HTTP_HOST: "):
            await new_worker(http_host=host)


async def test_what_is_no_http_leaves_nothing_of_it_in_the_log(
    new_worker: NewWorker, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(settings)
    worker = await new_worker()
    for sent in (
        b"GET /livez HTTP/1.1\r\nAuthorization: Bearer canary" + b"a" * 9000,
        b"\x16\x03\x01 canary",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", worker.http_port)
        writer.write(sent + b"\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    assert (await http_get(worker, "/livez"))[0] == 200

    said = capsys.readouterr().err
    assert "canary" not in said
    assert "Traceback" not in said


async def test_metrics_may_need_a_token_and_health_never_does(new_worker: NewWorker) -> None:
    worker = await new_worker(metrics_token=SecretStr("conspicuous-wörd"))
    url = f"http://127.0.0.1:{worker.http_port}/metrics"
    asked = [{}, {"Authorization": "Bearer conspicuous"}, {"Authorization": "Basic conspicuous-wörd"}]
    async with aiohttp.ClientSession() as client:
        for headers in asked:
            async with client.get(url, headers=headers) as answer:
                assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
                assert "worker_" not in await answer.text()
        async with client.get(url, headers={"Authorization": "bearer  conspicuous-wörd"}) as answer:
            assert answer.status == 200
            assert "worker_part_up" in await answer.text()
    assert (await http_get(worker, "/readyz"))[0] == 200


async def test_those_who_ask_for_metrics_at_once_share_a_page_that_is_of_no_time_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics, pages = Metrics(), count()
    monkeypatch.setattr(metrics, "page", lambda _accept: (b"%d" % next(pages), "text/plain"))
    health = Health(Readiness(()), metrics)

    first = await health.page_of(metrics, "")
    at_once = await asyncio.gather(*(health.page_of(metrics, "") for _ in range(50)))

    assert first[0] == b"0"
    assert {text for text, _ in at_once} == {b"1"}
    assert (await health.page_of(metrics, "other"))[0] == b"2"
