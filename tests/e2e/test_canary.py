"""A worker that runs as users run it, at debug level, lets a secret out nowhere."""

import base64
import json
import os
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from support.contract.secret_payloads import PHONE, secret_payloads
from support.harness import Desk, declare_topology, eventually, good_request
from support.secret_search import everything_in, traces_of
from support.worker_process import running_worker

from worker.settings import Settings

CANARY = "canary-of-the-worst-cases-5f1e"


def worst_cases() -> list[bytes]:
    """Returns requests that fail, each with the secret in the place that fails."""
    good = good_request(None, phone_number={**PHONE, "twilio_auth_token": CANARY})

    def variant(**changes: Any) -> bytes:
        return json.dumps(good | {"request_id": str(uuid4())} | changes).encode()

    number = good["payload"]["phone_number"]
    return [
        variant(operation=CANARY),
        variant(org_id={"a": CANARY}),
        variant(payload={"phone_number": {**number, "sms_enabled": CANARY}}),
        variant(payload={"phone_number": {**number, "twilio_auth_token": [CANARY]}}),
        variant(payload={"phone_number": CANARY, "expiration_seconds": CANARY}),
        variant(payload={"assistant": {"voice": {"provider": CANARY}}}),
        variant(payload={"messages": [{"role": CANARY}]}),
        variant(timestamp=CANARY),
        variant(request_id=f"no-uuid-{CANARY}"),
        variant(metadata={"a": f"{CANARY}\0"}),
        variant()[:-1],
        variant() + b"}",
        variant() + b"\xff",
        variant()[:-1] + f', "org_id": "{CANARY}"}}'.encode(),
        variant()[:-1] + f', "metadata": {{"a": NaN, "b": "{CANARY}"}}}}'.encode(),
        b"[" + variant() + b"]",
        variant(metadata={"padding": "x" * 1_100_000}),
        CANARY.encode(),
    ]


@pytest.mark.parametrize("handler", ["", "support.handlers:blurts_out_secrets"], ids=["built-in", "handler"])
async def test_no_secret_leaves_the_worker(
    settings: Settings,
    desk: Desk,
    db: asyncpg.Connection,
    tmp_path: Path,
    passwords: list[str],
    handler: str,
) -> None:
    await declare_topology(settings)
    key = base64.b64encode(os.urandom(32)).decode()
    cases = secret_payloads()
    first = good_request(None, phone_number={**PHONE, "twilio_auth_token": CANARY})
    sent = [good_request(None, **case.payload) for case in cases] + [first]
    async with running_worker(
        settings,
        tmp_path,
        WORKER_SEAL_KEYS=f"k1:{key}",
        WORKER_HANDLER=handler,
        WORKER_MAX_ATTEMPTS="2",
        WORKER_RETRY_SECONDS="0",
        WORKER_RETRY_BASE_SECONDS="0.01",
    ) as worker:
        for request in sent:
            await desk.send(request)
        answers = await desk.different(len(sent))
        await desk.send(first | {"org_id": "other"})  # a conflict
        answers += await desk.different(1)
        bad = worst_cases()
        for body in bad:
            await desk.send(body)
        answers += await desk.different(len(bad))  # a dead letter is answered, too, once it lies there
        metrics = await worker.metrics()
        counts = re.findall(r"^worker_dead_letters_total(?:{.*})? (\S+)$", metrics, re.MULTILINE)
        buried = sum(map(float, counts))

        async def all_in_custody() -> bool:
            return bool(await db.fetchval("select count(*) = $1 from dead_letters", int(buried)))

        await eventually(all_in_custody)

    assert buried >= 2
    assert await db.fetchval("select bool_and(sealed_by = 'k1') from dead_letters")
    statuses = [json.loads(answer.body)["status"] for answer in answers]
    assert statuses.count("completed") == (0 if handler else len(sent))
    ways_out = {
        "log": worker.said,
        "database": await everything_in(db),
        "metrics": metrics,
        "responses": "".join(f"{answer.body.decode()}{answer.info()}" for answer in answers),
    }
    assert f'"request_id": "{first["request_id"]}"' in ways_out["log"], "the log is at debug level"
    assert "worker_requests_total" in metrics
    for secret in [*(case.canary for case in cases), CANARY, key, *passwords]:
        for way, text in ways_out.items():
            assert traces_of(secret, text) == [], way
