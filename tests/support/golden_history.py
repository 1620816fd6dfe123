"""A small history with every event of the present catalogue, of which golden files are made.

The bodies are what a service writes for such events. Facts that are usually empty are filled
somewhere, so that a fold that confuses two of them gives something else.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from refold.journal import events as e
from refold.journal import ids
from tests.support.journal_kit import START_US
from tests.support.run_events import requested_facts

SECOND_US = 1_000_000
WORKFLOW = f"fl_{'a' * 26}"
CHILD_WORKFLOW = f"fl_{'b' * 26}"
GONE_WORKFLOW = f"fl_{'c' * 26}"
FAILED, RESUMED, ASKING, CHILD, WAITING = (f"{ids.RUN}{letter * 26}" for letter in "12345")
VAULT = f"vlt_{'d' * 26}"
SUBSCRIPTION, OTHER_SUBSCRIPTION = f"sub_{'g' * 26}", f"sub_{'h' * 26}"
OTHER_GRANT = f"auth_{'f' * 26}"
GRANT = f"auth_{'e' * 26}"


class Step(NamedTuple):
    """One event to append."""

    stream: str
    facts: e.Facts
    body: bytes | None = None
    replays: int = 0
    """The place in the history, from 1, of the event that is replayed; 0 for an original."""
    erases: int = 0
    """The place of the event whose body goes, 0 for none."""
    archives: int = 0
    """The place of the event whose body is in a segment from then on, 0 for none."""


def history() -> list[Step]:
    """Return the events; the journal's own first one stands before them."""
    steps = [*_objects(), *_subscriptions(), *_failed_run()]
    first = next(n for n, step in enumerate(steps, 1) if step.stream == FAILED)
    kept = next(n for n, step in enumerate(steps, 1) if isinstance(step.facts, e.NodeSucceeded))
    steps += _resumed_run(kept, steps[kept - 1].facts)
    steps += _asking_run()
    steps += [*_waiting_run(), *_system(first, archived=len(steps))]
    return steps


def _text(name: str, **more: Any) -> bytes:
    nodes = [
        {"id": "t", "type": "trigger", "data": {"componentId": "manual_trigger"}},
        {"id": "a", "type": "action", "data": {"componentId": "text_transform", "template": "x"}},
    ]
    text = {"name": name, "nodes": nodes, "edges": [{"id": "e0", "source": "t", "target": "a"}]}
    made = {"by": "ann", "workflow": {**text, **more}, "webhook_token": "0f" * 24}
    return msgspec.json.encode(made)


def _objects() -> list[Step]:
    first = e.WorkflowDefined(
        active=1,
        event_type="order.placed",
        idempotency_digest="aa" * 32,
        idempotency_key="define-1",
        idempotency_scope="acme:workflows",
        next_at=START_US + 60 * SECOND_US,
        schedule='{"type":"interval","value":"1 minute"}',
        uses=CHILD_WORKFLOW,
        webhook_hash="bb" * 32,
        workflow_version=1,
    )
    plain = msgspec.structs.replace(
        first, event_type="", next_at=0, schedule="", uses="", webhook_hash=""
    )
    fired = e.ScheduleFired(
        due_at=START_US + 60 * SECOND_US,
        missed=2,
        next_at=START_US + 120 * SECOND_US,
        run="",
        skipped="overlap",
    )
    item = e.VaultDefined(
        api_key_hash="cc" * 32,
        expires_at=START_US + 900 * SECOND_US,
        idempotency_digest="dd" * 32,
        idempotency_key="vault-1",
        idempotency_scope="acme:vault",
        item_version=1,
        name_hash="ee" * 32,
    )
    renewed = msgspec.structs.replace(item, item_version=2, expires_at=0, api_key_hash="")
    secret = b'{"by":"ann","name":"a-secret","secret":"1e5f44935c7f2f34"}'
    grant = e.AuthorizationDefined(
        idempotency_digest="ff" * 32,
        idempotency_key="grant-1",
        idempotency_scope="acme:authorizations",
        item_version=1,
    )
    granted = b'{"by":"ann","provider":"mail","email":"ann@b.example","ciphertext":"05261cf4"}'
    return [
        Step(CHILD_WORKFLOW, plain, _text("child")),
        Step(WORKFLOW, first, _text("chain", schedule_type="interval", schedule_value="1 minute")),
        Step(WORKFLOW, msgspec.structs.replace(first, workflow_version=2), _text("two")),
        Step(WORKFLOW, fired),
        Step(GONE_WORKFLOW, plain, _text("gone")),
        Step(GONE_WORKFLOW, e.WorkflowDeleted(), b'{"by":"ann"}'),
        Step(VAULT, item, secret),
        Step(VAULT, e.KeyWrapped(item_version=1, key_id="k1"), b"ec31f03c9c465609"),
        Step(VAULT, renewed, secret),
        Step(VAULT, e.KeyWrapped(item_version=2, key_id="k1"), b"543265cb9b9ddc3f"),
        Step(VAULT, e.VaultDeleted(), b'{"by":"ann"}'),
        Step(OTHER_GRANT, grant, granted),
        Step(GRANT, grant, granted),
        Step(GRANT, e.KeyWrapped(item_version=1, key_id="k1"), b"f265e77fd5ba034f"),
        Step(GRANT, e.AuthorizationRefreshed(item_version=2), b'{"ciphertext":"91ed7eb1"}'),
        Step(GRANT, e.AuthorizationRefused(code="invalid_grant"), b'{"error":"invalid_grant"}'),
        Step(GRANT, e.AuthorizationDeleted(), b'{"by":"ann"}'),
    ]


def _subscriptions() -> list[Step]:
    first = e.SubscriptionDefined(
        idempotency_digest="ba" * 32,
        idempotency_key="subscribe-1",
        idempotency_scope="acme:subscriptions",
        position=3,
        types="run.failed run.completed",
        workflow=WORKFLOW,
    )
    body = b'{"by":"ann","url":"http://a.example/in","secret":"0f1e","with_bodies":true}'
    backlog = f"{WORKFLOW}@5"
    parked = e.SubscriptionParked(code="http_400", position=6, target=WORKFLOW)
    everything = msgspec.structs.replace(first, types="", workflow="")
    return [
        Step(SUBSCRIPTION, first, body),
        Step(SUBSCRIPTION, e.SubscriptionAdvanced(backlog=backlog, position=9)),
        Step(SUBSCRIPTION, parked),
        Step(OTHER_SUBSCRIPTION, everything, body),
        Step(OTHER_SUBSCRIPTION, parked),
        Step(OTHER_SUBSCRIPTION, e.SubscriptionReplayed(backlog=backlog), b'{"by":"ann"}'),
        Step(OTHER_SUBSCRIPTION, e.SubscriptionDeleted(), b'{"by":"ann"}'),
    ]


def _requested(**facts: str | int) -> e.RunRequested:
    digest = {"idempotency_digest": "ab" * 32, "idempotency_scope": "acme:runs"}
    return requested_facts(**{"workflow": WORKFLOW, **digest, **facts})


def _begun(node: str, component: str, attempt: int = 1, iteration: str = "") -> e.NodeStarted:
    return e.NodeStarted(
        attempt=attempt,
        component=component,
        effect_key=f"key-of-{node}",
        iteration=iteration,
        node=node,
        started_at=START_US + 2 * SECOND_US,
    )


def _done(node: str, component: str, **facts: Any) -> e.NodeSucceeded:
    made = e.NodeSucceeded(
        attempt=1,
        component=component,
        ended_at=START_US + 3 * SECOND_US,
        ends="",
        handle="",
        iteration="",
        node=node,
        source_id="",
        started_at=START_US + 2 * SECOND_US,
    )
    return msgspec.structs.replace(made, **facts)


def _not_done(node: str, **facts: Any) -> e.NodeFailed:
    made = e.NodeFailed(
        attempt=1,
        code="http_error",
        component="webhook",
        ended_at=START_US + 4 * SECOND_US,
        iteration="",
        node=node,
        retried=0,
        source_id="",
        started_at=START_US + 3 * SECOND_US,
        tolerated=0,
    )
    return msgspec.structs.replace(made, **facts)


_STARTED = e.RunStarted(limit_us=3600 * SECOND_US, started_at=START_US + SECOND_US)
_CALL = b'{"method":"POST","url":"http://a.example/x","headers":{},"body":{"n":1}}'
_ERROR = b'{"error":{"code":"http_error","message":"Webhook request failed","attempt":1}}'


def _failed_run() -> list[Step]:
    asked = b'{"by":"ann","payload":{"name":"Ann"}}'
    retry = e.NodeRetryScheduled(
        attempt=2, due_at=START_US + 9 * SECOND_US, iteration="", node="call"
    )
    steps = [
        (_requested(idempotency_key="run-1"), asked),
        (_STARTED, None),
        (_done("t", "manual_trigger"), b'{"name":"Ann","trigger_type":"manual"}'),
        (_done("a", "number_condition", handle="true"), b'{"result":true}'),
        (_begun("soft", "webhook"), _CALL),
        (_not_done("soft", tolerated=1), _ERROR),
        (_begun("call", "webhook"), _CALL),
        (_not_done("call", retried=1), _ERROR),
        (retry, None),
        (_begun("call", "webhook", attempt=2), _CALL),
        (_not_done("call", attempt=2), _ERROR),
        (e.RunFailed(code="http_error", node="call"), b'{"message":"Webhook request failed"}'),
    ]
    return [Step(FAILED, facts, body) for facts, body in steps]


def _resumed_run(kept: int, facts: e.Facts) -> list[Step]:
    request = _requested(
        chosen_node="t",
        idempotency_key="resume-1",
        in_doubt="key-of-call",
        kept="t",
        origin="resume",
        original_run=FAILED,
        original_version=12,
        payload_run=FAILED,
        replayed_total=1,
    )
    copied = msgspec.structs.replace(facts, source_id="replayed")
    return [
        Step(RESUMED, request, b'{"by":"ann","payload":null}'),
        Step(RESUMED, copied, replays=kept),
        Step(RESUMED, _STARTED),
        Step(RESUMED, _done("end", "terminate", ends="completed"), b'{"message":"enough"}'),
        Step(RESUMED, e.RunCompleted(node="end")),
    ]


def _items(at: int) -> list[Step]:
    """An iterator whose first item succeeds and whose second fails."""
    ended = e.IterationEnded(code="", ended_at=at, failed_node="", iteration="0", node="each")
    bad = b'{"error":{"index":1,"node_id":"in","code":"type_mismatch","message":"no number"}}'
    return [
        Step(ASKING, _begun("each", "iterator"), b'{"items":[1,2]}'),
        Step(ASKING, e.IterationStarted(iteration="0", node="each", started_at=at)),
        Step(ASKING, _done("in", "text_transform", iteration="0"), b'{"text":"1"}'),
        Step(ASKING, ended, b'{"result":{"text":"1"}}'),
        Step(ASKING, e.IterationStarted(iteration="1", node="each", started_at=at)),
        Step(ASKING, _not_done("in", iteration="1"), _ERROR),
        Step(
            ASKING,
            msgspec.structs.replace(ended, code="type_mismatch", failed_node="in", iteration="1"),
            bad,
        ),
    ]


def _asking_run() -> list[Step]:
    at = START_US + 20 * SECOND_US
    child = e.ChildRequested(
        child=CHILD,
        iteration="",
        node="sub",
        waits=1,
        workflow=CHILD_WORKFLOW,
        workflow_version=1,
    )
    asks = e.InteractionRequested(
        due_at=at + 9 * SECOND_US, iteration="", node="ask", requested_at=at
    )
    answers = e.InteractionSubmitted(
        action="submit", iteration="", node="ask", submitted_at=at + SECOND_US
    )
    stopped = e.NodeInterrupted(
        attempt=1,
        code="cancelled",
        component="webhook",
        ended_at=at + 2 * SECOND_US,
        in_doubt=1,
        iteration="",
        node="slow",
        source_id="",
        started_at=at,
    )
    form = b'{"title":"","description":"","fields":[],"actions":[],"timeout_seconds":9}'
    called = _requested(
        depth=1,
        origin="subworkflow",
        parent_iteration="0",
        parent_node="sub",
        parent_run=ASKING,
        trigger_type="workflow",
        workflow=CHILD_WORKFLOW,
    )
    return [
        Step(ASKING, _requested(idempotency_key="run-2"), b'{"by":"ann","payload":{}}'),
        Step(ASKING, _STARTED),
        Step(ASKING, _begun("wait", "delay"), b'{"seconds":600.0}'),
        Step(ASKING, e.TimerSet(due_at=at, iteration="", node="wait")),
        Step(ASKING, e.TimerFired(iteration="", node="wait")),
        Step(ASKING, _done("wait", "delay"), b'{"waited":600.0}'),
        *_items(at),
        Step(ASKING, _begun("sub", "trigger_workflow"), b'{"payload":{}}'),
        Step(ASKING, child),
        Step(CHILD, called, b'{"by":"ann","payload":{}}'),
        Step(CHILD, _STARTED),
        Step(CHILD, e.RunCompleted(node="")),
        Step(
            ASKING,
            e.ChildEnded(child=CHILD, iteration="", node="sub", status="completed"),
            b'{"output":{"text":"y"}}',
        ),
        Step(ASKING, _done("sub", "trigger_workflow"), b'{"output":{"text":"y"}}'),
        Step(ASKING, _begun("ask", "form"), None),
        Step(ASKING, asks, form),
        Step(ASKING, answers, b'{"by":"ann","action":"submit","values":{}}'),
        Step(ASKING, _done("ask", "form"), b'{"action":"submit","values":{}}'),
        Step(ASKING, _begun("slow", "webhook"), _CALL),
        Step(
            ASKING,
            e.RunCancelRequested(code="cancelled"),
            b'{"by":"ann","message":"Run cancelled by ann"}',
        ),
        Step(ASKING, stopped, b'{"error":{"code":"cancelled","message":"ended","attempt":1}}'),
        Step(ASKING, e.RunCancelled(code="cancelled"), b'{"message":"Run cancelled by ann"}'),
    ]


def _waiting_run() -> list[Step]:
    """A run in which everything is still to come."""
    at = START_US + 30 * SECOND_US
    child = e.ChildRequested(
        child=f"{ids.RUN}{'6' * 26}",
        iteration="",
        node="sub",
        waits=1,
        workflow=CHILD_WORKFLOW,
        workflow_version=1,
    )
    retry = e.NodeRetryScheduled(attempt=2, due_at=at, iteration="", node="call")
    asks = e.InteractionRequested(due_at=at + 1, iteration="", node="ask", requested_at=at)
    steps: list[tuple[e.Facts, bytes | None]] = [
        (_requested(idempotency_key="run-3"), b'{"by":"ann","payload":{}}'),
        (_STARTED, None),
        (_begun("call", "webhook"), _CALL),
        (_not_done("call", retried=1), _ERROR),
        (retry, None),
        (_begun("wait", "delay"), b'{"seconds":600.0}'),
        (e.TimerSet(due_at=at, iteration="", node="wait"), None),
        (_begun("sub", "trigger_workflow"), b'{"payload":{}}'),
        (child, None),
        (_begun("each", "iterator"), b'{"items":[1,2]}'),
        (e.IterationStarted(iteration="0", node="each", started_at=at), None),
        (_begun("ask", "form"), None),
        (asks, b'{"title":"","description":"","fields":[],"actions":[],"timeout_seconds":9}'),
    ]
    return [Step(WAITING, facts, body) for facts, body in steps]


def _system(erased: int, archived: int) -> list[Step]:
    rotated = e.KeyRotated(key_check="12" * 32, key_id="k2")
    restored = e.JournalRestored(from_size=40, generation=2, root="34" * 32)
    # The journal's own first event comes before the history.
    gone = e.PayloadErased(positions=str(erased + 1), reason="asked", target=FAILED)
    sealed = e.SegmentArchived(digest="56" * 32, name="segment-000001", positions=str(archived + 1))
    return [
        Step(ids.SYS, rotated, b"b2eb315b0704039c29ecfdb0963c4a49"),
        Step(ids.SYS, gone, erases=erased),
        Step(ids.SYS, restored),
        Step(ids.SYS, sealed, archives=archived),
    ]
