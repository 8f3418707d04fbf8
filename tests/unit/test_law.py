"""The law of `worker/law.py` holds together, and names what there is in the SQL and in the code."""

import pytest
from support.statements import (
    method_names,
    methods_by_statement,
    moves_requests,
    that_move_requests,
    that_write_leases,
)

from schemas import RequestStatus
from worker import law

STEPS: list[law.Step | law.LeaseStep] = [*law.REQUEST, *law.LEASE]


def test_each_statement_that_moves_a_request_is_in_the_law_and_no_other() -> None:
    assert {step.statement for step in law.REQUEST} == that_move_requests()


def test_each_statement_that_writes_a_lease_is_in_the_law_and_no_other() -> None:
    assert {step.statement for step in law.LEASE if step.by != law.TIME} == that_write_leases()


@pytest.mark.parametrize(
    ("sql", "moves"),
    [
        ("update requests set lease = $1, status = 'failed' where true", True),
        ("update requests\nset attempt = attempt + 1", True),
        ("insert into requests (request_id) values ($1)", True),
        ("delete from requests where true", True),
        ("select retired from retire_requests($1, 2)", True),
        ("select * from claim_waiting($1, 2, 3, 4)", True),
        ("update requests set lease = null where status = 'failed'", False),
        ("insert into other_answers (status) values ($1)", False),
        ("-- update requests set status = 'failed'\nselect 1", False),
    ],
)
def test_a_statement_that_moves_requests_is_known_by_its_text(sql: str, moves: bool) -> None:
    assert moves_requests(sql) is moves


@pytest.mark.parametrize("step", [step for step in STEPS if step.statement], ids=str)
def test_the_method_that_the_law_names_is_the_one_that_runs_the_statement(
    step: law.Step | law.LeaseStep,
) -> None:
    assert [method.name for method in methods_by_statement()[step.statement]] == [step.function]


def test_what_makes_a_lease_run_out_in_the_end_is_a_method_that_there_is() -> None:
    by_time = [step for step in law.LEASE if step.by == law.TIME]

    assert {step.statement for step in by_time} == {""}
    assert {step.function for step in by_time} <= method_names()


def test_a_request_s_steps_lead_from_its_beginning_through_every_status_to_its_end() -> None:
    named = {law.BEGIN, *law.STATES, law.GONE}

    assert {step.before for step in law.REQUEST} == named - {law.GONE}
    assert {step.after for step in law.REQUEST} == named - {law.BEGIN}
    for status, has in law.STATES.items():
        ends = {step.after for step in law.steps_from(status)} == {law.GONE}
        assert ends is has.finished, "a finished request goes nowhere but away"


def test_no_two_steps_say_the_same() -> None:
    for steps in (law.REQUEST, law.LEASE):
        said = [(step.before, step.after, step.statement) for step in steps]
        assert len(set(said)) == len(said)


def test_a_lease_s_steps_lead_from_its_beginning_to_its_end() -> None:
    places = {law.BEGIN, law.HELD, law.RUN_OUT, law.FREE, law.GONE}

    assert {step.before for step in law.LEASE} == places - {law.GONE}
    assert {step.after for step in law.LEASE} == places - {law.BEGIN}


def test_the_statuses_are_those_of_the_contract() -> None:
    assert set(law.STATES) == {status.value for status in RequestStatus}


@pytest.mark.parametrize(
    "history",
    [
        [("pending", 0)],
        [("pending", 0), ("processing", 1)],
        [("pending", 0), ("processing", 1), ("processing", 2), ("processing", 3), ("failed", 3)],
        [("pending", 0), ("processing", 1), ("completed", 1)],
    ],
)
def test_a_legal_history(history: list[law.Place]) -> None:
    assert law.is_legal(history)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [("processing", 1)],
        [("pending", 1)],
        [("pending", 0), ("pending", 0)],
        [("pending", 0), ("processing", 2)],
        [("pending", 0), ("failed", 0)],
        [("pending", 0), ("processing", 1), ("processing", 1)],
        [("pending", 0), ("processing", 1), ("processing", 3)],
        [("pending", 0), ("processing", 1), ("completed", 2)],
        [("pending", 0), ("processing", 1), ("completed", 1), ("failed", 1)],
        [("pending", 0), ("processing", 1), ("failed", 1), ("processing", 2)],
    ],
)
def test_an_illegal_history(history: list[law.Place]) -> None:
    assert not law.is_legal(history)


def test_a_request_may_be_inserted_as_waiting_or_as_claimed_for_the_first_time() -> None:
    assert law.beginnings() == {("pending", 0), ("processing", 1)}
