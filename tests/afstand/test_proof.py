"""Replay, what-if and bundles: against a store and an archive of a known past."""

import asyncio
import json
import re
import runpy
import shutil
import subprocess
import sys
import zlib
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from afstand.cli import main
from afstand.proof.signing import read_key
from afstand.watch.envelope import decode_envelope, encode_envelope
from alerting.book.types import VerdictRecord
from tests.afstand.journal import LAT_E7, METRE_E7
from tests.afstand.proof_site import PROTECTED_NORTH_M, Past, play, write
from tests.servers import RedisServer
from tests.test_house import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.slow]
CHECKER = ROOT / "deploy/verify_bundle.py"
REASON = "proces-verbaal 2026-1"


@pytest.fixture(scope="module")
def past() -> Past:
    return play()


@pytest.fixture(scope="module")
def site(tmp_path_factory, past):
    """A store and an archive with that past; gives the configuration of the commands."""
    folder = tmp_path_factory.mktemp("site")
    with RedisServer(folder) as server:
        asyncio.run(write(server.url, folder / "archive", past))
        assert main(["evidence-key", str(folder / "key.pem")]) == 0
        (folder / "master").write_text("11" * 32)
        yield configured(server.url, folder)


def configured(url, folder) -> Path:
    """Write the configuration of a site."""
    path = folder / "afstand.toml"
    path.write_text(f"""
        partitions = ["p"]
        [store]
        url = "{url}"
        [archive]
        dir = "{folder / "archive"}"
        [watch]
        data_dir = "{folder / "data"}"
        [registry]
        master_key = "file:{folder / "master"}"
        [consultations]
        pseudonym_key = "file:{folder / "master"}"
        [evidence]
        signing_key = "file:{folder / "key.pem"}"
    """)
    return path


def run(site, past, command, *arguments) -> int:
    period = ["--from", str(past.since), "--to", str(past.until)]
    return main([command, "case", "--config", str(site), *period, *map(str, arguments)])


def bundle(site, past, out, view="court") -> int:
    given = ["--out", out, "--by", "shift-lead-1", "--reason", REASON, "--view", view]
    return run(site, past, "bundle", *given)


@pytest.fixture(scope="module")
def court(site, past, tmp_path_factory):
    out = tmp_path_factory.mktemp("court") / "bundle"
    assert bundle(site, past, out) == 0
    return out


def check(folder, *key) -> tuple[int, str]:
    """Run the script as a program of its own would, in this process."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(CHECKER), str(folder), *key])
        patch.setattr("builtins.print", said.append)
        try:
            runpy.run_path(str(CHECKER), run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0), "\n".join(said)
    raise AssertionError("it ended without a code")


def public_key(folder) -> str:
    return json.loads((folder / "manifest.json").read_text())["public_key"]


# --- replay -----------------------------------------------------------------------------------


def test_alarms_are_computed_again_bit_for_bit(site, past, capsys):
    assert run(site, past, "replay", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    inside = [entry_id for entry_id, _ in past.outbox if entry_id >= past.since]
    assert (said["compared"], said["differing"]) == (len(inside), 0)
    classes = {alarm["alarm_class"] for alarm in said["alarms"] if alarm["change"] == "raised"}
    assert classes >= {"area-breach", "tamper", "panic", "proximity"}
    assert "ban-3" not in json.dumps(said["alarms"])
    assert run(site, past, "replay") == 0
    assert "reproduced bit for bit" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["field", "missing", "added"])
def test_what_is_not_as_it_was_is_named(past, tmp_path, capsys, change):
    outbox = list(past.outbox)
    place, (entry_id, blob) = next(
        (place, one) for place, one in enumerate(outbox)
        if one[0] > past.since and b"verdict-record" in one[1])  # fmt: skip
    envelope = decode_envelope(blob)
    if change == "field":
        outputs = [
            msgspec.structs.replace(
                one, verdict=msgspec.structs.replace(one.verdict, distance_mm=1)
            )
            if isinstance(one, VerdictRecord)
            else one
            for one in envelope.outputs
        ]
        outbox[place] = entry_id, encode_envelope(envelope.received_ms, outputs)
    elif change == "missing":
        del outbox[place]
    else:
        entry_id = entry_id.next()
        outbox.insert(place + 1, (entry_id, blob))
    with RedisServer(tmp_path) as server:
        asyncio.run(write(server.url, tmp_path / "archive", past._replace(outbox=outbox)))
        assert run(configured(server.url, tmp_path), past, "replay") == 1
    told = capsys.readouterr()
    assert str(entry_id) in told.err
    assert ("VerdictRecord.verdict" in told.err) == (change == "field")
    assert "NOT reproduced: 1 entries" in told.out


def test_what_other_orders_would_have_given(site, past, tmp_path, capsys):
    """A zone of 1.5 km is entered well before one of 300 m; a ban of 10 m is never broken."""

    def first(alarms, order_id, alarm_class):
        return min((a["at_ms"] for a in alarms if a.get("order_id") == order_id
                    and a["alarm_class"] == alarm_class), default=None)  # fmt: skip

    circle = {"lat_e7": LAT_E7, "lon_e7": 44_800_000, "radius_m": 1_500}
    file = tmp_path / "other.json"
    file.write_text(json.dumps({
        "format": "afstand.what-if/1",
        "orders": [{"id": "contact", "radius_m": 10, "warning_m": 20}],
        "zones": [{"id": "zone", "circle": circle}],
    }))  # fmt: skip
    assert run(site, past, "replay", "--what-if", file, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    tried = said["what_if"]
    assert tried["rejected"] == []
    was_ms = first(said["alarms"], "ban", "area-breach")
    tried_ms = first(tried["alarms"], "ban", "area-breach")
    assert 60_000 < was_ms - tried_ms < 180_000  # 1,200 m at 250 m in 20 s
    assert first(said["alarms"], "contact", "proximity") is not None
    assert first(tried["alarms"], "contact", "proximity") is None
    assert run(site, past, "replay", "--what-if", file) == 0
    assert "with other zone zone, order contact" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "why"), [
    ("{", "truncated"),
    ('{"format": "afstand.what-if/1"}', "neither orders nor zones"),
    ('{"format": "afstand.what-if/1", "orders": [{"id": "ban", "radius_m": -1}]}', "radius_m"),
    ('{"format": "afstand.what-if/1", "zones": [{"id": "zone"}]}', "must have one of geometry"),
])  # fmt: skip
def test_a_bad_what_if_is_refused(site, past, tmp_path, capsys, text, why):
    file = tmp_path / "other.json"
    file.write_text(text)
    assert run(site, past, "replay", "--what-if", file) == 1
    assert why in capsys.readouterr().err


# --- bundle -----------------------------------------------------------------------------------


def test_a_bundle_is_verified_by_a_python_without_afstand(court, tmp_path):
    copy = shutil.copytree(court, tmp_path / "elsewhere")
    script = shutil.copy(copy / "verify_bundle.py", tmp_path / "check.py")
    done = subprocess.run(
        [sys.executable, "-I", script, str(copy), public_key(court)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("good: ")
    assert len(CHECKER.read_text().splitlines()) <= 100
    imported = set(re.findall(r"^(?:import|from) (\w+)", CHECKER.read_text(), re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_one_changed_byte_of_any_file_is_found_and_its_file_named(court, tmp_path):
    files = sorted(court.iterdir())
    assert {file.name for file in files} == {
        "chain-journal.jsonl", "chain-outbox.jsonl", "commands.jsonl", "definitions.json",
        "frames.jsonl", "manifest.json", "manifest.sig", "map.png", "map.svg", "records.jsonl",
        "replay.json", "report.pdf", "timeline.json", "verify_bundle.py",
    }  # fmt: skip
    copy = shutil.copytree(court, tmp_path / "bundle")
    for file in files:
        raw = file.read_bytes()
        for place in sorted({0, len(raw) // 3, len(raw) // 2, len(raw) - 1}):
            changed = bytearray(raw)
            changed[place] ^= 1
            (copy / file.name).write_bytes(changed)
            code, said = check(copy)
            assert code == 1, (file.name, place)
            named = "manifest.json" if file.name == "manifest.sig" else file.name
            assert named in said.split(":")[0], (file.name, place, said)
        (copy / file.name).write_bytes(raw)
    assert check(copy)[0] == 0


def test_a_missing_and_an_added_file_are_found(court, tmp_path):
    copy = shutil.copytree(court, tmp_path / "bundle")
    (copy / "map.svg").unlink()
    (copy / "more.txt").write_text("x")
    assert check(copy) == (1, "map.svg: is missing\nmore.txt: is not in the manifest")


def test_who_has_the_key_cannot_change_what_was_chained(court, site, tmp_path):
    """The key signs the manifest; the chain, begun long before, holds the entries."""
    key = read_key((site.parent / "key.pem").read_text())

    def signed_again(folder):
        manifest = json.loads((folder / "manifest.json").read_text())
        for name in manifest["files"]:
            manifest["files"][name] = sha256((folder / name).read_bytes()).hexdigest()
        raw = json.dumps(manifest).encode()
        (folder / "manifest.json").write_bytes(raw)
        (folder / "manifest.sig").write_bytes(key.sign(raw))

    def changed(name, old, new):
        folder = shutil.copytree(court, tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}")
        raw = (folder / name).read_bytes()
        assert old in raw
        (folder / name).write_bytes(raw.replace(old, new, 1))
        signed_again(folder)
        return check(folder)

    lines = (court / "frames.jsonl").read_bytes().splitlines()
    frame = json.loads(lines[3])
    code, said = changed("frames.jsonl", frame["said"].encode(), frame["said"][::-1].encode())
    assert (code, said) == (
        1, f"frames.jsonl: entry {frame['entry']} part {frame['place']} was not chained so",
    )  # fmt: skip
    code, said = changed("records.jsonl", b'"area-breach"', b'"order-breach"')
    assert code == 1
    assert said.startswith("records.jsonl: entry ")
    code, said = changed("chain-journal.jsonl", frame["said"].encode(), b"00" * 60)
    assert code == 1
    assert f"chain-journal.jsonl: journal entry {frame['entry']} does not follow" in said
    chain = (court / "chain-outbox.jsonl").read_bytes().splitlines(keepends=True)
    code, said = changed("chain-outbox.jsonl", chain[2], b"")
    assert code == 1
    assert said.startswith("chain-outbox.jsonl: outbox entry ")


def test_another_key_than_the_trusted_one_is_found(court):
    assert check(court, public_key(court))[0] == 0
    code, said = check(court, "00" * 32)
    assert code == 1
    assert "another key" in said


def test_a_bundle_holds_the_frames_of_its_case_with_their_tags_and_of_nobody_else(court, past):
    frames = [json.loads(line) for line in (court / "frames.jsonl").read_text().splitlines()]
    assert {frame["device"] for frame in frames} == {"tag-1", "victim-2"}
    assert len(frames) == 24 * 2 + 2
    assert all(frame["said"].endswith(frame["tag"]) and len(frame["tag"]) == 32 for frame in frames)
    everything = b"".join(file.read_bytes() for file in court.iterdir())
    assert b"tag-3" not in everything
    assert (court / "map.svg").read_text().count("<path") > 20
    assert (court / "map.png").read_bytes().startswith(b"\x89PNG")
    pdf = (court / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") >= 2 or pdf.count(b"/Type /Page ") >= 2
    manifest = json.loads((court / "manifest.json").read_text())
    assert manifest["replay"]["same"] is True
    assert manifest["versions"]["rules"]
    assert manifest["since"] == str(past.since)


# --- who may see what -------------------------------------------------------------------------


def hers(past: Past) -> list[bytes]:
    """Everything that gives Vera's place away: degrees, as text and as the frames have them."""
    places = set()
    for _, blob in past.outbox:
        for output in decode_envelope(blob).outputs:
            if isinstance(output, VerdictRecord) and output.verdict.protected_position:
                place = output.verdict.protected_position
                places |= {place.lat_e7, place.lon_e7}
    places.add(LAT_E7 + round(PROTECTED_NORTH_M * METRE_E7))
    raw = [str(place).encode() for place in places]
    return raw + [place.to_bytes(4, "little").hex().encode() for place in places]


def opened(folder) -> bytes:
    """Every byte of a bundle; what is compressed in the report too."""
    found = [file.read_bytes() for file in sorted(folder.iterdir())]
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", (folder / "report.pdf").read_bytes(),
                             re.DOTALL):  # fmt: skip
        try:
            found.append(zlib.decompress(stream))
        except zlib.error:
            found.append(stream)
    return b"\n".join(found)


@pytest.mark.parametrize(
    "view", ["wearer-side", "supervisor", "prosecutor", "victim-support", "auditor"]
)
def test_the_place_of_the_protected_person_is_in_no_bundle_without_the_right(
    site, past, tmp_path, view
):
    out = tmp_path / "bundle"
    assert bundle(site, past, out, view) == 0
    assert check(out)[0] == 0
    raw = opened(out)
    assert [one for one in hers(past) if one in raw] == []
    if view == "wearer-side":
        assert b"vera" not in raw.replace(b"tag-3", b"")
        assert b"victim-2" not in raw
        assert b"proximity" not in raw
        assert b"tag-1" in raw


def test_the_planted_places_are_in_the_bundle_for_a_court(court, past):
    raw = opened(court)
    assert any(one in raw for one in hers(past))


def test_a_bundle_without_a_reason_is_not_made(site, past, tmp_path, capsys):
    given = ["--out", tmp_path / "b", "--by", "x", "--reason", "why"]
    assert run(site, past, "bundle", *given) == 1
    assert "reason" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_every_bundle_is_a_consultation_of_each_person(site, court, capsys):
    assert main(["consultations", "--config", str(site), "--person", "vera"]) == 0
    told = capsys.readouterr().out
    assert f"shift-lead-1 (court)  bundle  wim, vera  {REASON}" in told
    assert main(["consultations", "--config", str(site), "--person", "other"]) == 0
    assert capsys.readouterr().out == ""


def test_a_case_that_nobody_knows_is_refused(site, past, capsys):
    assert main(["replay", "nobody", "--config", str(site)]) == 1
    assert "no partition knows a case 'nobody'" in capsys.readouterr().err


def test_a_period_before_there_was_anything_is_refused(site, tmp_path, capsys):
    arguments = ["--from", "1-0", "--to", "2-0", "--out", str(tmp_path / "b"), "--by", "x"]
    assert main(["bundle", "case", "--config", str(site), *arguments, "--reason", REASON]) == 1
    assert "no partition knows" in capsys.readouterr().err
