"""Which organisations a user of the broker may act for, as the setting says it; and where answers may go."""

import json
from pathlib import Path

import pytest

from worker.errors import RefusedQueue, SettingsError
from worker.messages.reply_rule import ReplyRule
from worker.settings import read_settings
from worker.steps.limits import limits_of
from worker.whose import orgs_of_users

URLS = {"amqp_url": "amqp://work%40er:x@one,two:5673/%2F", "database_url": "postgresql://h/d"}
TABLE = {"tenant-{org}": "{org}", "billing": ["7", "8"], "tenant-5": "9", "console": "*", "{org}": "{org}"}
ASKED = ["5", "7", "8", "9", "*", "tenant-7", "tenant-5", "tenant-", "Tenant-7", "billing", None]


@pytest.mark.parametrize(
    ("user", "orgs"),
    [
        ("tenant-7", {"7", "tenant-7"}),
        ("tenant-5", {"5", "9", "tenant-5"}),
        ("tenant-", {"tenant-"}),
        ("Tenant-7", {"Tenant-7"}),
        ("billing", {"7", "8", "billing"}),
        ("console", set(ASKED)),
        ("worker", set(ASKED)),
        ("nobody", set()),
        (None, set()),
    ],
)
def test_a_user_may_act_for_what_any_entry_gives_it_and_for_no_other(
    user: str | None, orgs: set[str | None]
) -> None:
    read = orgs_of_users(json.dumps(TABLE), "worker")

    assert {org for org in ASKED if read.may_act(user, org)} == orgs


def test_a_pattern_stands_for_itself_and_a_file_for_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    file.write_text('{"crm": "org-9"}', "utf-8")

    by_pattern = limits_of(read_settings(**URLS, org_of_user="{org}.producer")).orgs
    by_file = limits_of(read_settings(**URLS, org_of_user=str(file))).orgs
    unset = read_settings(**URLS)

    assert by_pattern is not None
    assert by_pattern.may_act("org-1.producer", "org-1")
    assert not by_pattern.may_act("org-1.producer", "org-2")
    assert by_pattern.may_act("work@er", None), "the worker's own user acts for all"
    assert by_file is not None
    assert by_file.may_act("crm", "org-9")
    assert (limits_of(unset).orgs, unset.sender) == (None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        "tenant", "{org}{org}", "{}", "[]", "7", '{"a": 5}', '{"a": []}', '{"a": [1]}', '{"a": ""}',
        '{"a": "{org}"}', '{"a-{org}": "*"}', '{"a-{org}": ["7"]}',
        "/there/is/no/such/file.json",
    ],
)  # fmt: skip
def test_what_says_nothing_of_users_is_a_wrong_setting(wrong: str) -> None:
    with pytest.raises(SettingsError, match="WORKER_ORG_OF_USER: "):
        read_settings(**URLS, org_of_user=wrong)
    with pytest.raises(SettingsError, match="WORKER_REPLY_TO_PATTERN: is no regular expression"):
        read_settings(**URLS, reply_to_pattern="(")


def test_answers_go_to_queues_of_the_pattern_and_to_those_that_the_broker_has_named() -> None:
    rule = limits_of(read_settings(**URLS, prefix="p", reply_to_pattern=r".+\.(replies|responses)")).replies
    queues = ["a.replies", "a.replies2", "p.requests", "p.responses", "amq.gen-x", "amq.rabbitmq.reply-to.x"]

    assert [queue for queue in queues if rule.refuses(queue)] == ["a.replies2", "p.requests", "p.responses"]
    assert ReplyRule().refuses("p.requests") is None
    for queue, why in (("p.dead", "one of the worker's own"), ("a", "WORKER_REPLY_TO_PATTERN has")):
        with pytest.raises(RefusedQueue, match=why):
            rule.require(queue)
    rule.require("a.replies")
