"""What every answer tells browsers and caches, whatever it is an answer to."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from tests.support.http_kit import create, exchange, quick, run
from tests.support.service import Client, Service

GUARDS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def test_each_kind_of_answer_has_the_guards(client: Client) -> None:
    """Data, refusals, figures, evidence and streams; an answer with a secret above all."""
    nobody = Client(client.port)
    workflow = create(client, quick())
    made = run(client, workflow)["id"]
    ndjson = {"Accept": "application/x-ndjson"}
    tail = {"Accept": "text/event-stream"}
    secret = {"name": "api-key:one"}
    replies = {
        "data": client.get("/workflows"),
        "no body": client.call("HEAD", "/workflows"),
        "a page": client.get("/openapi.json"),
        "figures": client.get("/metrics"),
        "evidence": client.get(f"/workflows/runs/{made}/bundle"),
        "a note": client.get("/journal/checkpoint"),
        "lines": client.call("GET", f"/workflows/runs/{made}/events", headers=ndjson),
        "a tail": client.call("GET", f"/workflows/runs/{made}/events", headers=tail),
        "a probe": client.get("/readyz"),
        "nothing there": client.get("/nowhere"),
        "a wrong method": client.call("PATCH", "/workflows"),
        "a bad body": client.call("POST", "/workflows", raw=b"{"),
        "no token": nobody.get("/workflows"),
        "a secret": client.post("/workflows/vault", secret),
        "deleted": client.call("DELETE", f"/workflows/{workflow}"),
    }
    nobody.close()
    assert replies["a secret"].status == 201
    assert "wfk_" in replies["a secret"].body.decode()
    for what, reply in replies.items():
        found = {name: reply.headers.get(name) for name in GUARDS}
        assert found == GUARDS, what
        assert "server" not in reply.headers, what
        assert "x-powered-by" not in reply.headers, what
        assert "access-control-allow-origin" not in reply.headers, what


@pytest.mark.parametrize("sent", [b"NO HTTP\r\n\r\n", b"GET /" + b"x" * 40_000])
def test_what_never_was_a_request_is_answered_with_the_guards(api: Service, sent: bytes) -> None:
    """It is answered below the routes, by other code."""
    head = exchange(api.port, sent).partition(b"\r\n\r\n")[0].decode().lower()
    lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert {name: lines.get(name) for name in GUARDS} == GUARDS


def test_the_page_for_people_may_use_its_own_style_and_nothing_else(client: Client) -> None:
    """No script, no frame, no form, and the one style by its hash: an injected one is not used."""
    reply = client.get("/docs")
    page = reply.body.decode()
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert len(style) == 1
    digest = b64encode(sha256(style[0].encode()).digest()).decode()
    policy = dict(part.strip().split(" ", 1) for part in
                  reply.headers["content-security-policy"].split(";"))  # fmt: skip
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert not re.search(r"<script|<iframe|<form| style=| on\w+=|https?://[^<\"' ]*\.js", page)
    for name in GUARDS.keys() - {"content-security-policy"}:
        assert reply.headers[name] == GUARDS[name]
