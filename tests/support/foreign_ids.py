"""What belongs to one tenant, an id of each kind, and every place of the API that takes an id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from refold.http.endpoint import Endpoint
from refold.http.endpoints import ENDPOINTS

from .contract_walker import Walker
from .http_kit import quick
from .service import Client, chain, node

KINDS = {
    "workflowId": "fl_",
    "runId": "fl_run_",
    "otherRunId": "fl_run_",
    "itemId": "vlt_",
    "authorizationId": "auth_",
    "subscriptionId": "sub_",
}
"""The parameters of paths that name what belongs to a tenant, and the prefix of their ids."""
NO_IDS = {
    "nodeId": "a",
    "version": "1",
    "position": "1",
    "level": "0",
    "n": "0",
    "more": "001",
    "last": "002",
    "projection": "runs",
    "token": "whsec_unknown",
}
"""The other parameters: parts of what another one names, of the whole journal, or no id."""
PARAMETER = re.compile(r"{(\w+)}")
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"


class Place(msgspec.Struct, frozen=True):
    """A request with one hole for an id; `kind` is that of the ids that belong there."""

    method: str
    path: str
    kind: str
    body: Any = None

    @property
    def name(self) -> str:
        """What a failing test is called by."""
        return f"{self.method} {self.path} {'body' if self.body is not None else ''}".strip()

    def asked_with(self, id_: str) -> tuple[str, str, Any]:
        """Return method, path and body with an id in the hole."""
        return self.method, self.path.replace("<id>", id_), _filled(self.body, id_)


def _filled(value: Any, id_: str) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value).replace(b"<id>", id_.encode()))


def in_paths(own: dict[str, str]) -> Iterator[Place]:
    """Give every parameter of every route in the table; the others are the asker's `own`."""
    for endpoint in ENDPOINTS:
        named = PARAMETER.findall(endpoint.path)
        for name in (name for name in named if name in KINDS):
            rest = NO_IDS | own | {name: "<id>"}
            body: Any = {} if endpoint.request is not None else None
            if endpoint.method == "PUT":
                body = {"name": "another"}
            yield Place(endpoint.method, endpoint.path.format(**rest), KINDS[name], body)


def in_queries(own: dict[str, str]) -> Iterator[Place]:
    """Give every query of the table that a name or a description says takes an id."""
    for endpoint, name in queries():
        path = endpoint.path.format(**(NO_IDS | own))
        kind = "fl_run_" if "run" in name else "fl_"
        yield Place(endpoint.method, f"{path}?{name}=<id>", kind)


def queries() -> Iterator[tuple[Endpoint, str]]:
    """Give the queries whose names are those of things."""
    for endpoint in ENDPOINTS:
        for query in endpoint.parameters:
            if query.place == "query" and query.name in ("run", "workflow", "original_run_id"):
                yield endpoint, query.name


def in_bodies(own: dict[str, str]) -> Iterator[Place]:
    """Give the bodies that name things."""
    start = node("t", "manual_trigger")
    child = chain(start, node("c", "trigger_workflow", workflow_id="<id>"))
    call = node("c", "webhook", url="https://h.example/", headers=[{"key": "k", "value": "<id>"}])
    grant = {**quick(), "authorization_id": "<id>"}
    for path in ("/workflows", "/workflows/validate"):
        yield Place("POST", path, "fl_", child)
        yield Place("POST", path, "vlt_", chain(start, call))
        yield Place("POST", path, "auth_", grant)
    changed = f"/workflows/{own['workflowId']}"
    yield Place("PUT", changed, "auth_", {"authorization_id": "<id>"})
    yield Place("PUT", changed, "fl_", {k: child[k] for k in ("nodes", "edges")})
    resume = f"/workflows/{own['workflowId']}/executions/resume"
    yield Place("POST", resume, "fl_run_", {"filter": {"original_run_id": "<id>"}})
    yield Place(
        "POST", "/subscriptions", "fl_", {"url": "https://h.example/", "workflow_id": "<id>"}
    )
    tried = {"node": node("c", "trigger_workflow", workflow_id="<id>"), "context": {}}
    yield Place("POST", "/workflows/test-node", "fl_", tried)
    yield Place("POST", "/journal/erasures", "fl_run_", {"run": "<id>"})
    yield Place("POST", "/journal/erasures", "fl_", {"workflow": "<id>"})


def belongings(client: Client, url: str) -> dict[str, str]:
    """Make one of everything for a client's tenant."""
    walker = Walker(client, url)
    made = {**walker.ended(), **walker.item(), **walker.authorization()}
    made["otherRunId"] = walker.ended()["runId"]
    told = client.post("/subscriptions", {"url": f"{url}/told", "types": ["run.cancelled"]})
    assert told.status == 201, told.body
    return {**made, "subscriptionId": str(told.json["id"]), "nodeId": "a"}


def unknown_like(id_: str) -> str:
    """Return an id of the same kind and length that exists nowhere."""
    prefix, _, rest = id_.rpartition("_")
    return f"{prefix}_{''.join(_LETTERS[-1 - _LETTERS.index(letter)] for letter in rest)}"
