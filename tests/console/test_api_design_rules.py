"""The OpenAPI document by Spectral: rules for any such document, and the NL API Design Rules."""

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from console.api.app import ROUTES
from console.api.openapi import document

NODE = Path(__file__).parent.parent / "node"
CORS = "Access-Control-Allow-Origin"
PATH, ITEM = "/incidents", "/incidents/{incident_id}"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("node") is None or not (NODE / "node_modules").is_dir(),
        reason="node is not installed, or `npm ci` was not run in tests/node (./run test does)",
    ),
]

# rule -> a place in the document, and what is put there (None: it is taken away)
BREAKS: dict[str, tuple[list[str], Any]] = {
    "doc-openapi": (["openapi"], "2.0"),
    "doc-openapi-contact": (["info", "contact", "email"], None),
    "semver": (["info", "version"], "first"),
    "uri-version": (["servers"], [{"url": "/api"}]),
    "servers-https": (["servers"], [{"url": "http://console.example/v1"}]),
    "version-header": (["paths", PATH, "get", "responses", "200", "headers"], {}),
    "no-trailing-slash": (["paths", "/lists/"], {}),
    "path-segments-kebab-case": (["paths", "/openIncidents"], {}),
    "query-keys-camel-case": (
        ["paths", PATH, "get", "parameters"],
        [{"name": "from_ms", "in": "query", "schema": {"type": "integer"}}],
    ),
    "schema-camel-case": (["components", "schemas", "incident_view"], {"type": "object"}),
    "http-methods": (["paths", PATH, "search"], {"operationId": "find", "responses": {}}),
    "operation-id-unique": (["paths", PATH, "get", "operationId"], "raise-alarm"),
    "path-params": (["paths", ITEM, "get", "parameters"], []),
    "problem-details": (["paths", PATH, "get", "responses", "404", "content"], {"text/html": {}}),
    "problem-members": (["components", "schemas", "ProblemView", "properties", "title"], None),
    "invalid-input": (["paths", PATH, "post", "responses", "400"], None),
    "invalid-query": (["paths", PATH, "get", "responses", "400"], None),
    "openapi-published": (["paths", "/openapi.json", "get"], None),
    "openapi-published-path": (["paths", "/openapi.json"], None),
    "openapi-cors": (
        ["paths", "/openapi.json", "get", "responses", "200", "headers", CORS],
        None,
    ),
    "timezone": (
        ["components", "schemas", "Local"],
        {"type": "object", "properties": {"at": {"type": "string", "format": "time"}}},
    ),
}
# The same for rules that hold for any OpenAPI document: all of them broken at once.
BREAKS_ANY: dict[str, tuple[list[str], Any]] = {
    "oas3-schema": (["info", "title"], 7),
    "array-items": (["components", "schemas", "TrackPoint", "items"], None),
    "oas3-unused-component": (["components", "schemas", "Nobodys"], {"type": "string"}),
    "operation-tag-defined": (["paths", PATH, "get", "tags"], ["nowhere"]),
}


def broken(document: dict[str, Any], steps: list[str], value: Any) -> dict[str, Any]:
    """A document with one place changed."""
    changed = copy.deepcopy(document)
    *most, last = steps
    at: Any = changed
    for step in most:
        at = at[step]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return changed


def test_the_document_keeps_the_rules_and_each_rule_finds_what_breaks_it(tmp_path):
    ours = document(ROUTES)
    # What is broken needs no more paths than are broken.
    few = ours | {"paths": {path: ours["paths"][path] for path in (PATH, ITEM, "/openapi.json")}}
    documents = {"any-ours": ours, "any-broken": few}
    for steps, value in BREAKS_ANY.values():
        documents["any-broken"] = broken(documents["any-broken"], steps, value)
    documents |= {rule: broken(few, *change) for rule, change in BREAKS.items()}
    files = [tmp_path / f"{name}.json" for name in documents]
    for file, made in zip(files, documents.values(), strict=True):
        file.write_text(json.dumps(made), "utf-8")
    done = subprocess.run(
        [shutil.which("node") or "node", str(NODE / "openapi.mjs"), *map(str, files)],
        capture_output=True, text=True, check=False, timeout=120, cwd=NODE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whole, any_of_them, *others = (json.loads(line) for line in done.stdout.splitlines())
    assert whole == []
    assert set(BREAKS_ANY) <= {one["rule"] for one in any_of_them}
    for rule, found in zip(BREAKS, others, strict=True):
        assert {one["rule"] for one in found} == {rule}, rule
