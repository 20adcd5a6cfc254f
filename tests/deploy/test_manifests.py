"""Units and manifests: each names only what exists."""

import asyncio
import contextlib
import inspect
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from afstand import config as configuration
from afstand import roles
from afstand.archiving import archiver
from afstand.auditing import auditor
from afstand.cli import _parser
from afstand.config import load
from afstand.console_role import console
from tests.deploy.command_roles import SECTIONS, command_roles

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OPTIONAL = {"trackers"}  # only where there are such devices: nobody starts it unasked
NO_ROLE = ("store", "broker", "tools")
TOOLS_KEYS = {"AFSTAND_MASTER_KEY", "AFSTAND_PSEUDONYM_KEY"}
AT_THE_BROKER = {"intake", "notify", "trackers"}


ROLES = command_roles()


def documents(path):
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def command_of(role, line):
    """The arguments after `afstand`, with the pod's number filled in."""
    words = line.replace("${POD_NAME##*-}", "1").split()
    return words[words.index("afstand") + 1 :]


def test_the_roles_of_the_command_line_are_found():
    assert {"intake", "watch", "notify", "archiver", "auditor", "console", "trackers"} <= set(ROLES)


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
    started = []
    for unit in units:
        template, _, instance = unit.removesuffix(".service").partition("@")
        lines = unit_lines(f"{template}@.service")
        start = next(line for line in lines if line.startswith("ExecStart="))
        words = start.replace("%i", instance).split()
        started.append(words[1])
        assert words[0] == "ExecStart=/opt/afstand/bin/afstand"
        accepts(words[1:])
    assert sorted(started) == sorted([*set(ROLES) - OPTIONAL, "watch"])  # two watches


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
            ("afstand", ROLES),
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
    roles = {name: one for name, one in services.items() if name not in NO_ROLE}
    assert {one["command"][0] for one in roles.values()} == set(ROLES)
    assert {one["command"][0] for one in roles.values() if "profiles" in one} == OPTIONAL
    for one in roles.values():
        accepts(one["command"])
        named = [mount.split(":")[1] for mount in one["volumes"]]
        certs = {path for path in named if path.startswith("/etc/afstand/certs")}
        given = environment_of(one.get("environment", {})).values()
        assert certs == {path for path in given if path.startswith("/etc/afstand/certs")}
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
    for name in ("broker", "trackers"):
        assert "inside" not in services[name]["networks"], name
    example = tomllib.loads((DEPLOY / "afstand.example.toml").read_text())
    mounts = services["console"]["volumes"]
    assert f"console:{example['console']['data_dir']}" in mounts
    image = (DEPLOY / "compose/Dockerfile").read_text()
    # A new volume takes its owner from the image.
    assert re.search(rf"chown afstand .*{example['console']['data_dir']}\b", image)
    assert "ports" not in services["store"]
    assert "/etc/redis/redis.conf" in services["store"]["command"]


def server_setting(path, name):
    """What a server's shipped configuration says."""
    lines = [line.split() for line in (DEPLOY / path).read_text().splitlines()]
    (found,) = [line[1] for line in lines if line[:1] == [name]]
    return found


def test_store_and_broker_may_write_where_they_keep_what_they_are_to_keep():
    """The broker's image has no such folder, so a new volume there belongs to root."""
    saved = server_setting("mosquitto/mosquitto.conf", "persistence_location").rstrip("/")
    services = documents(DEPLOY / "compose/compose.yaml")[0]["services"]
    assert f"broker:{saved}" in services["broker"]["volumes"]
    *shell, line = services["broker"]["command"]
    owned, started = line.split(" && ")
    assert (shell, owned) == (["sh", "-c"], f"chown -R mosquitto {saved}")
    configuration_file = started.removeprefix("exec mosquitto -c ")
    assert f"../mosquitto/mosquitto.conf:{configuration_file}:ro" in services["broker"]["volumes"]
    store = services["store"]
    assert f"store:{store['command'][store['command'].index('--dir') + 1]}" in store["volumes"]
    for name, folder in (("broker", saved), ("store", "/data")):
        spec = documents(DEPLOY / f"kubernetes/{name}.yaml")[0]["spec"]
        pod = spec["template"]["spec"]
        user = pod["securityContext"]
        assert user["fsGroup"] == user["runAsUser"]
        (container,) = pod["containers"]
        assert {"name": "data", "mountPath": folder} in container["volumeMounts"]
        assert [one["metadata"]["name"] for one in spec["volumeClaimTemplates"]] == ["data"]
        words = [*container.get("command", ()), *container.get("args", ())]
        assert name == "broker" or words[words.index("--dir") + 1] == folder


def test_a_store_that_is_full_refuses_before_it_is_killed():
    """What a fork needs while the append-only file is written anew comes on top."""
    pod = documents(DEPLOY / "kubernetes/store.yaml")[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    most = container["args"][container["args"].index("--maxmemory") + 1]
    limit = container["resources"]["limits"]["memory"]
    assert (most[-2:], limit[-2:]) == ("gb", "Gi")
    assert int(most[:-2]) <= 0.75 * int(limit[:-2])


@pytest.mark.parametrize("role", ROLES)
def test_a_manifest_runs_its_role(role):
    stateful, service, budget, *policies = documents(DEPLOY / f"kubernetes/{role}.yaml")
    assert [one["kind"] for one in (stateful, service, budget)] == [
        "StatefulSet", "Service", "PodDisruptionBudget",
    ]  # fmt: skip
    spec = stateful["spec"]
    labels = spec["template"]["metadata"]["labels"]
    for selector in (spec["selector"], budget["spec"]["selector"]):
        assert selector["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert spec["serviceName"] == service["metadata"]["name"]
    for policy in policies:
        assert policy["kind"] == "NetworkPolicy"
        assert policy["spec"]["podSelector"]["matchLabels"] == labels
    pod = spec["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        assert container[probe]["httpGet"]["port"] == "health"
    (line,) = container["args"]
    assert accepts(command_of(role, line)).config == Path("/etc/afstand/afstand.toml")
    assert command_of(role, line)[0] == role
    health = container["ports"][0]["containerPort"]
    section = SECTIONS.get(role, role)
    environ = environment_of(container["env"])
    if role == "watch":  # replica n listens on the n-th port after the one configured
        assert "AFSTAND_WATCH__HEALTH_PORT=$((9110 - 1))" in line.replace("${POD_NAME##*-}", "1")
        environ["AFSTAND_WATCH__HEALTH_PORT"] = "9109"
        assert configured(environ).watch.health_port + 1 == health
    else:
        assert getattr(configured(environ), section).health_port == health
    for found in re.findall(r"(AFSTAND_[A-Z]+__[A-Z_]+)=", line):
        configured({found: "9109" if found.endswith("PORT") else "a-name"})
    volumes = {one["name"]: one for one in pod["volumes"]}
    claims = {one["metadata"]["name"] for one in spec.get("volumeClaimTemplates", ())}
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert set(mounts) == set(volumes) | claims
    # Of the certificates those that its own variables name, and no other role's key.
    files = (
        {one["path"] for one in volumes["certs"]["secret"]["items"]} if "certs" in mounts else ()
    )
    named = {path for path in environ.values() if path.startswith("/etc/afstand/certs/")}
    assert {f"/etc/afstand/certs/{file}" for file in files} == named
    assert bool(named) == (role in AT_THE_BROKER | {"console"})
    # A disk for what it writes: a claim that nobody needs ties a role to a place.
    example = tomllib.loads((DEPLOY / "afstand.example.toml").read_text())
    written = {
        "watch": {example["watch"]["data_dir"], example["archive"]["dir"]},
        "archiver": {example["archive"]["dir"]},
        "console": {example["console"]["data_dir"]},
    }
    kept = claims | {name for name, one in volumes.items() if "persistentVolumeClaim" in one}
    assert {mounts[name] for name in kept} == written.get(role, set())
    assert spec["replicas"] == (2 if role in ("intake", "watch", "notify") else 1)
    others = [{"name": "afstand-targets"}] if role == "notify" else []
    given = [one["secretRef"] for one in container["envFrom"]]
    assert given == [{"name": "afstand", "optional": True}, *others]


@pytest.mark.parametrize("role", ["intake", "watch"])
def test_a_role_with_kernels_starts_with_those_of_the_image(role, tmp_path):
    pod = documents(DEPLOY / f"kubernetes/{role}.yaml")[0]["spec"]["template"]["spec"]
    (first,), (container,) = pod["initContainers"], pod["containers"]
    assert (first["image"], first["securityContext"]) == (
        container["image"],
        container["securityContext"],
    )
    image = (DEPLOY / "compose/Dockerfile").read_text()
    (cache,) = re.findall(r"^ENV NUMBA_CACHE_DIR=(.+)$", image, re.MULTILINE)
    assert first["volumeMounts"] == [{"name": "cache", "mountPath": "/cache"}]
    assert {"name": "cache", "mountPath": cache} in container["volumeMounts"]
    compiled, given = tmp_path / "image", tmp_path / "volume"
    (compiled / "geofence_1").mkdir(parents=True)
    (compiled / "geofence_1/kernel.nbi").write_bytes(b"index")
    given.mkdir()
    *shell, line = first["command"]
    line = line.replace(f"{cache}/", f"{compiled}/").replace(" /cache", f" {given}")
    subprocess.run([*shell, line], check=True, timeout=20)
    assert (given / "geofence_1/kernel.nbi").read_bytes() == b"index"


def test_the_manifests_of_all_roles_are_applied():
    (made,) = documents(DEPLOY / "kubernetes/kustomization.yaml")
    roles = {name.removesuffix(".yaml") for name in made["resources"]}
    assert roles == {"common", "store", "broker", "tools"} | set(ROLES) - OPTIONAL


def test_the_pod_for_commands_has_what_they_need_and_is_gone_soon():
    (job,) = documents(DEPLOY / "kubernetes/tools.yaml")
    assert (job["kind"], job["spec"]["suspend"]) == ("CronJob", True)
    spec = job["spec"]["jobTemplate"]["spec"]
    assert spec["activeDeadlineSeconds"] <= 3600
    assert spec["ttlSecondsAfterFinished"] <= 60
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    watch = documents(DEPLOY / "kubernetes/watch.yaml")[0]["spec"]["template"]["spec"]
    assert container["securityContext"] == watch["containers"][0]["securityContext"]
    assert pod["securityContext"] == watch["securityContext"]
    keys = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"]}
    assert keys == {name: {"name": "afstand-keys", "key": name} for name in TOOLS_KEYS}
    mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert set(mounts.values()) == set(volumes)
    example = tomllib.loads((DEPLOY / "afstand.example.toml").read_text())
    signed_with = example["evidence"]["signing_key"].removeprefix("file:")
    assert volumes[mounts[signed_with]]["secret"] == {"secretName": "afstand-evidence"}
    claim = {one["name"]: one for one in watch["volumes"]}["archive"]
    assert volumes[mounts[example["archive"]["dir"]]] == claim
    tools = documents(DEPLOY / "compose/compose.yaml")[0]["services"]["tools"]
    assert tools["profiles"] == ["tools"]
    assert tools["networks"] == ["inside"]
    assert f"./evidence.pem:{signed_with}:ro" in tools["volumes"]
    assert "state:/var/lib/afstand" in tools["volumes"]
    accepts(tools["command"])


def test_the_page_about_commands_gives_each_what_it_asks_for():
    """Each line of it is a command that there is; its keys are those that are given."""
    page = (ROOT / "docs/operating/commands.md").read_text().replace("\\\n", "")
    given = re.findall(r"(?:-- afstand|rm tools|bin/afstand) (.+)$", page, re.MULTILINE)
    assert len(given) >= 6
    for line in given:
        assert accepts(line.split()).config == Path("/etc/afstand/afstand.toml")
    assert (
        f"--from=cronjob/{documents(DEPLOY / 'kubernetes/tools.yaml')[0]['metadata']['name']}"
        in page
    )
    assert set(re.findall(r"`(AFSTAND_[A-Z_]+)`", page)) == TOOLS_KEYS
    assert keys_in_the_compose_file("doctor") == TOOLS_KEYS


def test_what_devices_reach_does_not_reach_the_store():
    (policy,) = [
        one for one in documents(DEPLOY / "kubernetes/store.yaml") if one["kind"] == "NetworkPolicy"
    ]
    (rule,) = policy["spec"]["ingress"]
    (pods,) = rule["from"]
    (expression,) = pods["podSelector"]["matchExpressions"]
    assert expression["operator"] == "NotIn"
    assert expression["values"] == ["broker", "trackers"]


# --- secrets --------------------------------------------------------------------------------------


def keys_in_the_manifest(role):
    """Variables from the secrets of keys and targets, without those that may be absent."""
    stateful = documents(DEPLOY / f"kubernetes/{role}.yaml")[0]
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    found = {}
    for one in container["env"]:
        key = one.get("valueFrom", {}).get("secretKeyRef")
        if key and not key.get("optional"):
            assert (key["name"], key["key"]) == ("afstand-keys", one["name"])
            found[one["name"]] = key
    whole = [one["secretRef"]["name"] for one in container["envFrom"]]
    return set(found) | (keys_of_targets() if "afstand-targets" in whole else set())


def keys_of_targets():
    """What the targets of the example ask for."""
    tables = tomllib.loads((DEPLOY / "afstand.example.toml").read_text())["targets"]
    return set(re.findall(r"env:([A-Z_]+)", str(tables)))


def keys_in_the_compose_file(role):
    """Variables of the files of secrets that a service gets, as the head of the file lists them."""
    path = DEPLOY / "compose/compose.yaml"
    head = " ".join(line.lstrip("# ") for line in path.read_text().split("name:")[0].splitlines())
    listed = {file: set(names.split(", ")) for file, names in
              re.findall(r"(\w+\.env) \(([A-Z_]+(?:, [A-Z_]+)*)\)", head)}  # fmt: skip
    assert "targets.env (what the targets in afstand.toml ask for)" in head
    listed["targets.env"] = keys_of_targets()
    services = documents(path)[0]["services"].values()
    (files, *more) = [
        [one["env_file"]] if isinstance(one["env_file"], str) else one["env_file"]
        for one in services
        if one.get("command", [""])[0] == role
    ]
    assert all(other == files for other in more)
    assert files[0] == "secrets.env"
    return set().union(*(listed[file] for file in files[1:]))


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_is_given_the_keys_that_it_asks_for_and_no_other(role, tmp_path, monkeypatch):
    text = (DEPLOY / "afstand.example.toml").read_text()
    for name in re.findall(r'"env:([A-Z_]+)"', text):
        monkeypatch.setenv(name, "http://127.0.0.1:9/" if name.endswith("URL") else "ab" * 32)
        if name.endswith("_SECRET"):
            monkeypatch.setenv(name, "whsec_" + "A" * 32)
    ports = ("INTAKE", "WATCH", "ARCHIVE", "NOTIFY", "TRACKERS", "AUDIT", "CONSOLE")
    quiet = {f"AFSTAND_{name}__HEALTH_PORT": "0" for name in ports}
    quiet |= {f"AFSTAND_{name}__PORT": "0" for name in ("NOTIFY", "TRACKERS", "CONSOLE")}
    quiet |= {"AFSTAND_STORE__URL": "redis://127.0.0.1:1/0", "AFSTAND_BROKER__TLS": "false"}
    quiet |= {"AFSTAND_BROKER__PORT": "1", "AFSTAND_ARCHIVE__DIR": str(tmp_path / "archive")}
    quiet |= {f"AFSTAND_{name}__DATA_DIR": str(tmp_path / name) for name in ("WATCH", "CONSOLE")}
    for name in ("CA_FILE", "CERT_FILE", "KEY_FILE"):
        quiet[f"AFSTAND_BROKER__{name}"] = ""
    config = load(DEPLOY / "afstand.example.toml", quiet)
    asked = set()
    read = configuration.resolve_secret

    def reading(source, key, reference):
        asked.add(reference.removeprefix("env:"))
        return read(source, key, reference)

    monkeypatch.setattr(configuration, "resolve_secret", reading)
    monkeypatch.setattr(roles, "warm_up", lambda: None)
    starts = {
        "intake": roles.intake, "notify": roles.notify, "trackers": roles.trackers,
        "watch": lambda config, stop: roles.watch(config, 0, stop),
        "archiver": archiver, "auditor": auditor, "console": console,
    }  # fmt: skip
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await starts[role](config, asyncio.Event())
    assert asked == keys_in_the_manifest(role)
    assert asked == keys_in_the_compose_file(role)


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
    assert set(stateful) == set(ROLES) - OPTIONAL | {"store", "broker"}
    maps = {one["metadata"]["name"]: one["data"] for one in found if one["kind"] == "ConfigMap"}
    (tools,) = [one["spec"]["jobTemplate"] for one in found if one["kind"] == "CronJob"]
    for one in (*stateful.values(), tools):
        pod = one["spec"]["template"]["spec"]
        named = {v["name"]: v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
        for mount in pod["containers"][0]["volumeMounts"]:
            if mount["name"] in named:
                data = maps[named[mount["name"]]]
                assert mount.get("subPath", next(iter(data))) in data
