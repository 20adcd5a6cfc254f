"""Units and manifests: each names only what exists."""

import inspect
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from afstand import roles
from afstand.archiving import archiver
from afstand.auditing import auditor
from afstand.cli import _parser
from afstand.config import load
from afstand.console_role import console

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ROLES = ("intake", "watch", "notify", "archiver", "auditor")


def documents(path):
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def command_of(role, line):
    """The arguments after `afstand`, with the pod's number filled in."""
    words = line.replace("${POD_NAME##*-}", "1").split()
    return words[words.index("afstand") + 1 :]


def accepts(arguments):
    """The command line takes them."""
    return _parser().parse_args(arguments)


# --- systemd --------------------------------------------------------------------------------------


def unit_lines(name):
    lines = (DEPLOY / "systemd" / name).read_text().splitlines()
    return [line for line in lines if line and line[0] not in "#["]


def test_every_unit_starts_a_role_that_there_is():
    wanted = [line for line in unit_lines("afstand.target") if line.startswith("Wants=")]
    units = [unit for line in wanted for unit in line.removeprefix("Wants=").split()]
    assert len(units) == 7
    for unit in units:
        template, _, instance = unit.removesuffix(".service").partition("@")
        lines = unit_lines(f"{template}@.service")
        start = next(line for line in lines if line.startswith("ExecStart="))
        words = start.replace("%i", instance).split()
        assert words[0] == "ExecStart=/opt/afstand/bin/afstand"
        accepts(words[1:])


@pytest.mark.parametrize(
    "role",
    [roles.intake, roles._follow_all, roles.notify, archiver, auditor, console, roles.trackers],
)
def test_every_role_that_systemd_may_start_tells_it_when_it_is_ready_and_lives(role):
    assert "observed(" in inspect.getsource(role)


def test_what_a_role_writes_is_in_a_folder_of_its_own_that_it_may_write_to():
    example = tomllib.loads((DEPLOY / "afstand.example.toml").read_text())
    (line,) = [one for one in unit_lines("afstand@.service") if one.startswith("StateDirectory=")]
    folders = {f"/var/lib/{name}" for name in line.removeprefix("StateDirectory=").split()}
    written = [example["watch"]["data_dir"], example["archive"]["dir"]]
    written.append(example["console"]["data_dir"])
    for path in written:
        assert any(Path(path).is_relative_to(folder) for folder in folders), path


@pytest.mark.parametrize("name", ["afstand@.service", "afstand-watch@.service"])
def test_a_unit_is_never_given_up_and_is_watched(name):
    lines = unit_lines(name)
    for line in ("Type=notify", "Restart=always", "StartLimitIntervalSec=0", "WatchdogSec=20"):
        assert line in lines


@pytest.mark.slow
def test_systemd_understands_the_units(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed on this machine")

    def verify(change):
        for path in (DEPLOY / "systemd").iterdir():
            text = path.read_text().replace("/opt/afstand/bin/afstand", "/bin/true")
            (tmp_path / path.name).write_text(change(text))
        for name, instances in (
            ("afstand", (*ROLES, "console")),
            ("afstand-watch", "01"),
        ):
            for instance in instances:
                whole = (tmp_path / f"{name}@.service").read_text()
                (tmp_path / f"{name}@{instance}.service").write_text(whole)
        names = ["afstand@intake.service", "afstand-watch@0.service", "afstand.target"]
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in names)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        ours = [line for line in checked.stderr.splitlines() if "afstand" in line]
        return checked.returncode, ours

    assert verify(lambda text: text) == (0, [])
    assert verify(lambda text: text.replace("WatchdogSec", "WatchdogSecs"))[1]


# --- containers -----------------------------------------------------------------------------------


def environment_of(found):
    """Variables with a value, as a mapping."""
    if isinstance(found, dict):
        return {name: str(value) for name, value in found.items()}
    return {one["name"]: one["value"] for one in found if "value" in one}


def configured(environ):
    """The configuration takes every variable of ours."""
    return load(None, {"AFSTAND_REGISTRY__MASTER_KEY": "env:K", **environ})


def test_the_compose_file_starts_every_role_on_what_is_shipped():
    (compose,) = documents(DEPLOY / "compose/compose.yaml")
    services = compose["services"]
    roles = {name: one for name, one in services.items() if name not in ("store", "broker")}
    assert {one["command"][0] for one in roles.values()} == set(ROLES)
    for one in roles.values():
        accepts(one["command"])
        configured(environment_of(one.get("environment", {})))
        assert one["restart"] == "always"
    for name, one in services.items():
        for mount in one["volumes"]:
            source = mount.split(":")[0]
            if source.startswith("../"):
                assert (DEPLOY / "compose" / source).exists(), mount
            elif not source.startswith("./"):
                assert source in compose["volumes"], mount
        assert set(one["networks"]) <= set(compose["networks"]), name
    # Nobody outside reaches the store.
    assert services["store"]["networks"] == ["inside"]
    assert compose["networks"]["inside"] == {"internal": True}
    assert "ports" not in services["store"]
    assert "/etc/redis/redis.conf" in services["store"]["command"]


@pytest.mark.parametrize("role", ROLES)
def test_a_manifest_runs_its_role(role):
    stateful, service, budget = documents(DEPLOY / f"kubernetes/{role}.yaml")
    assert [one["kind"] for one in (stateful, service, budget)] == [
        "StatefulSet", "Service", "PodDisruptionBudget",
    ]  # fmt: skip
    spec = stateful["spec"]
    labels = spec["template"]["metadata"]["labels"]
    for selector in (spec["selector"], budget["spec"]["selector"]):
        assert selector["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert spec["serviceName"] == service["metadata"]["name"]
    (container,) = spec["template"]["spec"]["containers"]
    (line,) = container["args"]
    assert accepts(command_of(role, line)).config == Path("/etc/afstand/afstand.toml")
    assert command_of(role, line)[0] == role
    health = container["ports"][0]["containerPort"]
    section = {"archiver": "archive", "auditor": "audit"}.get(role, role)
    environ = environment_of(container["env"])
    if role == "watch":  # replica n listens on the n-th port after the one configured
        assert "AFSTAND_WATCH__HEALTH_PORT=$((9110 - 1))" in line.replace("${POD_NAME##*-}", "1")
        environ["AFSTAND_WATCH__HEALTH_PORT"] = "9109"
        assert configured(environ).watch.health_port + 1 == health
    else:
        assert getattr(configured(environ), section).health_port == health
    for found in re.findall(r"(AFSTAND_[A-Z]+__[A-Z_]+)=", line):
        configured({found: "9109" if found.endswith("PORT") else "a-name"})
    volumes = {one["name"] for one in spec["template"]["spec"]["volumes"]}
    volumes |= {one["metadata"]["name"] for one in spec["volumeClaimTemplates"]}
    assert {one["name"] for one in container["volumeMounts"]} <= volumes
    assert spec["replicas"] == (1 if role in ("archiver", "auditor") else 2)


@pytest.mark.slow
def test_the_manifests_come_together(tmp_path):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed on this machine")
    for path in (*(DEPLOY / "kubernetes").iterdir(), DEPLOY / "redis/redis.conf"):
        shutil.copy(path, tmp_path)
    for path in (DEPLOY / "mosquitto").iterdir():
        shutil.copy(path, tmp_path)
    shutil.copy(DEPLOY / "afstand.example.toml", tmp_path / "afstand.toml")
    made = subprocess.run(
        ["kubectl", "kustomize", tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert made.returncode == 0, made.stderr
    found = [one for one in yaml.safe_load_all(made.stdout) if one]
    stateful = {one["metadata"]["name"]: one for one in found if one["kind"] == "StatefulSet"}
    assert set(stateful) == {*ROLES, "store", "broker"}
    maps = {one["metadata"]["name"]: one["data"] for one in found if one["kind"] == "ConfigMap"}
    for one in stateful.values():
        pod = one["spec"]["template"]["spec"]
        named = {v["name"]: v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
        for mount in pod["containers"][0]["volumeMounts"]:
            if mount["name"] in named:
                data = maps[named[mount["name"]]]
                assert mount.get("subPath", next(iter(data))) in data
