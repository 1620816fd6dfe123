"""The documents about the API agree with the code: OpenAPI, `/docs`, and the room's README."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from refold.engine import errors as engine_errors
from refold.engine.component import is_list, is_object
from refold.engine.errors import StateCode
from refold.http.docs_page import ERROR_CODES
from refold.http.endpoints import ENDPOINTS
from refold.http.errors import BY_CLASS, TYPES
from refold.journal import errors as journal_errors
from refold.projections import errors as view_errors
from tests.support.http_kit import TYPES as CONTRACT_TYPES
from tests.support.http_kit import calling, create, quick, run
from tests.support.service import Client, Endpoint

HTTP = Path(__file__).parents[2] / "http"
CONTRACT_CODES = {
    "invalid_json",
    "unauthorized",
    "insufficient_scope",
    "resource_missing",
    "node_not_found",
    "workflow_inactive",
    "run_not_finished",
    "run_already_finished",
    "run_not_failed",
    "definition_incompatible",
    "idempotency_key_reused",
    "workflow_in_use",
    "payload_erased",
    "payload_too_large",
    "parameter_missing",
    "parameter_invalid",
    "node_not_completed",
    "internal_server_error",
    "overloaded",
    "read_only",
}
FAULTS_OF_OURS: set[type[Exception]] = {
    # A commit that no entry can be made of, and journals that can't be opened or read.
    journal_errors.InvalidCommitError,
    journal_errors.StoreOwnedError,
    journal_errors.ForeignStoreError,
    journal_errors.WrongKeyError,
    # The engine turns it into `workflow_in_use`.
    journal_errors.ResourceInUseError,
    # What only the command line and the projector meet.
    view_errors.ProjectionRefusedError,
    view_errors.ChangedFoldError,
    view_errors.PoisonEventError,
    view_errors.FoldTooSlowError,
    view_errors.ViewsReplacedError,
    view_errors.GapError,
    view_errors.ExportRefusedError,
    view_errors.ExportFailedError,
}
"""What is answered with a 500, or can't come up while a request is served."""


@pytest.fixture
def document(client: Client) -> Any:
    """The OpenAPI document as it is served."""
    return client.get("/openapi.json").json


def _refs(value: Any) -> set[str]:
    if is_object(value):
        named = value.get("$ref")
        found = {named} if isinstance(named, str) else set[str]()
        return found.union(*map(_refs, value.values()))
    return set[str]().union(*map(_refs, value)) if is_list(value) else set[str]()


def _routes_table() -> str:
    lines = ["| route | scope | success | |", "| --- | --- | --- | --- |"]
    for endpoint in ENDPOINTS:
        route = f"`{endpoint.method} {endpoint.path}`"
        scope = f"`{endpoint.scope}`" if endpoint.scope else "none"
        success = ", ".join(str(status) for status in endpoint.answers if status < 300)
        lines.append(f"| {route} | {scope} | {success} | {endpoint.summary} |")
    return "\n".join(lines)


def _emitted() -> set[str]:
    """Return every error code that stands in the code of the room."""
    source = "\n".join(path.read_text() for path in HTTP.glob("*.py"))
    raised = re.findall(r"RequestError\(\s*\d{3},\s*\"(\w+)\"", source)
    assert len(re.findall(r"RequestError\(", source)) >= len(raised) > 5
    return {*raised, *(code for _, code in BY_CLASS.values()), *get_args(StateCode)}


def test_the_document_is_openapi_3_1(document: Any) -> None:
    """What the specification demands of its structure; references lead somewhere."""
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= set(document["info"])
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(set(ids)) == len(ids)
    for path, _, operation in operations:
        assert operation["responses"]
        in_path = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", path)
        assert all(p["required"] for p in operation.get("parameters", ()) if p["in"] == "path")
        assert all(re.fullmatch(r"[1-5]\d\d", status) for status in operation["responses"])
        assert all(response["description"] for response in operation["responses"].values())
    schemas = document["components"]["schemas"]
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", name) for name in schemas)
    assert _refs(document) <= {f"#/components/schemas/{name}" for name in schemas}


def test_each_schema_is_a_json_schema(document: Any) -> None:
    """Compiled by a validator, each with the others in reach."""
    import jsonschema_rs

    components = document["components"]
    for name, schema in components["schemas"].items():
        assert jsonschema_rs.meta.is_valid(schema), name
        jsonschema_rs.Draft202012Validator({**schema, "components": components})


def test_every_route_is_in_the_document(document: Any) -> None:
    """With its scope, its body, and each of its answers."""
    described = {
        (path, method.upper()) for path, methods in document["paths"].items() for method in methods
    }
    assert described == {(endpoint.path, endpoint.method) for endpoint in ENDPOINTS}
    for endpoint in ENDPOINTS:
        operation = document["paths"][endpoint.path][endpoint.method.lower()]
        assert ("security" in operation) == bool(endpoint.scope)
        assert endpoint.scope in operation["description"]
        assert ("requestBody" in operation) == (endpoint.request is not None)
        assert {str(status) for status in endpoint.answers} <= set(operation["responses"])


def test_answers_have_the_documented_form(client: Client, sink: Endpoint, document: Any) -> None:
    """A run with logs, a resumed one, lists and refusals, against their schemas."""
    import jsonschema_rs

    workflow = create(client, calling(sink, "ok", "503/x"))
    failed = run(client, workflow)["id"]
    again = client.post(f"/workflows/runs/{failed}/resume-from/n1", Prefer="wait=30")
    resumed = again.json["new_run"]["id"]
    other = create(client, quick())
    succeeded, blamed = (run(client, other, {"name": name})["id"] for name in ("Ann", "Bob"))
    for template, path in (
        ("/workflows/runs/{runId}", f"/workflows/runs/{failed}?include=workflow"),
        ("/workflows/{workflowId}/executions", f"/workflows/{workflow}/executions"),
        ("/workflows", "/workflows"),
        ("/workflows", "/workflows?page=1"),
        ("/workflows/{workflowId}", f"/workflows/{workflow}"),
        ("/workflows/{workflowId}", "/workflows/none"),
        ("/workflows/{workflowId}/versions", f"/workflows/{workflow}/versions"),
        ("/workflows/{workflowId}/versions/{version}", f"/workflows/{workflow}/versions/1"),
        ("/workflows/runs/{runId}/events", f"/workflows/runs/{failed}/events"),
        ("/workflows/{workflowId}/logs", f"/workflows/{workflow}/logs"),
        ("/workflows/{workflowId}/logs/stats", f"/workflows/{workflow}/logs/stats"),
        ("/workflows/logs/recent", "/workflows/logs/recent"),
        ("/workflows/runs/{runId}/lineage", f"/workflows/runs/{failed}/lineage"),
        ("/workflows/runs/{runId}/diff/{otherRunId}", f"/workflows/runs/{failed}/diff/{resumed}"),
        ("/journal/entries", "/journal/entries?limit=1000"),
        ("/journal/entries", f"/journal/entries?workflow={workflow}&exact=true"),
        ("/journal/events/{position}/proof", "/journal/events/1/proof"),
        ("/journal/consistency", "/journal/consistency?from=1"),
        ("/projections", "/projections"),
        ("/workflows/runs/{runId}/blame", f"/workflows/runs/{failed}/blame"),
        ("/workflows/runs/{runId}/blame", f"/workflows/runs/{succeeded}/blame"),
        ("/workflows/runs/{runId}/blame", f"/workflows/runs/{blamed}/blame"),
        ("/readyz", "/readyz"),
        ("/healthz", "/healthz"),
    ):
        reply = client.get(path)
        responses = document["paths"][template]["get"]["responses"]
        schema = responses[str(reply.status)]["content"]["application/json"]["schema"]
        whole = {**schema, "components": document["components"]}
        jsonschema_rs.Draft202012Validator(whole).validate(reply.json)


def test_every_error_code_that_can_be_sent_is_documented() -> None:
    """`doc_url` leads to an explanation, and nothing is explained that can't happen."""
    assert _emitted() | {"unauthorized", "internal_server_error"} == set(ERROR_CODES)
    assert set(ERROR_CODES) >= CONTRACT_CODES


def test_every_status_has_the_contracts_type() -> None:
    """A client may branch on the type alone."""
    assert {status: TYPES[status] for status in CONTRACT_TYPES} == CONTRACT_TYPES
    assert {status for status, _ in ERROR_CODES.values()} <= set(TYPES)


def test_the_page_shows_every_operation_and_every_code(client: Client) -> None:
    """Self-contained: no script, nothing from elsewhere, each code under its own anchor."""
    reply = client.get("/docs")
    page = reply.body.decode()
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "script" not in reply.headers["content-security-policy"]
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!/openapi\.json)', page)
    for endpoint in ENDPOINTS:
        assert f'id="{endpoint.operation_id}"' in page
        assert endpoint.path in page
    for code in ERROR_CODES:
        assert f'id="{code}"' in page


def test_the_address_of_an_explanation_leads_to_it(client: Client) -> None:
    """`doc_url` of a refusal is an anchor of the page."""
    url = client.get("/workflows/none").json["doc_url"]
    path, _, anchor = url.partition("#")
    assert path == f"http://127.0.0.1:{client.port}/docs"
    assert f'id="{anchor}"' in client.get("/docs").body.decode()


def test_the_readme_lists_the_routes_as_they_are() -> None:
    """Its table is made from the one that the router is made from."""
    assert _routes_table() in (HTTP / "README.md").read_text()


def test_every_error_class_below_has_an_answer() -> None:
    """A new error of the engine, the journal or the views is not left to become a 500."""
    concrete = {
        error
        for module in (engine_errors, journal_errors, view_errors)
        for error in vars(module).values()
        if isinstance(error, type) and issubclass(error, Exception)
        if not error.__subclasses__()
    }
    by_hand = {engine_errors.StateError, engine_errors.TooManyError}
    assert not by_hand & set(BY_CLASS)
    assert concrete - set(BY_CLASS) - by_hand == FAULTS_OF_OURS


def test_probes_answer_without_a_body_of_secrets(client: Client) -> None:
    """Health says the process lives; readiness what it can do."""
    assert client.get("/healthz").json == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status == 200
    said = ready.json
    assert said.pop("signing") in ("starting", "signing")
    assert said == {"status": "ready", "journal": "writable", "projections": "caught_up"}
    assert create(client, quick())
