"""Whoever walks through the contract: a client that can make whatever a route needs."""

from __future__ import annotations

from typing import Any

import msgspec

from .http_kit import create, hook_path, quick, run, slow, started
from .service import Client, chain, node


class Given(msgspec.Struct):
    """What a route is called with."""

    params: dict[str, str] = {}
    body: Any = None
    headers: dict[str, str] = {}
    query: str = ""


class Walker:
    """A tenant's client that can make whatever a route needs."""

    def __init__(self, client: Client, url: str) -> None:
        self.client = client
        self.url = url

    def workflow(self, definition: dict[str, Any] | None = None) -> dict[str, str]:
        """Make a workflow."""
        return {"workflowId": create(self.client, definition or quick())}

    def ended(self) -> dict[str, str]:
        """Make a run that failed at its third node."""
        text = chain(
            node("t", "manual_trigger"),
            node("a", "text_transform", template="x"),
            node("b", "number_condition", left="{{ a.text }}", operator="=", right=1),
        )
        made = self.workflow(text)
        return {**made, "runId": str(run(self.client, made["workflowId"])["id"]), "nodeId": "a"}

    def waiting(self, definition: dict[str, Any] | None = None) -> dict[str, str]:
        """Make a run that doesn't end by itself."""
        made = self.workflow(definition or slow())
        return {**made, "runId": started(self.client, made["workflowId"])}

    def asked(self) -> dict[str, str]:
        """Make a run that awaits a person."""
        made = self.workflow(chain(node("t", "manual_trigger"), node("ask", "form")))
        path = f"/workflows/{made['workflowId']}/execute"
        run_id = self.client.post(path, None, Prefer="wait=30").json["id"]
        return {"runId": run_id, "nodeId": "ask"}

    def item(self) -> dict[str, str]:
        """Put something into the vault."""
        made = self.client.post("/workflows/vault", {"name": "a-secret", "secret": "hush hush"})
        return {"itemId": str(made.json["id"])}

    def grant(self) -> dict[str, Any]:
        """Write a grant."""
        return {"provider": "p", "grant_type": "client_credentials", "client_id": "c",
                "client_secret": "hush hush", "token_url": f"{self.url}/token"}  # fmt: skip

    def authorization(self) -> dict[str, str]:
        """Store a grant."""
        made = self.client.post("/workflows/authorization", self.grant())
        return {"authorizationId": str(made.json["id"])}

    def hook(self) -> dict[str, str]:
        """Make a workflow that is started by webhook."""
        made = self.workflow(chain(node("t", "webhook_trigger")))
        return {"token": hook_path(self.client, made["workflowId"]).rsplit("/", 1)[1]}

    def proven(self) -> dict[str, str]:
        """See that the tree has grown over the first entry."""
        self.client.get("/journal/events/1/proof")
        return {}

    def pair(self) -> dict[str, str]:
        """Make two runs."""
        return {"runId": self.ended()["runId"], "otherRunId": self.ended()["runId"]}
