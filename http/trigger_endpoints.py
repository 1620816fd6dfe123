"""The endpoints that start runs from outside: synchronous calls, events, webhooks."""

from __future__ import annotations

from typing import Any, Final

from ..engine import cloud_events
from . import node_test_routes as node_tests
from . import trigger_routes as triggers
from . import trigger_wire as wire
from . import webhook_routes as webhooks
from .endpoint import EXECUTE, IF_MATCH, KEY, PREFER, WRITE, Endpoint, Query
from .wire import Empty, JsonObject, Workflow

_SIGNATURES: Final = (
    Query(
        "X-Signature",
        "`sha256=<hex>`, where the workflow's trigger asks for a signature.",
        place="header",
    ),
    Query("X-Signature-Timestamp", "The time that was signed, in Unix seconds.", place="header"),
)
_BINARY_MODE: Final = tuple(
    Query(f"ce-{name}", "An attribute of the event, in binary mode.", place="header")
    for name in ("specversion", "id", "source", "type", "subject", "time")
)

TRIGGER_ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/workflows/sync/{workflowId}",
        handler=triggers.call_sync,
        summary="Run a workflow and wait for its result",
        scope=EXECUTE,
        api_key=True,
        request=JsonObject,
        parameters=(KEY, PREFER),
        answers={200: Any},
        refusals=(404, 409, 422, 504),
    ),
    Endpoint(
        method="POST",
        path="/workflows/events",
        handler=triggers.publish,
        summary="Publish an event",
        scope=EXECUTE,
        request=Any,
        request_required=True,
        other_requests=(
            (cloud_events.STRUCTURED, wire.CloudEvent),
            (cloud_events.BATCH, list[wire.CloudEvent]),
        ),
        parameters=_BINARY_MODE,
        answers={202: wire.EventRuns},
    ),
    Endpoint(
        method="POST",
        path="/workflows/webhooks/{token}",
        handler=webhooks.receive,
        summary="Start a run by webhook",
        parameters=(KEY, *_SIGNATURES),
        request=Any,
        answers={202: Empty},
        refusals=(401, 404, 409, 422),
    ),
    Endpoint(
        method="POST",
        path="/workflows/{workflowId}/webhook-token",
        handler=triggers.renew_webhook_token,
        summary="Give a workflow's webhook a new token",
        scope=WRITE,
        parameters=(IF_MATCH,),
        answers={200: Workflow},
        refusals=(404, 409, 412),
    ),
    Endpoint(
        method="POST",
        path="/workflows/test-node",
        handler=node_tests.try_node,
        summary="Run one node on a mock context",
        scope=WRITE,
        request=wire.NodeTest,
        request_required=True,
        answers={200: wire.NodeTested},
    ),
)
