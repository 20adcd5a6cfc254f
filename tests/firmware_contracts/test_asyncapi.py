"""The AsyncAPI document, read by the parser of the AsyncAPI project."""

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from firmware_contracts.asyncapi import asyncapi

NODE = Path(__file__).parent.parent / "node"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("node") is None or not (NODE / "node_modules").is_dir(),
        reason="node is not installed, or `npm ci` was not run in tests/node (./run test does)",
    ),
]


def spoilt(**changes: Any) -> dict[str, Any]:
    """The document with one place changed: spoilt(path="info.title", value=7)."""
    document = copy.deepcopy(asyncapi())
    *steps, last = changes["path"].split(".")
    at: Any = document
    for step in steps:
        at = at[step]
    if changes.get("value") is None:
        del at[last]
    else:
        at[last] = changes["value"]
    return document


BAD = [
    spoilt(path="asyncapi", value="3.9.9"),
    spoilt(path="info.title"),
    spoilt(path="info.version"),
    spoilt(path="operations.receiveFix.action", value="listen"),
    spoilt(path="operations.receiveFix.channel"),
    spoilt(path="operations.sendAck.channel", value={"$ref": "#/channels/nothing"}),
    spoilt(path="channels.fix.address", value=7),
    spoilt(path="channels.event.messages", value={"event": {"$ref": "#/components/messages/none"}}),
    spoilt(path="components.messages.fix.payload", value=7),
    spoilt(path="nonsense", value=1),
]


def test_the_parser_reads_the_document_and_refuses_each_spoilt_one(tmp_path):
    files = []
    for number, document in enumerate([asyncapi(), *BAD]):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(document), "utf-8")
    done = subprocess.run(
        [shutil.which("node") or "node", str(NODE / "asyncapi.mjs"), *map(str, files)],
        capture_output=True, text=True, check=True, timeout=120, cwd=NODE,
    )  # fmt: skip
    good, *bad = [json.loads(line) for line in done.stdout.splitlines()]
    # A later version of AsyncAPI than 3.0 exists: that is no fault of a document of 3.0.
    assert {one["code"] for one in good["diagnostics"]} <= {"asyncapi-latest-version"}
    assert good["channels"] == [channel["address"] for channel in asyncapi()["channels"].values()]
    assert good["operations"] == list(asyncapi()["operations"])
    assert len(bad) == len(BAD)
    for number, one in enumerate(bad):
        assert any(found["severity"] == 0 for found in one["diagnostics"]), number
