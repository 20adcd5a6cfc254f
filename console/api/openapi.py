"""The OpenAPI document (3.1), made from the routes and the records they take and give."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from console.api.http import CSRF_HEADER, SAFE, Route
from console.api.problems import API_VERSION, PROBLEM_TYPE, ProblemView

_REF: Final = "#/components/schemas/{name}"
_PATTERNS: Final = {
    "incident_id": r"^i-[A-Za-z0-9_-]{1,100}$",
    "alarm_id": r"^i-[A-Za-z0-9_.-]{1,110}$",
    "command_id": r"^[A-Za-z0-9_-]{1,32}:[0-9]{1,20}-[0-9]{1,20}$",
}
_ID: Final = r"^[A-Za-z0-9._-]{1,64}$"
_PROBLEMS: Final = {
    "400": "The request cannot be read",
    "401": "Not signed in, or the session is locked",
    "403": "Not allowed",
    "404": "Not found",
    "405": "Method not allowed",
    "409": "Refused by the watch, or in conflict with what is there",
    "413": "Too large",
    "415": "Not JSON",
    "422": "A limit was reached",
    "429": "Too many requests",
    "503": "The store or a provider does not answer",
}
DESCRIPTION: Final = """\
The console of the monitoring centre. Every change is a command in the journal: it is answered with
200 when the watch has applied it, 202 when it is journalled and waits, 409 when it was refused.
Errors are problem details (RFC 9457). Sign in with POST /v1/session; the cookie of the session
and, for changes, its token in the header X-CSRF-Token make a request somebody's.
"""


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document."""
    types = [kind for route in routes for kind in (route.answer, route.body) if kind is not None]
    queries = [route.query for route in routes]
    once = list(dict.fromkeys([*types, *queries, ProblemView]))
    schemas, components = msgspec.json.schema_components(once, ref_template=_REF)
    schema_of = dict(zip(once, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operations = paths.setdefault(route.path.removeprefix("/v1"), {})
        operations[route.method.lower()] = _operation(route, schema_of, components)
    paths["/openapi.json"] = {"get": _PUBLISHED}
    components = _used(components, paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Afstand console",
            "version": API_VERSION,
            "description": DESCRIPTION,
            "license": {"name": "EUPL-1.2", "identifier": "EUPL-1.2"},
            "contact": {
                "name": "Afstand",
                "url": "https://afstand.example/",
                "email": "afstand@afstand.example",
            },
        },
        "servers": [{"url": "/v1", "description": "This site"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": components,
            "headers": {
                "API-Version": {
                    "description": "The full version of the API",
                    "schema": {"type": "string"},
                    "example": API_VERSION,
                }
            },
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "afstand"},
                "csrf": {"type": "apiKey", "in": "header", "name": CSRF_HEADER},
            },
        },
    }


def _used(components: dict[str, Any], paths: dict[str, Any]) -> dict[str, Any]:
    """The components that operations refer to, and what those refer to; queries are parameters."""
    found: dict[str, Any] = {}
    waiting = [paths]
    while waiting:
        for name in re.findall(_REF.format(name=r"([\w.-]+)"), str(waiting.pop())):
            if name not in found:
                found[name] = _closed(components[name])
                waiting.append(found[name])
    return {name: found[name] for name in components if name in found}


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A tuple has the items that are named, and no more."""
    named = len(schema.get("prefixItems", ()))
    return {**schema, "items": {}, "maxItems": named} if named else schema


def _operation(
    route: Route, schema_of: dict[Any, Any], components: dict[str, Any]
) -> dict[str, Any]:
    rights = (
        "anybody"
        if route.rights is None
        else (", ".join(f"`{right.value}`" for right in route.rights) or "anybody who is signed in")
    )
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"{(route.handler.__doc__ or '').strip()} Rights: {rights}.",
        "tags": [route.tag],
        "responses": _responses(route, schema_of),
    }
    parameters = _path_parameters(route.path) + _query_parameters(route, schema_of, components)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of[route.body]}},
        }
    if route.rights is not None:
        needed: dict[str, list[str]] = {"session": []}
        if route.method not in SAFE:
            needed["csrf"] = []
        operation["security"] = [needed]
    return operation


def _responses(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    version = {"API-Version": {"$ref": "#/components/headers/API-Version"}}
    for status in route.statuses:
        response: dict[str, Any] = {"description": _DONE[status], "headers": version}
        if route.stream:
            response["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
        elif route.answer is not None and status != 204:
            response["content"] = {"application/json": {"schema": schema_of[route.answer]}}
        found[str(status)] = response
    problem = {PROBLEM_TYPE: {"schema": schema_of[ProblemView]}}
    for number, words in _PROBLEMS.items():
        found[number] = {"description": words, "headers": version, "content": problem}
    return found


_PUBLISHED: Final = {
    "operationId": "read-openapi",
    "summary": "This document",
    "description": "For tools of other sites too. Rights: anybody.",
    "tags": ["session"],
    "responses": {
        "200": {
            "description": "Done",
            "headers": {
                "API-Version": {"$ref": "#/components/headers/API-Version"},
                "Access-Control-Allow-Origin": {"schema": {"type": "string", "const": "*"}},
            },
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
}
"""NL API Design Rules, /core/publish-openapi."""
_DONE: Final = {
    200: "Done",
    201: "Made",
    202: "Journalled; no watch has come to it yet",
    204: "Done; nothing to say",
    302: "Go to the provider",
}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": _PATTERNS.get(name, _ID)},
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(
    route: Route, schema_of: dict[Any, Any], components: dict[str, Any]
) -> list[dict[str, Any]]:
    name = schema_of[route.query]["$ref"].rpartition("/")[2]
    schema = components[name]
    required = schema.get("required", ())
    return [
        {"name": field, "in": "query", "required": field in required, "schema": part}
        for field, part in schema.get("properties", {}).items()
    ]
