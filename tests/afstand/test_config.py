"""The configuration: every error names file, key and reason, and all are told at once."""

import os

import pytest

from afstand.config import (
    Broker,
    Config,
    ConfigError,
    Consultations,
    Http,
    Intake,
    Log,
    Notify,
    Registry,
    Store,
    Watch,
    load,
)
from tests.test_house import ROOT

GOOD = """
partitions = ["0", "1"]
[store]
url = "redis://127.0.0.1:6400/0"
[broker]
host = "broker.example"
port = 8883
version = "3.1.1"
[targets.meldkamer-rotterdam]
kind = "cap"
url = "https://meldkamer.example/alerts"
secrets = ["env:MELDKAMER_SECRET"]
audiences = ["police"]
sender = "afstand@example.nl"
[targets.reclassering]
kind = "cloudevents"
url = "https://reclassering.example/events"
secrets = ["file:{secret_file}"]
audiences = ["probation"]
oin = "00000001234567890000"
"""
M = "targets.meldkamer-rotterdam"
SECRET = "whsec_" + "A" * 32


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("MELDKAMER_SECRET", SECRET)
    (tmp_path / "secret").write_text(SECRET + "\n")

    def write(text):
        path = tmp_path / "afstand.toml"
        path.write_text(text.replace("{secret_file}", str(tmp_path / "secret")))
        return path

    return write


def problems(path, environ=None):
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}).notify_settings()
    return {(problem.key, problem.reason) for problem in caught.value.problems}


def test_a_good_file_is_read_with_its_secrets_from_where_they_are(write):
    config = load(write(GOOD), {})
    assert config.partitions == ("0", "1")
    assert (config.broker.host, config.broker.port, config.broker.version) == (
        "broker.example", 8883, "3.1.1",
    )  # fmt: skip
    targets = config.notify_settings().targets
    assert targets["meldkamer-rotterdam"].secrets == (SECRET,)
    assert targets["reclassering"].secrets == (SECRET,)
    assert SECRET not in repr(targets)


def test_who_tells_nobody_needs_no_secret_of_a_target(write, monkeypatch):
    monkeypatch.delenv("MELDKAMER_SECRET")
    config = load(write(GOOD.replace("{secret_file}", "/does/not/exist")), {})
    assert set(config.targets) == {"meldkamer-rotterdam", "reclassering"}
    assert SECRET not in repr(config)
    with pytest.raises(ConfigError) as caught:
        config.notify_settings()
    assert [problem.key for problem in caught.value.problems] == [
        "targets.meldkamer-rotterdam.secrets[0]", "targets.reclassering.secrets[0]",
    ]  # fmt: skip


def test_without_a_file_there_are_defaults():
    assert load(None, {}) == Config()


def test_every_problem_is_told_at_once_with_file_key_and_reason(write):
    path = write(
        GOOD.replace("8883", "99999").replace('"3.1.1"', '"4"')
        + '[watch]\nreplicas = "two"\n[foo]\nbar = 1\n[http]\nhots = "x"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    said = str(caught.value)
    assert said.count(str(path)) == 4
    assert "broker.port: Expected `int` <= 65535" in said
    assert "watch.replicas: Expected `int`, got `str`" in said
    assert "foo: unknown; known: targets, store" in said
    assert "http: Object contains unknown field `hots`" in said


@pytest.mark.parametrize(
    ("replaced", "by", "key", "reason"),
    [
        ("https://meldkamer.example", "http://meldkamer.example", M, "must be https"),
        ('"cap"', '"fax"', M, "Invalid value 'fax'"),
        ("env:MELDKAMER_SECRET", "env:NOT_THERE", M + ".secrets[0]", "no NOT_THERE"),
        ("env:MELDKAMER_SECRET", SECRET, M + ".secrets[0]", "never in the file"),
        ("{secret_file}", "/does/not/exist", "targets.reclassering.secrets[0]", "cannot read"),
        ("00000001234567890000", "12", "targets.reclassering", "20 digits"),
        ('["0", "1"]', '["0", "0"]', "partitions", "each once"),
        ('["0", "1"]', "[]", "partitions", "at least one"),
        ('["0", "1"]', '["a/b"]', "partitions", "regex"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(write, replaced, by, key, reason):
    found = problems(write(GOOD.replace(replaced, by)))
    assert any(k.startswith(key) and reason in r for k, r in found), found
    assert not any(SECRET in r for _, r in found)


def test_a_file_that_is_no_toml_or_is_not_there(write, tmp_path):
    assert any("not TOML" in reason for _, reason in problems(write("a = = b")))
    assert problems(tmp_path / "none.toml") == {("-", "no such file")}


def test_the_environment_replaces_keys(write):
    environ = {
        "AFSTAND_BROKER__PORT": "1884",
        "AFSTAND_STORE__URL": "redis://10.0.0.1:1/2",
        "AFSTAND_SEED": "3",
    }
    config = load(write(GOOD), environ)
    assert config.broker.port == 1884
    assert config.store.url == "redis://10.0.0.1:1/2"


def test_an_override_is_checked_like_the_file(write):
    found = problems(write(GOOD), {"AFSTAND_BROKER__PORT": "many", "AFSTAND_NO__SUCH": "1"})
    assert any(key == "broker.port" for key, _ in found)
    assert any(key == "no" and "unknown" in reason for key, reason in found)


def test_the_master_key_is_32_bytes_in_hexadecimal_or_base64(monkeypatch):
    def key(text):
        monkeypatch.setitem(os.environ, "K", text)
        return load(None, {"AFSTAND_REGISTRY__MASTER_KEY": "env:K"}).master_key()

    assert key("00" * 32) == bytes(32)
    assert key("A" * 43 + "=") == bytes(32)
    with pytest.raises(ConfigError, match="not 32 bytes"):
        key("abcd")


def test_the_shipped_example_is_good(monkeypatch):
    names = ("MELDKAMER_SECRET", "RECLASSERING_SECRET", "CENTRALE_SECRET", "SMS_TOKEN",
             "MAIL_PASSWORD")  # fmt: skip
    for name in names:
        monkeypatch.setenv(f"AFSTAND_{name}", SECRET)
    monkeypatch.setenv("AFSTAND_MASTER_KEY", "11" * 32)
    monkeypatch.setenv("AFSTAND_HEARTBEAT_URL", "https://outside.example/alive")
    config = load(ROOT / "deploy/afstand.example.toml", {})
    assert len(config.master_key()) == 32
    assert set(config.notify_settings().targets) >= {"monitoring-centre", "shift-lead"}


def test_every_key_is_documented():
    text = (ROOT / "docs/configuration.md").read_text()
    example = (ROOT / "deploy/afstand.example.toml").read_text()
    for section in (Store, Broker, Intake, Watch, Notify, Registry, Consultations, Http, Log):
        for field in section.__struct_fields__:
            assert f"`{field}`" in text, f"{section.__name__}.{field}"
            assert field in example or field in {"username", "password"}, field
