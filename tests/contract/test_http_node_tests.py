"""Trying out a node: it does what it would do in a run, and the journal hears nothing of it."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from tests.support.http_kit import create, nothing_written, quick, refused
from tests.support.service import Client, Endpoint, Hit, Service, node, token

PATH = "/workflows/test-node"
SECRET = "a secret of eleven words that nobody is meant to read"


def tried(client: Client, tested: dict[str, Any], **context: Any) -> Any:
    """Try out a node and return what came of it."""
    reply = client.post(PATH, {"node": tested, "context": context})
    assert reply.status == 200, reply.body
    return reply.json


def faults(client: Client, tested: Any) -> list[str]:
    """Return the places of the faults of a node that can't be."""
    return sorted(refused(client.post(PATH, {"node": tested}), 422, "parameter_invalid"))


def test_a_pure_node_runs_on_the_context(api: Service, client: Client) -> None:
    """Its output and, where it has handles, the one that it leaves by."""
    text = node("a", "text_transform", template="hi {{ trigger.name }} {{ other.text }}")
    check = node("c", "string_condition", left="{{ x.y }}", operator="equals", right="z")
    with nothing_written(api):
        made = tried(client, text, trigger={"name": "Ada"}, other={"text": "!"})
        assert made == {"status": "success", "output": {"text": "hi Ada !"}}
        made = tried(client, check, x={"y": "z"})
        assert (made["status"], made["handle"]) == ("success", "true")
        failed = tried(
            client, node("n", "number_condition", left="{{ a }}", operator=">", right=1), a="x"
        )
    assert failed["status"] == "error"
    assert failed["output"]["error"]["code"] == "type_mismatch"
    assert "handle" not in failed


def test_a_call_is_really_made(api: Service, client: Client, sink: Endpoint) -> None:
    """With a key of its own, by the rules of a run, and recorded nowhere."""
    with nothing_written(api):
        made = tried(
            client,
            node("n", "webhook", url=f"{sink.url}/test-node", body={"a": "{{ trigger.a }}"}),
            trigger={"a": 5},
        )
        hit = [hit for hit in sink.hits if hit.path == "/test-node"][-1]
        assert (made["status"], made["output"]["body"]) == ("success", {"ok": True})
        assert (hit.body, hit.key[:5]) == (b'{"a":5}', "test:")
        failed = tried(client, node("n", "webhook", url=f"{sink.url}/503/x"))
        assert failed["status"] == "error"
        assert failed["output"]["error"]["code"] == "http_503"
        assert failed["output"]["status"] == 503
        private = tried(client, node("n", "webhook", url="http://10.0.0.1/"))
    assert private["output"]["error"]["code"] == "egress_refused"


def test_a_secret_is_sent_and_never_shown(client: Client, sink: Endpoint) -> None:
    """Neither what was sent nor an echo of it; a vault in the context stands in for it."""
    stored = client.post("/workflows/vault", {"name": "shop", "secret": SECRET})
    assert stored.status == 201, stored.body
    header = {"key": "X-Secret", "value": "{{ vault.shop }}"}
    echo = node("n", "webhook", url=f"{sink.url}/secret", headers=[header])

    def tell(hit: Hit) -> tuple[int, object]:
        return 200, {"got": hit.headers.get("x-secret")}

    sink.answer, before = tell, sink.answer
    try:
        reply = client.post(PATH, {"node": echo})
        assert sink.hits[-1].headers["x-secret"] == SECRET
        assert SECRET not in reply.body.decode()
        assert "***" in reply.json["output"]["body"]["got"]
        made = tried(client, echo, vault={"shop": "stand-in"})
        assert made["output"]["body"] == {"got": "stand-in"}
    finally:
        sink.answer = before
    shown = tried(client, node("a", "text_transform", template="{{ vault.shop }}"))
    assert shown["output"] == {"text": "***"}
    missing = {"key": "X", "value": "{{ vault.nobody }}"}
    failed = tried(client, node("n", "webhook", url=f"{sink.url}/x", headers=[missing]))
    assert failed["output"]["error"]["code"] == "secret_missing"


def test_what_waits_says_what_it_would_do(api: Service, client: Client) -> None:
    """Nothing waits, asks, starts or repeats."""
    other = create(client, quick())
    body = {"nodes": [node("inner", "text_transform", template="x")], "edges": []}
    form = {
        "title": "Pay {{ trigger.n }}?",
        "fields": [{"name": "reason"}],
        "actions": [{"id": "ok", "label": "OK"}],
    }
    with nothing_written(api):
        delay = node("d", "delay", duration=2, unit="minutes")
        assert tried(client, delay)["output"] == {"waits_seconds": 120}
        far = tried(client, node("d", "delay", duration="{{ n }}", unit="days"), n=400)
        assert far["output"]["error"]["code"] == "delay_invalid"
        asked = tried(client, node("f", "form", **form), trigger={"n": 5})
        assert asked["output"]["form"]["title"] == "Pay 5?"
        child = node(
            "w", "trigger_workflow", workflow_id=other, input={"a": "{{ trigger.n }}"}, wait=True
        )
        assert tried(client, child, trigger={"n": 5})["output"] == {
            "workflow_id": other,
            "input": {"a": 5},
            "wait": True,
        }
        loop = node("i", "iterator", items="{{ trigger.list }}", **body)
        made = tried(client, loop, trigger={"list": [1, 2, 3]})
        assert made["output"]["item_count"] == 3
        assert made["output"]["concurrency"] >= 1


def test_a_trigger_takes_the_payload(client: Client) -> None:
    """And says how it breaks the schema."""
    start = node("t", "webhook_trigger", input_schema={"required": ["a"]})
    made = tried(client, start, payload={"a": 1})
    assert made["output"] == {"a": 1, "trigger_type": "test", "run_id": "test"}
    failed = tried(client, start)
    assert failed["output"]["error"]["code"] == "payload_invalid"
    assert "payload.a" in failed["output"]["error"]["message"]


def test_a_node_needs_no_id_and_may_be_named_by_its_type(client: Client) -> None:
    """An editor tries out what isn't placed yet."""
    assert tried(client, {"type": "text_transform", "data": {"template": "x"}})["output"] == {
        "text": "x"
    }


def test_a_faulty_node_is_refused_with_its_faults(api: Service, client: Client) -> None:
    """Each by its path below `node`."""
    nested = {"nodes": [node("x", "delay")], "edges": []}
    with nothing_written(api):
        assert faults(client, node("n", "webhook", method="BREW", url=5)) == [
            "node.data.method",
            "node.data.url",
        ]
        assert faults(client, node("n", "nobody")) == ["node.data.componentId"]
        assert faults(client, {"id": "n"}) == ["node.data.componentId"]
        assert faults(client, {"id": "n", "data": 5}) == ["node.data"]
        assert faults(client, node("a b", "delay", duration=1)) == ["node.id"]
        assert faults(client, node("d", "delay", duration=1, timeout="x")) == ["node.data.timeout"]
        loop = node("i", "iterator", items="{{ x }}", **nested)
        reply = client.post(PATH, {"node": loop})
        errors = refused(reply, 422, "parameter_missing")
        assert list(errors) == ["node.data.nodes[0].data.duration"]


@pytest.mark.parametrize("body", [None, [], {}, {"node": 5}, {"node": {}, "context": []}])
def test_a_body_that_is_none_is_refused(client: Client, body: Any) -> None:
    """By what is missing or wrong in it."""
    reply = client.call("POST", PATH, body)
    assert reply.status == 422, reply.body
    wrong = {"node": node("a", "delay", duration=1), "contxt": {}}
    assert list(refused(client.post(PATH, wrong), 422, "parameter_invalid")) == ["contxt"]


def test_an_output_beyond_the_limit_is_a_failure(client: Client) -> None:
    """As it would be in a run."""
    made = tried(client, node("a", "text_transform", template="{{ x }}"), x="y" * 300_000)
    assert made["output"]["error"]["code"] in ("output_too_large", "template_error")


def test_trying_out_needs_the_scope_to_write(api: Service) -> None:
    """Since a node may do anything that a workflow may."""
    body = {"node": node("a", "text_transform", template="x")}
    with closing(Client(api.port, token(scope="workflows:read workflows:execute"))) as reader:
        refused(reader.post(PATH, body), 403, "insufficient_scope")
