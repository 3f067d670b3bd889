"""Alert rules and the dashboard that we ship: they are what their programs read, and name only metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.harness.measured import Parts, families, promtool

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "configs" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "configs" / "grafana" / "pinhole.json"
NAME = re.compile(r"\b(?:pinhole|process)_[a-z_]+")


def expressions(value: Any) -> Iterator[str]:
    """Every query in what Grafana or Prometheus reads."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("expr", "definition") and isinstance(inner, str):
                yield inner
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


async def unknown(queries: list[str]) -> set[str]:
    """Names in these queries that a daemon does not tell from its start."""
    parts = Parts()
    known = families(await parts.text())
    await parts.measuring.stop()
    named = {name for query in queries for name in NAME.findall(query)}
    assert len(named) > 5
    return named - known


def test_promtool_accepts_the_alerts() -> None:
    assert "12 rules found" in promtool("check", "rules", str(ALERTS))


def test_each_alert_comes_where_it_should_and_only_there(tmp_path: Path) -> None:
    given = (Path(__file__).parent / "alerts_test.yaml").read_text().replace("ALERTS", str(ALERTS))
    (tmp_path / "test.yaml").write_text(given)
    promtool("test", "rules", str(tmp_path / "test.yaml"))


def test_every_alert_is_tested() -> None:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    tests = yaml.safe_load((Path(__file__).parent / "alerts_test.yaml").read_text())["tests"]
    assert {rule["alert"] for rule in rules} == {case["alertname"] for one in tests for case in one["alert_rule_test"]}


async def test_the_alerts_name_only_metrics_that_exist() -> None:
    assert await unknown(list(expressions(yaml.safe_load(ALERTS.read_text())))) == set()


async def test_the_dashboard_names_only_metrics_that_exist() -> None:
    assert await unknown(list(expressions(json.loads(DASHBOARD.read_text())))) == set()


async def test_the_page_about_monitoring_has_a_row_for_each_metric_and_no_other() -> None:
    parts = Parts()
    told = re.findall(r"# HELP (pinhole_\S+) (.*)", await parts.text())
    await parts.measuring.stop()
    rows = re.findall(
        r"^\| `(pinhole_\w+)` \|.*\| (.*) \|$", (ROOT / "docs" / "monitoring.md").read_text(), re.MULTILINE
    )
    assert sorted(rows) == sorted(told)


def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    queries = [
        query for query in expressions(json.loads(DASHBOARD.read_text())) if not query.startswith("label_values")
    ]
    plain = [query.replace("$__rate_interval", "5m").replace("$instance", ".*") for query in queries]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(plain)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", str(tmp_path / "rules.yaml"))


def test_panels_of_the_dashboard_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
