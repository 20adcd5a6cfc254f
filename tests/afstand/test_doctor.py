"""`afstand doctor` finds what is wrong, says what to do, and has nothing against what is well."""

import argparse
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from afstand import doctor
from afstand.config import load
from afstand.consultations import log_consultation
from afstand.doctor import Level
from console.ports import Consultation
from ingest.entries import EntryKind
from ingest.journal import Journal
from ingest.outbox import Outbox
from ingest.store import connect_store
from tests.cluster_servers import ask
from tests.servers import MosquittoServer, RedisServer, free_port, wait_until


def configured(folder, **values):
    environ = {
        "AFSTAND_REGISTRY__MASTER_KEY": f"file:{folder / 'key'}",
        "AFSTAND_WATCH__DATA_DIR": str(folder / "data"),
        "AFSTAND_ARCHIVE__DIR": str(folder / "archive"),
        **{f"AFSTAND_{name}": str(value) for name, value in values.items()},
    }
    (folder / "key").write_text("00" * 32)
    (folder / "secret").write_text("whsec_" + "A" * 32)
    (folder / "afstand.toml").write_text(f"""
        [targets.meldkamer]
        kind = "cap"
        url = "https://127.0.0.1:{free_port()}/x"
        secrets = ["file:{folder / "secret"}"]
        audiences = ["police"]
        sender = "a@b.example"
    """)
    return load(folder / "afstand.toml", environ)


def of(found, subject):
    return [(one.level.value, one.found, one.do) for one in found if one.subject == subject]


def levels(found, subject):
    return [level for level, _, _ in of(found, subject)]


@pytest.mark.slow
@pytest.mark.servers
async def test_a_service_that_is_well_and_one_that_is_not(tmp_path, capsys):
    with RedisServer(tmp_path / "r") as redis, MosquittoServer(tmp_path / "m") as broker:
        config = configured(
            tmp_path,
            STORE__URL=redis.url,
            BROKER__PORT=broker.port,
            INTAKE__HEALTH_PORT=free_port(),
        )
        store = connect_store(redis.url)
        entry = await Journal(store).append("0", EntryKind.TICK, b"")
        await Outbox(store).append("0", entry, b"x")
        await Outbox(store).ensure_group("0", "notify")

        found = await doctor.examine(config)
        assert of(found, "configuration")[0][0] == "ok"
        assert set(levels(found, "store")) == {"ok"}
        assert any("version" in one for _, one, _ in of(found, "store"))
        assert levels(found, "journal 0") == levels(found, "outbox 0") == ["ok"]
        assert levels(found, "broker")[0] == "ok"
        assert levels(found, "disk snapshots") == levels(found, "disk archive") == ["ok"]
        # What does not run is named with the command that starts it.
        assert of(found, "process intake")[0][2] == "start `afstand intake`"
        assert of(found, "receiver meldkamer")[0][0] == "FAIL"

        await store.execute_command("CONFIG", "SET", "appendfsync", "everysec")
        await store.execute_command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        await store.execute_command("CONFIG", "SET", "maxmemory", "1mb")
        await store.aclose()
        found = await doctor.examine(config)
        wrong = [one for level, one, _ in of(found, "store") if level == "FAIL"]
        assert wrong[:2] == ["appendfsync is everysec", "maxmemory-policy is allkeys-lru"]
        assert "MiB" in wrong[2]

    assert await doctor.run(config, argparse.Namespace(json=True)) == 1
    printed = json.loads(capsys.readouterr().out)
    down = {one["subject"]: one for one in printed if one["level"] == "FAIL"}
    assert "is it running" in down["store"]["do"]
    assert "is it running" in down["broker"]["do"]


@pytest.mark.servers
async def test_a_replica_that_may_lack_what_was_acknowledged(tmp_path):
    with RedisServer(tmp_path / "r", extra=["--repl-diskless-sync-delay", "0"]) as redis:
        follows = ["--replicaof", redis.host, str(redis.port)]
        with RedisServer(tmp_path / "replica", extra=follows):
            wait_until(lambda: b"state=online" in ask(redis, "INFO", "replication"), "it follows")
            for copies, warned in ((0, True), (1, False)):
                config = configured(tmp_path, STORE__URL=redis.url, STORE__COPIES=copies)
                found = await doctor.look_at_store(config)
                assert any("has a replica" in one for _, one, _ in of(found, "store")) is warned


@pytest.mark.slow
@pytest.mark.servers
async def test_a_journal_that_nobody_watches_and_an_outbox_that_nobody_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "DOCTOR_PENDING_MAX", 2)
    monkeypatch.setattr(doctor, "DOCTOR_QUIET_S_MAX", 0.05)
    with RedisServer(tmp_path / "r") as redis:
        config = configured(tmp_path, STORE__URL=redis.url)
        store = connect_store(redis.url)
        assert levels(await doctor.look_at_store(config), "journal 0") == ["warn"]
        await Outbox(store).ensure_group("0", "notify")
        for _ in range(3):
            entry = await Journal(store).append("0", EntryKind.TICK, b"")
            await Outbox(store).append("0", entry, b"x")
        deadline = time.monotonic() + 10
        while time.time() * 1000 < entry.ms + 100 and time.monotonic() < deadline:
            pass
        found = await doctor.look_at_store(config)
        await store.aclose()
    assert levels(found, "journal 0") == ["FAIL"]
    assert of(found, "outbox 0")[0][:2] == ("FAIL", "3 entries wait for notify")


@pytest.mark.slow
@pytest.mark.servers
async def test_look_ups_that_cannot_be_logged_and_two_keys_that_differ(tmp_path):
    keys = [tmp_path / "pseudonyms", tmp_path / "others"]
    for number, file in enumerate(keys):
        file.write_text(f"{number}1" * 32)
    said = Consultation(
        at_ms=1, by="op", role="operator", what="case", persons=("vera",), reason="a question"
    )
    with RedisServer(tmp_path / "r") as redis:

        async def looked(reference):
            values = {"CONSULTATIONS__PSEUDONYM_KEY": reference} if reference else {}
            config = configured(tmp_path, STORE__URL=redis.url, **values)
            return levels(await doctor.look_at_store(config), "look-ups")

        assert await looked("") == ["warn"]
        assert await looked(f"file:{tmp_path / 'none'}") == ["FAIL"]
        assert await looked(f"file:{keys[0]}") == ["ok"]
        store = connect_store(redis.url)
        await log_consultation(store, bytes.fromhex("01" * 32), said)
        await store.aclose()
        assert await looked(f"file:{keys[0]}") == ["ok"]
        assert await looked(f"file:{keys[1]}") == ["FAIL"]


def test_the_configuration_s_own_mistakes(tmp_path):
    config = configured(tmp_path, NOTIFY__HEALTH_PORT=9101, WATCH__REPLICAS=1)
    (tmp_path / "key").unlink()
    found = [*doctor.look_at_configuration(config)]
    assert [one.level for one in found] == [Level.FAIL, Level.WARN, Level.WARN]
    assert "registry.master_key" in found[0].found
    assert found[1].found == "port 9101 is wanted by intake, notify"
    assert all(one.do for one in found)


def test_each_secret_that_a_role_needs_and_cannot_have_is_named_once(tmp_path):
    config = configured(
        tmp_path,
        BROKER__USERNAME="afstand",
        BROKER__PASSWORD="env:NOT_THERE_1",
        CONSOLE__KEY="env:NOT_THERE_2",
        EVIDENCE__SIGNING_KEY=f"file:{tmp_path / 'none.pem'}",
        AUDIT__HEARTBEAT_URL="env:NOT_THERE_3",
    )
    found = [one for one in doctor.look_at_configuration(config) if one.level is Level.FAIL]
    for key in ("broker.password", "console.key", "evidence.signing_key", "audit.heartbeat_url"):
        assert sum(key in one.found for one in found) == 1, key
    # Console and bundles show data of persons: they cannot do without the key of the log.
    assert sum("consultations.pseudonym_key" in one.found for one in found) == 1
    assert len(found) == 5
    assert all("put the secret" in one.do for one in found)


def test_the_default_ports_are_each_of_one_role(tmp_path):
    assert [one.level for one in doctor.look_at_configuration(configured(tmp_path))] == [Level.OK]


def test_nobody_to_tell_is_a_failure():
    found = [*doctor.look_at_configuration(load(None, {}))]
    assert "nobody is told" in "".join(one.found for one in found if one.level is Level.FAIL)


@pytest.mark.parametrize(
    ("apart_ms", "took_ms", "level"),
    [(0, 1, "ok"), (99, 0, "ok"), (-150, 0, "warn"), (150, 100, "ok"), (5_000, 100, "FAIL")],
)
def test_clocks_that_differ_are_found_whatever_the_question_took(apart_ms, took_ms, level):
    assert doctor.compare_clocks(1e12, 1e12 + apart_ms, took_ms).level.value == level


@pytest.mark.parametrize(("steered", "level"), [(True, "ok"), (False, "warn"), (None, "warn")])
def test_a_clock_that_nothing_steers_is_told(steered, level):
    assert doctor.look_at_clock(steered).level.value == level


def test_the_kernel_says_whether_it_is_steered():
    assert doctor.synchronised() in (True, False, None)


def test_a_disk_that_is_full_or_closed(tmp_path, monkeypatch):
    assert doctor.look_at_disk(tmp_path / "not" / "there", "x").level is Level.OK
    monkeypatch.setattr(doctor, "DOCTOR_DISK_FREE_SHARE_MIN", 1.1)
    assert doctor.look_at_disk(tmp_path, "x").level is Level.FAIL
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "cannot be written" in doctor.look_at_disk(tmp_path, "x").found


@pytest.mark.parametrize(("days", "level"), [(-1, "FAIL"), (10, "warn"), (100, "ok")])
def test_a_certificate_that_ends(tmp_path, days, level):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "afstand")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=90))
        .not_valid_after(now + timedelta(days=days)).sign(key, hashes.SHA256())
    )  # fmt: skip
    file = tmp_path / "afstand.crt"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    assert doctor.look_at_certificate(file, now).level.value == level
    file.write_text("nothing")
    assert doctor.look_at_certificate(file, now).level is Level.FAIL


@pytest.mark.parametrize(
    ("version", "level"), [("7.0.15", "ok"), ("8.2", "ok"), ("9.0.0", "ok"), ("6.2.14", "FAIL")]
)
def test_an_old_store_is_found(version, level):
    assert doctor._version("store", version).level.value == level


@pytest.mark.parametrize(
    ("said", "levels"),
    [
        ({}, []),
        ({doctor.BROKER_VERSION: "mosquitto version 2.0.22"}, ["ok"]),
        ({doctor.BROKER_VERSION: "mosquitto version 2.0.11"}, ["warn"]),
        ({doctor.BROKER_VERSION: "mosquitto version 2.1.0", doctor.BROKER_DROPPED: "0"}, ["ok"]),
        ({doctor.BROKER_DROPPED: "284052"}, ["warn"]),
    ],
)
def test_what_a_broker_dropped_is_told(said, levels):
    found = doctor.look_at_what_the_broker_says(said)
    assert [one.level.value for one in found] == levels
    assert all(said.get(doctor.BROKER_DROPPED, "") in one.found for one in found)
