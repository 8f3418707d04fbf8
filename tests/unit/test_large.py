"""Bodies that are too large are searched as they come, and not kept."""

import json
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.messages.large_bodies import Dropped, Sieve
from worker.messages.request_ids import id_in_text

FRAME = 131_072


def sifted(body: bytes, piece: int = FRAME) -> tuple[bytes, Dropped | None]:
    sieve = Sieve()
    for start in range(0, len(body), piece):
        sieve.add(body[start : start + piece])
    return sieve.end()


@pytest.mark.parametrize("padding", [0, 1, FRAME - 60, FRAME - 20, FRAME, 5 * FRAME + 7])
def test_the_id_is_found_wherever_it_lies_and_nothing_else_is_kept(padding: int) -> None:
    request_id = uuid4()
    body = json.dumps({"a": "x" * padding, "request_id": str(request_id), "b": "y" * FRAME}).encode()

    kept, dropped = sifted(body)

    assert kept == b""
    assert dropped is not None
    assert (dropped.size, dropped.request_id) == (len(body), request_id)


TEXTS = st.text(alphabet='"\\\\{}[]:a', max_size=12)
TREES = st.recursive(
    TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=9
)


@given(st.dictionaries(TEXTS, TREES, max_size=3), st.booleans(), st.integers(1, 200))
def test_of_several_ids_the_request_s_own_is_found(before: dict[str, object], own: bool, piece: int) -> None:
    """It is not the id of another request that the metadata names, though that comes first."""
    another, mine = uuid4(), uuid4()
    document = {"a": before, "metadata": {"parents": [{"request_id": str(another)}]}, "b": before}
    body = json.dumps(document | ({"request_id": str(mine)} if own else {})).encode()

    _, dropped = sifted(body, piece)

    assert dropped is not None
    assert dropped.request_id == (mine if own else another) == id_in_text(body)


def test_a_body_without_an_id_is_kept_for_the_dead_letters() -> None:
    body = b"x" * (3 * FRAME)

    assert sifted(body) == (body, None)


def test_one_larger_than_any_that_rabbitmq_4_takes_is_not_kept() -> None:
    kept, dropped = sifted(b"x" * ((16 << 20) + 1), piece=1 << 20)

    assert kept == b""
    assert dropped is not None
    assert (dropped.size, dropped.request_id) == ((16 << 20) + 1, None)


def test_the_digest_tells_a_repeat_from_another_request() -> None:
    body = b'{"request_id": "%s", "x": "%s"}' % (str(uuid4()).encode(), b"x" * FRAME)

    one, same, other = (sifted(body, 1000)[1], sifted(body, 77)[1], sifted(body + b" ")[1])

    assert one == same
    assert one is not None and other is not None  # noqa: PT018
    assert one.digest != other.digest


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(1, 400), st.booleans())
def test_pieces_find_what_the_whole_text_holds(before: bytes, after: bytes, piece: int, there: bool) -> None:
    request_id = b'"request_id": "%s"' % str(uuid4()).encode()
    body = before + (request_id if there else b"") + after

    kept, dropped = sifted(body, piece)

    found = id_in_text(body)
    assert (dropped.request_id if dropped else None) == found
    assert kept == (b"" if found else body)
