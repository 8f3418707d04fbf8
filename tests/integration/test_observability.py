"""What deploy/observability holds is whole, agrees with the docs, and asks for metrics that there are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.metrics_table import documented
from support.prometheus import OBSERVABILITY, promtool

ROOT = Path(__file__).parents[2]
RULES = (OBSERVABILITY / "rules.yml").read_text("utf-8")
CASES = (OBSERVABILITY / "rules_test.yml").read_text("utf-8")
DASHBOARD = json.loads((OBSERVABILITY / "grafana" / "session-worker.json").read_text("utf-8"))
NOT_OURS = {"process_resident_memory_bytes"}
_ALERT = re.compile(r"^      - alert: (\w+)\n(.*?)(?=^      - |^  - |\Z)", re.MULTILINE | re.DOTALL)
_RECORD = re.compile(r"^      - record: (\S+)$", re.MULTILINE)
_CASE = re.compile(r"alertname: (\w+)\n +exp_alerts:\n(.*?)(?=\n  - name:|\Z)", re.DOTALL)
_TITLE = re.compile(r"^### (\w+)$", re.MULTILINE)
_NAMES = re.compile(r"\b(?:worker|process|session_worker)[\w:]*(?=[\[{) ]|$)", re.MULTILINE)
_SELECTOR = re.compile(r"\{[^}]*\}")
_PARTS_OF_A_HISTOGRAM = re.compile(r"_(?:bucket|sum|count)$")


def test_each_alert_has_its_for_severity_case_and_paragraph() -> None:
    told = {
        (name, severity)
        for name, shown in _CASE.findall(CASES)
        for severity in re.findall(r"exp_labels: \{.*severity: (\w+)\}", shown)
    }
    alerts = _ALERT.findall(RULES)

    assert len(alerts) > 20
    for name, rule in alerts:
        assert re.search(r"^        for: \d+[smh]$", rule, re.MULTILINE), name
        severity = re.search(r"^        labels: \{severity: (page|ticket)\}$", rule, re.MULTILINE)
        assert severity, name
        assert (name, severity[1]) in told, f"no case of rules_test.yml tells {name}, {severity[1]}"
        assert f"runbook: docs/on-call.md#{name.lower()}\n" in rule
    assert {name for name, _ in alerts} == set(
        _TITLE.findall((ROOT / "docs" / "on-call.md").read_text("utf-8"))
    )


async def test_each_alert_is_quiet_before_and_told_once_it_has_lasted() -> None:
    await promtool("test", "rules", OBSERVABILITY / "rules_test.yml")


def queries() -> list[str]:
    """Returns each query of the dashboard, with a value for what Grafana fills in."""
    asked: list[dict[str, Any]] = [
        *(target for panel in DASHBOARD["panels"] for target in panel.get("targets", ())),
        *DASHBOARD["annotations"]["list"],
    ]
    return [one["expr"].replace("$__rate_interval", "1m") for one in asked]


async def test_each_query_of_the_dashboard_parses(tmp_path: Path) -> None:
    rules = [{"record": f"q{number}", "expr": query} for number, query in enumerate(queries())]
    page = tmp_path / "queries.yml"
    page.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), "utf-8")

    assert len(rules) > 40
    assert f"{len(rules)} rules found" in await promtool("check", "rules", page)


def test_rules_and_dashboard_name_only_metrics_and_labels_that_there_are() -> None:
    records = set(_RECORD.findall(RULES))
    there = documented()
    rules = re.sub(r"^ *(?:#|summary:|runbook:|- record:|- name:).*$", "", RULES, flags=re.MULTILINE)
    variables = [one["definition"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    for text in [rules, *queries(), *variables]:
        named = {
            name if name in there else _PARTS_OF_A_HISTOGRAM.sub("", name)
            for name in _NAMES.findall(_SELECTOR.sub("", text))
        }
        assert named - there.keys() - records - NOT_OURS == set()
    for metric, selector in re.findall(r"\b(worker_\w+)\{([^}]*)\}", "\n".join([rules, *queries()])):
        labels = set(re.findall(r"(\w+)(?==|!=)", selector)) - {"job", "instance", "le"}
        name = metric if metric in there else _PARTS_OF_A_HISTOGRAM.sub("", metric)
        assert labels - there[name] == set(), metric


@pytest.mark.parametrize("file", ["prometheus.yml"])
async def test_the_configuration_of_the_compose_profile_is_one(file: str) -> None:
    await promtool("check", "config", OBSERVABILITY / file)
