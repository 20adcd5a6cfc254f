"""The OpenAPI document: complete, after the Dutch API design rules, and true (schemathesis)."""

import re

import hypothesis
import pytest
import schemathesis

from alerting.book.roles import Role
from console.access.gate import Buckets
from console.api.app import ROUTES
from console.api.openapi import document
from console.api.problems import Code, Problem
from tests.console.site import ConsoleSite, press
from tests.console.test_proposals import proposal

METHODS = {"get", "put", "post", "delete", "options", "head", "patch"}


@pytest.fixture(scope="module")
def api():
    return document(ROUTES)


def operations(api):
    return [
        (path, method, operation)
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_document_follows_the_rules_of_the_dutch_api_strategy(api):
    """NL API Design Rules 2.1, those that can be read from the document; by their names."""
    assert api["openapi"].startswith("3.")  # /core/doc-openapi
    assert set(api["info"]["contact"]) == {"name", "url", "email"}  # /core/doc-openapi-contact
    assert re.fullmatch(r"\d+\.\d+\.\d+", api["info"]["version"])  # /core/semver
    (server,) = api["servers"]
    assert re.search(r"/v\d+$", server["url"])  # /core/uri-version
    for path, method, operation in operations(api):
        assert not path.endswith("/")  # /core/no-trailing-slash
        if path == "/openapi.json":  # /core/publish-openapi
            assert list(operation["responses"]["200"]["headers"])[1].startswith("Access-Control")
            continue
        for segment in path.strip("/").split("/"):
            assert re.fullmatch(r"[a-z]+(-[a-z]+)*|{[a-z_]+}", segment), path  # kebab-case
        assert method in METHODS  # /core/http-methods
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query":  # /core/query-keys-camel-case
                assert re.fullmatch(r"[a-z][A-Za-z0-9]*", parameter["name"])
        for status, response in operation["responses"].items():
            assert "API-Version" in response["headers"]  # /core/version-header
            if status >= "400":  # /core/error-handling/problem-details
                assert list(response["content"]) == ["application/problem+json"]
        assert "401" in operation["responses"]
        assert operation["operationId"]
        assert operation["summary"]


def test_operation_ids_are_used_once_and_references_resolve(api):
    ids = [operation["operationId"] for _, _, operation in operations(api)]
    assert len(set(ids)) == len(ids) == len(ROUTES) + 1  # and the document itself
    references = set(re.findall(r"#/components/schemas/([\w-]+)", str(api)))
    assert references <= set(api["components"]["schemas"])


def test_every_problem_code_has_a_status_and_a_title():
    for code in Code:
        response = Problem(code, "why").response("/v1/x")
        assert response.status_code >= 400
        assert response.headers["content-type"] == "application/problem+json"


def test_the_document_is_published_for_tools_of_other_sites(site):
    answer = site.browser().get("/v1/openapi.json")
    assert answer.json()["info"]["title"] == "Afstand console"
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    made = ConsoleSite(tmp_path_factory.mktemp("schemathesis"))
    made.services.debug = False
    made.gate._requests = made.gate._attempts = Buckets(1e9, 1e9, 1_000)
    incident_id = press(made)
    client = made.as_role(Role.SHIFT_LEAD)
    proposed = client.post("/v1/order-proposals", json=proposal()).json()
    known = {
        "incident_id": incident_id, "alarm_id": f"{incident_id}.1", "person_id": "wim",
        "case_id": "case", "order_id": "ban", "zone_id": "zone", "device_id": "tag-1",
        "proposal_id": proposed["proposal_id"], "command_id": proposed["command"]["id"],
        "alarm_class": "legal",
    }  # fmt: skip
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", made.app)
    yield schema, client, made, known
    made.close()


# Who asks: a shift lead may most; the log of look-ups is the auditor's.
ROLE_OF = {"list-consultations": Role.AUDITOR}
# Answered with 404 or 401 only: no provider is configured, nobody is signed out or locked out.
LOOKS = ("look-up-positions", "list-last-known", "replay-case")
NEVER_DONE = ("oidc-begin", "oidc-finish", "sign-in", "sign-out", "lock-session", "unlock-session")


@pytest.mark.slow
@pytest.mark.parametrize("route", [r for r in ROUTES if not r.stream], ids=lambda r: r.name)
def test_no_request_that_the_document_allows_or_forbids_finds_a_server_error(checked, route):
    schema, client, site, known = checked
    if route.name in ROLE_OF:
        client = site.as_role(ROLE_OF[route.name])
    operation = schema[route.path.removeprefix("/v1")][route.method]
    headers = {
        "X-CSRF-Token": client.headers["X-CSRF-Token"],
        "Cookie": f"{site.services.cookie}={client.cookies[site.services.cookie]}",
    }
    if route.name in ("sign-out", "lock-session"):
        headers = {}
    statuses: list[int] = []

    @hypothesis.settings(
        max_examples=10, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy(), real=hypothesis.strategies.booleans())
    def run(case, real):
        if real or not statuses:
            case.path_parameters = {name: known[name] for name in case.path_parameters or ()}
        asked = {"reason": "asked by the court"} if route.name in LOOKS else {}
        response = case.call(headers=headers, params=asked if real else {})
        statuses.append(response.status_code)
        case.validate_response(
            response,
            checks=[
                schemathesis.checks.not_a_server_error,
                schemathesis.checks.response_schema_conformance,
                schemathesis.checks.content_type_conformance,
                schemathesis.checks.status_code_conformance,
            ],
        )

    run()
    # The checks looked at answers of the handler, not at a gate before it.
    assert 429 not in statuses
    if route.name not in NEVER_DONE:
        assert set(statuses) - {401, 403, 404}, statuses
