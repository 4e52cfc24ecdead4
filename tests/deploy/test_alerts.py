"""The alerts and the dashboard, as files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

from charts import DEPLOY, ROOT, one, render, tool
from scripts import write_dashboard

ALERTS = DEPLOY / "dashboards" / "alerts.yaml"
TESTS = DEPLOY / "dashboards" / "alerts.test.yaml"


def test_promtool_accepts_the_rules_and_their_tests() -> None:
    for arguments in (("check", "rules", ALERTS), ("test", "rules", TESTS)):
        done = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_in_which_it_fires_and_a_runbook() -> None:
    rules = rules_of(ALERTS)
    fired = {
        case["alertname"]
        for group in yaml.safe_load(TESTS.read_text())["tests"]
        for case in group["alert_rule_test"]
        if case["exp_alerts"]
    }
    headings = {
        line.removeprefix("### ").lower()
        for line in (ROOT / "docs" / "operating.md").read_text().splitlines()
        if line.startswith("### ")
    }

    assert {rule["alert"] for rule in rules} == fired
    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operating.md"
        assert anchor in headings


def test_the_chart_installs_these_alerts_and_this_dashboard() -> None:
    rendered = render("scaling/hpa")

    rules = one(rendered, "PrometheusRule", "demo-tritonclip")["spec"]
    assert rules == yaml.safe_load(ALERTS.read_text())
    data = one(rendered, "ConfigMap", "demo-tritonclip-dashboards")["data"]
    assert json.loads(data["tritonclip.json"]) == write_dashboard.dashboard()


def test_the_dashboard_is_what_its_script_writes() -> None:
    assert json.loads(write_dashboard.FILE.read_text()) == write_dashboard.dashboard()


def rules_of(file: Path) -> list[dict[str, dict[str, str]]]:
    groups = yaml.safe_load(file.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]
