"""`afstand load`: scenario files, options, and a run against a real broker."""

import json
import os

import msgspec
import numpy as np
import pytest

from afstand.cases import check_cases
from afstand.cli import main
from benchmarks.load import Run, Usage, figures, table, usage
from firmware_contracts.frames import Tagger, read_header
from simulators.load_report import PhaseResult
from simulators.load_scenario import (
    LoadPhase,
    LoadScenario,
    LoadScenarioError,
    cases_of,
    checked,
    load_devices,
    plan_phase,
    read_scenario,
)
from tests.servers import MosquittoServer, free_port

GOOD = {
    "format": "afstand.load/1",
    "seed": 7,
    "devices": 20,
    "prefix": "soak",
    "phases": [
        {"for_s": 0.6, "interval_s": 0.2},
        {"for_s": 0.4, "interval_s": 0.1, "panics_per_s": 10},
    ],
}


def written(tmp_path, **changes):
    path = tmp_path / "load.json"
    path.write_text(json.dumps(GOOD | changes))
    return path


def test_a_scenario_is_read(tmp_path):
    scenario = read_scenario(written(tmp_path))
    assert (scenario.devices, scenario.connection_count, scenario.for_s) == (20, 20, 1.0)
    assert [scenario.messages(phase) for phase in scenario.phases] == [60, 84]
    assert LoadScenario(devices=5_000).connection_count == 1_000
    assert LoadScenario(devices=5_000, connections=9).connection_count == 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "afstand.load/2"}, "format"),
        ({"devices": 0}, "devices"),
        ({"devices": "many"}, "devices"),
        ({"phases": []}, "at least one phase"),
        ({"phases": [{"for_s": 1, "interval_s": 0}]}, "interval_s"),
        ({"phases": [{"for_s": 10**6, "interval_s": 0.1}]}, "make it several phases"),
        ({"fixes_per_frame": 65}, "fixes_per_frame"),
        ({"prefix": "a/b"}, "prefix"),
        ({"rate": 5}, "rate"),
    ],
)
def test_a_scenario_that_cannot_be_run_says_why(tmp_path, changes, message):
    with pytest.raises(LoadScenarioError, match=message):
        read_scenario(written(tmp_path, **changes))


def test_a_file_that_is_none_is_told(tmp_path):
    with pytest.raises(LoadScenarioError, match="No such file"):
        read_scenario(tmp_path / "nothing.json")
    (tmp_path / "bad.json").write_bytes(b"\xff{")
    with pytest.raises(LoadScenarioError, match=r"bad\.json"):
        read_scenario(tmp_path / "bad.json")


def test_the_same_seed_is_the_same_load_and_phases_go_on_from_each_other():
    scenario = checked(msgspec.convert(GOOD, LoadScenario))
    devices = load_devices(scenario)
    assert devices == load_devices(scenario)
    assert devices != load_devices(msgspec.structs.replace(scenario, seed=8))
    plans = []
    sequence = 1
    for number in (0, 1):
        plan = plan_phase(
            scenario, devices, number, start_ms=10**12 * 2, boot=4, first_sequence=sequence
        )
        sequence = int(plan.sequence.max()) + 1
        plans.append(plan)
    for plan in plans:
        for body, device in zip(plan.body, plan.device, strict=True):
            assert Tagger(devices[device].device_id, devices[device].key).valid(body)
    numbers = [(int(d), int(s)) for p in plans for d, s in zip(p.device, p.sequence, strict=True)]
    assert len(set(numbers)) == len(numbers)
    assert read_header(plans[1].body[0]).sequence > int(plans[0].sequence.max())


def test_who_the_devices_are_is_a_cases_document():
    scenario = LoadScenario(devices=3)
    cases = check_cases(b"".join(cases_of(load_devices(scenario))), "cases")
    assert [device.id for device in cases.devices] == ["load-000000", "load-000001", "load-000002"]


@pytest.mark.servers
@pytest.mark.slow
def test_a_run_against_a_broker(tmp_path, capsys):
    scenario, out, plot = written(tmp_path), tmp_path / "out.json", tmp_path / "out.png"
    with MosquittoServer(tmp_path / "m") as broker:
        where = ["--broker", f"127.0.0.1:{broker.port}"]
        arguments = ["load", "--scenario", str(scenario), *where, "--json", str(out)]
        assert main([*arguments, "--plot", str(plot)]) == 0
        assert main(["load", "--devices", "7", "--interval", "0.1", "--for", "0.3", "--mqtt",
                     "3.1.1", "--quiet", *where]) == 0  # fmt: skip
    said = capsys.readouterr()
    document = json.loads(out.read_text())
    assert document["scenario"]["seed"] == 7
    assert document["figures"]["fixes"] == 140
    assert document["figures"]["messages_not_acknowledged"] == 0
    assert document["figures"]["fixes_per_s"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "140 fixes of 20 devices" in said.out
    assert "20 connections" in said.err
    assert said.out.count("21 fixes of 7 devices") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--broker", f"127.0.0.1:{free_port()}"], "the broker"),
        (["--broker", "here"], "not HOST:PORT"),
        (["--devices", "0"], "options"),
        (["--scenario", "nowhere.json"], "No such file"),
        (["--for", "1000000", "--devices", "5000"], "several phases"),
    ],
)
def test_what_cannot_be_run_says_why(capsys, arguments, message):
    assert main(["load", "--quiet", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_the_cases_file(tmp_path, capsys):
    path = tmp_path / "cases.json"
    assert main(["load", "--devices", "4", "--seed", "3", "--cases", str(path)]) == 0
    assert len(check_cases(path.read_bytes(), "cases").devices) == 4
    capsys.readouterr()


def result(fixes_per_s: float, cpu_s: float) -> PhaseResult:
    ones = np.ones(1000)
    return PhaseResult(1000, 1000, 1000, 1000, 1000, 0, 1000 / fixes_per_s, cpu_s, ones, ones)


@pytest.mark.parametrize(
    ("fixes_per_s", "publisher", "broker", "wanted"),
    [
        (20_000, Usage(0.01), Usage(0.01), "the pace"),
        (10_000, Usage(0.01), Usage(0.099), "one core of the broker"),
        (10_000, Usage(0.095), Usage(0.05), "one core of the publisher"),
        (10_000, Usage(0.02, 0.01), Usage(0.05, 0.045),
         "others: the broker waited for a core 45% of the time"),
        (10_000, Usage(0.02, 0.01), Usage(0.02), "round trips: nobody is busy"),
    ],
)  # fmt: skip
def test_the_benchmark_says_what_bounds(fixes_per_s, publisher, broker, wanted):
    result_ = result(fixes_per_s, publisher.ran_s)
    run = Run("paced", 20_000.0, result_, publisher, broker)
    assert run.bound_by() == wanted
    (row,) = table([run])
    assert row["bound by"] == wanted
    found = figures([run, run])
    assert found["us_per_fix"] == pytest.approx(publisher.ran_s * 1000)
    assert found["fixes_per_s"] == pytest.approx(fixes_per_s)
    assert found["fixes_per_s_of_one_core"] == pytest.approx(1000 / publisher.ran_s)


def test_the_kernel_counts_what_a_process_ran_and_waited():
    before = usage(os.getpid())
    while (one := usage(os.getpid()).since(before)).ran_s < 0.01:
        pass
    assert one.waited_s >= 0


def test_a_phase_without_a_message_is_no_fault():
    assert LoadScenario().messages(LoadPhase(0.1, 10_000.0)) == 0
