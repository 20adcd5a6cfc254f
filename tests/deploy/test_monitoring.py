"""What is given to the engineer on call fits what the service really says.

Rules and dashboard are read with the metrics that the roles register; promtool runs the tests of
the rules.
"""

import json
import re
import shutil
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from afstand.archiving import ArchiveMetrics
from afstand.auditing import AuditMetrics
from afstand.config import Config
from afstand.watch.fold import Watch
from afstand.watch.metrics import BookCollector, WatchMetrics
from alerting.book.indicators import FLOOD_BEGINS_ABOVE
from alerting.notify.metrics import Metrics as NotifyMetrics
from console.api.services import Metrics as ConsoleMetrics
from ingest.metrics import IntakeMetrics
from ingest.trackers import TrackerMetrics
from tests.deploy.command_roles import SECTIONS, command_roles
from tests.deploy.promtool import PROMETHEUS, ROOT, RULES, run

DASHBOARD = ROOT / "deploy" / "grafana" / "afstand.json"
RUNBOOKS = ROOT / "docs" / "on-call" / "runbooks.md"
SELECTOR = re.compile(r"\b(afstand_\w+|up)\b(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
OF_PROMETHEUS = {"job", "instance", "role", "le"}


def metrics() -> dict[str, set[str]]:
    """Every series that the roles expose, with its labels."""
    registry = CollectorRegistry()
    for kind in (IntakeMetrics, WatchMetrics, NotifyMetrics, ArchiveMetrics, TrackerMetrics,
                 AuditMetrics, ConsoleMetrics):  # fmt: skip
        kind(registry)
    found: dict[str, set[str]] = {"up": set()}
    collectors: dict[Any, list[str]] = registry._collector_to_names
    for collector, names in collectors.items():
        for name in names:
            if collector._type == "counter" and not name.endswith("_total"):
                continue
            found[name] = set(collector._labelnames)
    # Read when somebody asks, so not registered by name.
    book = BookCollector({"0": Watch("0").figures})
    for family in book.collect():
        found[family.name] = {label for one in family.samples for label in one.labels}
    return found


def problems(expression: str, known: dict[str, set[str]]) -> list[str]:
    """Names of metrics and labels in an expression that do not exist."""
    found, labels = [], set(OF_PROMETHEUS)
    for name, selector in SELECTOR.findall(expression):
        base = name.removesuffix("_bucket")
        if name not in known and base not in known:
            found.append(name)
            continue
        own = known.get(name, known.get(base, set())) | OF_PROMETHEUS
        labels |= own
        found += [
            f"{name}{{{label}}}" for label in re.findall(r"(\w+)\s*=", selector) if label not in own
        ]
    for group in GROUPING.findall(expression):
        found += [f"by {name}" for name in re.split(r",\s*", group) if name not in labels]
    return found


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def test_rules_and_dashboard_ask_for_what_exists():
    known = metrics()
    asked = [rule["expr"] for rule in RULES] + expressions()
    assert len(expressions()) > 20
    assert [problem for expression in asked for problem in problems(expression, known)] == []
    tests = yaml.safe_load((PROMETHEUS / "afstand.test.yml").read_text())["tests"]
    series = [one["series"] for test in tests for one in test["input_series"]]
    assert [problem for one in series for problem in problems(one, known)] == []


@pytest.mark.parametrize(
    "expression",
    ["rate(afstand_intake_recieved_total[1m])", 'afstand_intake_ready{partition="0"}',
     "sum by (target) (afstand_watch_lag_seconds)", "afstand_intake_received"],
)  # fmt: skip
def test_a_name_that_does_not_exist_is_found(expression):
    assert problems(expression, metrics())


def test_every_rule_has_its_test_its_runbook_and_words_for_a_person():
    tests = yaml.safe_load((PROMETHEUS / "afstand.test.yml").read_text())["tests"]
    headings = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names)) > 25
    assert sorted(headings) == sorted(names)
    fired = {"AfstandWatchdog"}  # in the test of a healthy service
    for test in tests[1:]:
        (check,) = test["promql_expr_test"]
        assert test["name"] in check["expr"]
        assert check["exp_samples"], test["name"]
        fired.add(test["name"])
    assert fired == set(names)
    for rule in RULES:
        url = rule["annotations"]["runbook_url"]
        assert url.endswith(f"/on-call/runbooks/#{rule['alert'].lower()}")
        assert rule["annotations"]["summary"].endswith((".", ".}"))
        assert rule["labels"]["severity"] in ("page", "ticket", "none")


def test_every_runbook_says_what_to_do():
    parts = re.split(r"^## \w+$", RUNBOOKS.read_text(), flags=re.MULTILINE)[1:]
    for part in parts:
        assert re.search(r"^\*\*What it means\.\*\* \S", part, re.MULTILINE), part
        assert re.search(r"^1\. \S", part, re.MULTILINE), part


def test_the_dashboard_names_its_panels_once_and_lays_none_over_another():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_example_of_prometheus_scrapes_the_default_ports():
    example = yaml.safe_load((PROMETHEUS / "prometheus.example.yml").read_text())
    (job,) = example["scrape_configs"]
    config = Config()
    wanted = {
        role: [getattr(config, SECTIONS.get(role, role)).health_port] for role in command_roles()
    }
    wanted["watch"] = [config.watch.health_port + index for index in range(config.watch.replicas)]
    found = {
        one["labels"]["role"]: [int(target.rpartition(":")[2]) for target in one["targets"]]
        for one in job["static_configs"]
    }
    assert found == wanted
    assert job["job_name"] == "afstand"


def test_the_rule_of_the_flood_asks_for_figures_that_the_book_has():
    (rule,) = [one for one in RULES if one["alert"] == "AfstandAlarmFlood"]
    asked = set(re.findall(r'figure="(\w+)"', rule["expr"]))
    assert asked == {"alarms_10min", "operators"}
    assert asked <= Watch("0").figures().keys()
    assert f"> {FLOOD_BEGINS_ABOVE} *" in rule["expr"]


def test_promtool_runs_the_tests_of_the_rules():
    done = run("test", "rules", PROMETHEUS / "afstand.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_rules_example_and_every_expression_of_the_dashboard(tmp_path):
    rules = [
        {"record": f"panel:{n}", "expr": expression.replace("$__rate_interval", "1m")}
        for n, expression in enumerate(expressions())
    ]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "x", "rules": rules}]}))
    for arguments in (
        ("check", "rules", tmp_path / "panels.yml"),
        ("check", "rules", PROMETHEUS / "afstand.rules.yml"),
        ("check", "config", PROMETHEUS / "prometheus.example.yml"),
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


PARTS = {"process", "intake", "broker", "store", "replica", "receiver"}
LOSSES = [rule["alert"] for rule in RULES if "lost" in rule["labels"]]


def test_the_loss_of_each_part_has_its_rule():
    assert {rule["labels"]["lost"] for rule in RULES if "lost" in rule["labels"]} == PARTS


def test_the_page_that_is_printed_has_the_loss_of_each_part():
    page = (ROOT / "docs/operating/degraded-mode.md").read_text()
    named = re.findall(r"`(Afstand\w+)`", page)
    rules = {rule["alert"]: rule["labels"] for rule in RULES}
    assert set(named) <= rules.keys()
    assert {rules[name].get("lost") for name in named} >= PARTS
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`Afstand" in line]
    assert len(rows) >= 10
    assert all(len(cell.strip()) > 3 for row in rows for cell in row.strip("|").split("|"))


@pytest.mark.parametrize("stops", [True, False])
def test_the_watchdog_stops_while_a_part_is_lost_and_goes_on_otherwise(tmp_path, stops):
    """The tests of the rules, each asked for the watchdog when its rule fires."""
    tests = yaml.safe_load((PROMETHEUS / "afstand.test.yml").read_text())
    asked = [one for one in tests["tests"][1:] if (one["name"] in LOSSES) is stops]
    assert len(asked) >= len(PARTS)
    firing = [{"labels": '{alertname="AfstandWatchdog"}', "value": 1}]
    there = [f'up{{job="afstand", role="{role}", instance="x"}}'
             for role in ("intake", "watch", "notify")]  # fmt: skip
    for one in asked:
        if one["name"] != "AfstandRoleMissing":
            one["input_series"] += [{"series": series, "values": "1x400"} for series in there]
        (check,) = one["promql_expr_test"]
        check["expr"] = 'count by (alertname) (ALERTS{alertname="AfstandWatchdog"})'
        check["exp_samples"] = [] if stops else firing
    (tmp_path / "afstand.test.yml").write_text(json.dumps({**tests, "tests": asked}))
    shutil.copy(PROMETHEUS / "afstand.rules.yml", tmp_path)
    done = run("test", "rules", tmp_path / "afstand.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("at", [1, 12, 27, 36])
def test_a_rule_that_does_not_fire_fails_its_test(tmp_path, at):
    document = {"groups": [{"name": "afstand", "rules": [dict(rule) for rule in RULES]}]}
    rule = document["groups"][0]["rules"][at]
    rule["expr"] = f"({rule['expr']}) and on() (vector(1) == 0)"
    (tmp_path / "afstand.rules.yml").write_text(json.dumps(document))
    tests = yaml.safe_load((PROMETHEUS / "afstand.test.yml").read_text())
    tests["tests"] = [test for test in tests["tests"] if test["name"] == rule["alert"]]
    (tmp_path / "afstand.test.yml").write_text(json.dumps(tests))
    done = run("test", "rules", tmp_path / "afstand.test.yml")
    assert done.returncode == 1
    assert rule["alert"] in done.stdout + done.stderr
