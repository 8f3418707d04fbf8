"""A traceparent is read as W3C writes it, and a recorded trace has a link."""

import pytest

from worker.traceparent import TraceParent, trace_id_in, trace_link

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TEMPLATE = "https://grafana.example/explore?left={%22id%22:%22{trace_id}%22}"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-03", True),  # a flag of a later level beside it
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"cc-{TRACE}-{SPAN}-01-what comes later", True),
    ],
)
def test_a_traceparent_is_read(text: str, sampled: bool) -> None:
    found = TraceParent.read(text)

    assert found == (TRACE, SPAN, sampled)
    assert trace_id_in(text) == TRACE
    assert str(found) == f"00-{TRACE}-{SPAN}-0{int(sampled)}"
    link = f"https://grafana.example/explore?left={{%22id%22:%22{TRACE}%22}}"
    assert trace_link(TEMPLATE, text) == (link if sampled else None)
    assert trace_link("", text) is None


@pytest.mark.parametrize(
    "text",
    [
        None, "", "t", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}-01\n", f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0\N{ARABIC-INDIC DIGIT ONE}",
    ],
)  # fmt: skip
def test_what_has_another_form_is_none(text: str | None) -> None:
    assert TraceParent.read(text) is None
    assert trace_id_in(text) is None
    assert trace_link(TEMPLATE, text) is None
