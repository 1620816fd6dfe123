"""The examples do what they say, on a real service with a town to call and a real mail server."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from refold.engine.signatures import sign, signed_text
from tests.support.example_kit import (
    Stage,
    data_of,
    example,
    outputs,
    staged,
    text_of,
    wait_for_event,
)
from tests.support.http_kit import create, followed, hook_path, refused, run
from tests.support.service import Client, Reply

INCIDENT = {"service": "shop-api", "severity": "critical", "summary": "No answer for 5 minutes"}
ORDER = {
    "id": "A-17",
    "email": "ann@mail.example",
    "lines": [{"sku": "x", "count": 2, "price": 10}, {"sku": "y", "count": 1, "price": 5.5}],
}
COLLEAGUE = {"name": "Ada Lovelace", "email": "ada@company.example", "role": "engineer"}
SITES = [
    {"name": "Graz <west>", "minutes_down": 12},
    {"name": "Linz", "minutes_down": 3},
    {"name": "Wien", "minutes_down": 95},
]


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """What all tests of this file play on."""
    with staged(tmp_path_factory.mktemp("examples") / "data") as made:
        yield made


@pytest.fixture
def stage(theatre: Stage) -> Stage:
    """The stage before anything has happened on it."""
    theatre.reset()
    return theatre


@pytest.fixture
def user(theatre: Stage, org: str) -> Iterator[Client]:
    """A client of this test's tenant."""
    made = theatre.service.client(org)
    yield made
    made.close()


def incident(user: Client, definition: dict[str, Any]) -> str:
    """Report an incident by webhook, and wait until somebody is asked; returns the run."""
    hook = hook_path(user, create(user, definition))
    reply = user.call("POST", hook, INCIDENT, {"Authorization": ""})
    assert (reply.status, reply.json) == (202, {})
    run_id = reply.headers["x-run-id"]
    wait_for_event(user, run_id, "interaction.requested")
    return run_id


def answered(user: Client, run_id: str, action: str, **values: Any) -> dict[str, Any]:
    """Answer the form of an incident, and return the run once it has ended."""
    path = f"/workflows/runs/{run_id}/interactions/approval"
    assert user.post(path, {"action": action, "values": values}).status == 202
    return followed(user, run_id)


def test_an_incident_that_is_approved_restarts_the_service(user: Client, stage: Stage) -> None:
    """The form says what it is about, and the ticket who decided."""
    stage.town.says("POST /tickets", (503, {}), (201, {"id": 4711}))
    run_id = incident(user, example("incident_escalation", stage.url))
    (asked,) = user.get(f"/workflows/runs/{run_id}/interactions").json["data"]
    assert asked["form"]["title"] == "Restart shop-api?"
    assert asked["form"]["description"] == "No answer for 5 minutes (ticket 4711)"
    assert user.get(f"/workflows/runs/{run_id}").json["status"] == "awaiting_ui_interaction"
    path = f"/workflows/runs/{run_id}/interactions/approval"
    refused(user.post(path, {"action": "restart", "values": {"region": "mars"}}), 422,
            "parameter_invalid")  # fmt: skip
    ended = answered(user, run_id, "restart", region="us", note="go")
    assert ended["status"] == "completed"
    (said,) = stage.town.heard("POST /ops/services/shop-api/restart")
    assert said == {"region": "us", "note": "go"}
    assert stage.town.heard("PATCH /tickets/incidents/4711") == [
        {"outcome": "restart by me", "problem": None}
    ]
    assert (stage.town.heard("POST /pager"), stage.mails) == ([], [])


def test_an_incident_that_nobody_answers_is_escalated_by_call_and_mail(
    user: Client, stage: Stage
) -> None:
    """The handle `timeout`; the mail may be refused, the call is repeated until it is heard."""
    stage.town.says("POST /pager", (500, {}), (500, {}), (200, {"id": 1}))
    definition = example("incident_escalation", stage.url)
    data_of(definition, "approval")["timeout"] = 0.05
    ended = followed(user, incident(user, definition))
    assert ended["status"] == "completed"
    assert outputs(ended)["approval"]["timed_out"] is True
    assert len(stage.town.heard("POST /pager/calls")) == 3
    (mail,) = stage.mails
    assert (mail["to"], mail["subject"]) == ("lead@company.example", "Escalated: shop-api")
    assert "Nobody answered within 15 minutes." in text_of(mail)
    assert stage.town.heard("PATCH /tickets")[0]["outcome"] == "escalated"


def test_a_restart_that_fails_is_escalated_too(user: Client, stage: Stage) -> None:
    """The edge `error` of a tolerated failure, and a mail that is refused stops nothing."""
    stage.town.says("POST /ops", (500, {"why": "no such region"}))
    stage.box.says_to["lead@company.example"] = "550 gone"
    ended = answered(user, incident(user, example("incident_escalation", stage.url)), "restart")
    assert ended["status"] == "completed"
    statuses = {entry["node_id"]: entry["status"] for entry in ended["logs"]}
    assert (statuses["restart"], statuses["mail"]) == ("warning", "warning")
    assert len(stage.town.heard("POST /ops")) == 1
    problem = "Webhook request failed: 500 Internal Server Error"
    assert stage.town.heard("PATCH /tickets") == [{"outcome": "escalated", "problem": problem}]


def test_an_incident_that_is_left_alone_or_small_is_only_noted(user: Client, stage: Stage) -> None:
    """A button without validation, and the default of the switch."""
    definition = example("incident_escalation", stage.url)
    left = answered(user, incident(user, definition), "dismiss", region="nowhere")
    assert left["status"] == "completed"
    small = run(user, create(user, definition), {**INCIDENT, "severity": "low"})
    assert small["status"] == "completed"
    outcomes = [body["outcome"] for body in stage.town.heard("PATCH /tickets")]
    assert outcomes == ["dismiss by me", "noted"]
    assert not stage.town.heard("POST /ops")


CUSTOMERS = [
    {"id": 1, "email": "Ann@Mail.example", "name": " Ann "},
    {"id": 2, "name": "Bob"},
    {"id": 3, "email": "cy@mail.example", "name": "Cy"},
    {"id": 4, "email": "di@mail.example", "name": "Di"},
]


def test_the_nightly_sync_reports_the_customers_that_failed(user: Client, stage: Stage) -> None:
    """Fired by its schedule: one item is bad, one is retried, one fails for good."""
    stage.town.says("GET /shop/customers", (503, {}), (200, {"customers": CUSTOMERS}))
    stage.town.says("PUT /crm/contacts/3", (503, {}), (200, {}))
    stage.town.says("PUT /crm/contacts/4", (400, {}))
    definition = example("nightly_sync", stage.url)
    hourly = {**definition, "schedule_type": "interval", "schedule_value": "1 second"}
    workflow = create(user, hourly)
    stage.town.wait("POST /chat")
    kept = {"schedule_type": definition["schedule_type"],
            "schedule_value": definition["schedule_value"]}  # fmt: skip
    assert user.call("PUT", f"/workflows/{workflow}", kept).json["next_run_at"]
    runs = user.get(f"/workflows/{workflow}/executions?origin=schedule&per_page=100").json["data"]
    ended = followed(user, runs[-1]["id"])
    assert ended["status"] == "completed"
    assert outputs(ended)["summary"] == {"customers": 4, "failed": 1, "skipped": 1}
    asked = next(call for call, _ in stage.town.calls if call.startswith("GET /shop"))
    assert re.fullmatch(r"GET /shop/customers\?changed_since=\d{4}-\d\d-\d\d", asked)
    assert stage.town.heard("PUT /crm/contacts/1")[0] == {
        "email": "ann@mail.example",
        "name": "Ann",
    }
    assert stage.town.heard("POST /chat/messages")[0] == {
        "text": "1 of 4 customers failed:\n- 4: Webhook request failed: 400 Bad Request",
        "skipped": [{"skipped": 2, "why": "email"}],
    }


def test_a_night_without_failures_reports_nothing(user: Client, stage: Stage) -> None:
    """Executed by hand, so without a scheduled time."""
    stage.town.says("GET /shop/customers", (200, {"customers": CUSTOMERS[:1]}))
    ended = run(user, stage.create(user, "nightly_sync"))
    assert ended["status"] == "completed"
    assert outputs(ended)["summary"] == {"customers": 1, "failed": 0, "skipped": 0}
    assert not stage.town.heard("POST /chat")


def fan_out(user: Client, stage: Stage) -> tuple[str, str]:
    """Store the secrets of the fan-out and create it; returns the workflow and its webhook."""
    for name, secret in (("shop-webhook", "the shop's secret"), ("books", "the books' token")):
        assert user.post("/workflows/vault", {"name": name, "secret": secret}).status == 201
    workflow = stage.create(user, "order_fan_out")
    return workflow, hook_path(user, workflow)


def ordered(user: Client, hook: str, secret: str = "the shop's secret") -> Reply:
    """Send an order as the shop does."""
    body, stamp = json.dumps(ORDER).encode(), str(int(time.time()))
    headers = {"Authorization": "", "X-Signature-Timestamp": stamp}
    headers["X-Signature"] = sign(secret, signed_text(body, stamp, None))
    return user.call("POST", hook, raw=body, headers=headers)


def test_an_order_is_told_to_all_three_and_the_newsletter_may_fail(
    user: Client, stage: Stage
) -> None:
    """Retries where they are worth it, one join, and the secret only where it is sent."""
    stage.town.says("POST /warehouse", (503, {}), (503, {}), (200, {"parcel": "P-1"}))
    stage.town.says("POST /books", (200, {"number": "I-9"}))
    stage.town.says("POST /news", (500, {}))
    _, hook = fan_out(user, stage)
    refused(ordered(user, hook, "a guess"), 401, "unauthorized")
    reply = ordered(user, hook)
    assert reply.status == 202
    ended = followed(user, reply.headers["x-run-id"])
    assert ended["status"] == "completed"
    assert stage.town.heard("POST /books") == [{"order": "A-17", "sum": 25.5}]
    counts = [len(stage.town.heard(f"POST /{name}")) for name in ("warehouse", "news", "shop")]
    assert counts == [3, 2, 1]
    assert stage.town.heard("POST /shop/orders/A-17/progress") == [
        {"order": "A-17", "parcel": "P-1", "invoice": "I-9", "newsletter": "http_500"}
    ]
    assert "the books' token" not in json.dumps(ended)


def test_an_order_that_the_warehouse_refuses_fails_and_is_resumed(
    user: Client, stage: Stage
) -> None:
    """A code that is not worth a retry; the invoice that was written is not written again."""
    stage.town.says("POST /warehouse", (422, {"why": "unknown article"}), (200, {"parcel": "P-2"}))
    stage.town.says("POST /books", (200, {"number": "I-9"}))
    _, hook = fan_out(user, stage)
    failed = followed(user, ordered(user, hook).headers["x-run-id"])
    assert (failed["status"], failed["failed_node_id"]) == ("failed", "warehouse")
    assert len(stage.town.heard("POST /warehouse")) == 1
    path = f"/workflows/runs/{failed['id']}/resume-from/invoice"
    again = user.post(path, None, Prefer="wait=30").json["new_run"]
    assert again["status"] == "completed"
    assert len(stage.town.heard("POST /books")) == 1
    (said,) = stage.town.heard("POST /shop")
    assert (said["parcel"], said["invoice"]) == ("P-2", "I-9")


def onboarding(user: Client, stage: Stage) -> str:
    """Create the three workflows of the onboarding; returns the first."""
    ids = {name: stage.create(user, f"onboarding_{name}") for name in ("account", "welcome")}
    return stage.create(user, "onboarding", **ids)


def test_onboarding_waits_for_the_account_and_not_for_the_welcome(
    user: Client, stage: Stage
) -> None:
    """Two kinds of sub-workflows, and what the first one came to."""
    stage.town.says("POST /directory", (503, {}), (201, {"id": 42}))
    ended = run(user, onboarding(user, stage), COLLEAGUE)
    assert ended["status"] == "completed"
    passed = outputs(ended)
    assert passed["done"]["text"] == "Ada Lovelace is ada.lovelace, in everyone and engineering."
    assert passed["account"]["output"]["user_id"] == 42
    assert stage.town.heard("POST /training")[0] == {"user": 42, "courses": ["safety", "engineer"]}
    welcome = followed(user, passed["welcome"]["run_id"])
    assert (welcome["status"], welcome["origin"]) == ("completed", "subworkflow")
    assert [mail["subject"] for mail in stage.mails] == ["Welcome, Ada Lovelace", "Your first day"]
    assert text_of(stage.mails[0]) == "Your login is ada.lovelace.\n"
    assert not stage.town.heard("POST /helpdesk")


def test_onboarding_without_an_account_tells_the_help_desk_where_to_look(
    user: Client, stage: Stage
) -> None:
    """A sub-workflow that failed, tolerated: the ticket names its run and its node."""
    stage.town.says("POST /directory", (409, {"why": "taken"}))
    ended = run(user, onboarding(user, stage), {**COLLEAGUE, "role": "other"})
    assert ended["status"] == "completed"
    (ticket,) = stage.town.heard("POST /helpdesk")
    assert (ticket["title"], ticket["node"]) == ("No account for Ada Lovelace", "create")
    below = user.get(f"/workflows/runs/{ticket['run']}").json
    assert (below["status"], below["failed_node_id"]) == ("failed", "create")
    assert below["error_message"] in ticket["text"]
    assert (stage.town.heard("POST /training"), stage.mails) == ([], [])


CONTACTS = [
    {"name": "  Zoe   Ng ", "email": "Zoe@Mail.example ", "city": " Rome"},
    {"name": "ann", "email": "ann@mail.example"},
    {"name": "Ann again", "email": " ANN@mail.example", "city": "Graz"},
    {"name": "nobody", "email": ""},
]


def cleaned(user: Client, workflow: str, export: str, exported_at: str) -> Any:
    """Have an export cleaned up, and return the answer."""
    body = {"source": " Trade Fair! ", "exported_at": exported_at, "export": export}
    reply = user.post(f"/workflows/sync/{workflow}", body)
    assert reply.status == 200, reply.body
    return reply.json


def test_an_export_is_cleaned_up_while_the_caller_waits(user: Client, stage: Stage) -> None:
    """Tidied, without doubles, in order, and nobody was called."""
    workflow = stage.create(user, "contact_cleanup")
    export = json.dumps({"contacts": CONTACTS})
    assert cleaned(user, workflow, export, "31.10.2025 17:30") == {
        "ok": True,
        "report": {
            "source": "trade-fair",
            "exported_at": "2025-10-31T16:30:00Z",
            "contacts": [
                {"name": "ann", "email": "ann@mail.example", "city": "unknown"},
                {"name": "Zoe Ng", "email": "zoe@mail.example", "city": "Rome"},
            ],
            "removed": 2,
        },
    }
    assert not stage.town.calls


@pytest.mark.parametrize(
    ("export", "exported_at", "problem", "paths"),
    [
        ("not JSON", "31.10.2025 17:30", "json_invalid", ["contacts"]),
        ("{}", "31.10.2025 17:30", None, ["contacts"]),
        (json.dumps({"contacts": CONTACTS}), "Friday", None, ["exported_at"]),
        ('{"contacts": [{"name": " ", "email": "a@b c"}]}', "31.10.2025 17:30", None,
         ["contacts[0].email", "contacts[0].name"]),
    ],
)  # fmt: skip
def test_an_export_that_can_not_be_used_is_answered_with_what_is_wrong(
    user: Client, stage: Stage, export: str, exported_at: str, problem: str | None, paths: list[str]
) -> None:
    """The failure of the parser and that of the validation end in one answer."""
    answer = cleaned(user, stage.create(user, "contact_cleanup"), export, exported_at)
    assert (answer["ok"], answer["problem"]) == (False, problem)
    assert sorted(error["path"] for error in answer["errors"]) == paths


def weekly(user: Client, stage: Stage) -> str:
    """Store the grant of the report and create it."""
    grant = {"provider": "api", "grant_type": "client_credentials", "client_id": "me",
             "client_secret": "the API's secret", "token_url": f"{stage.url}/token"}  # fmt: skip
    stage.town.says("POST /token", (200, {"access_token": "token-1", "expires_in": 600}))
    made = user.post("/workflows/authorization", grant)
    assert made.status == 200, made.body
    return stage.create(user, "weekly_report", auth=made.json["id"])


def test_the_weekly_report_is_mailed_longest_first(user: Client, stage: Stage) -> None:
    """Asked with a token, for the week before, and safe in HTML."""
    stage.town.says("GET /api/sites", (503, {}), (200, {"sites": SITES}))
    workflow = weekly(user, stage)
    due = user.get(f"/workflows/{workflow}").json["next_run_at"]
    assert due[11:16] in ("07:00", "08:00")
    ended = run(user, workflow)
    assert ended["status"] == "completed"
    asked = [call for call, _ in stage.town.calls if call.startswith("GET /api")][-1]
    query = parse_qs(urlsplit(asked.removeprefix("GET ")).query)
    assert query == {"from": [outputs(ended)["week"]["value"]], "days": ["7"]}
    (mail,) = stage.mails
    assert mail["to"] == "operations@company.example"
    assert mail["subject"].startswith("2 of 3 sites were down in the week of ")
    assert text_of(mail) == "Wien: 95 minutes\nGraz <west>: 12 minutes\n"
    assert "<td>Graz &lt;west&gt;</td>" in text_of(mail, "html")
    assert "token-1" not in json.dumps(ended)


def test_a_calm_week_sends_no_mail_and_a_dead_api_is_reported(user: Client, stage: Stage) -> None:
    """The branch of the condition, and the edge `error` of the call."""
    workflow = weekly(user, stage)
    stage.town.says("GET /api/sites", (200, {"sites": SITES[1:2]}))
    assert outputs(run(user, workflow))["nothing"]["text"] == "All 1 sites were up."
    assert not stage.mails
    stage.town.says("GET /api/sites", (403, {}))
    ended = run(user, workflow)
    assert ended["status"] == "completed"
    (mail,) = stage.mails
    assert mail["subject"].startswith("No report for the week of ")
    assert text_of(mail) == f"API request failed: 403 Forbidden (run {ended['id']})\n"
