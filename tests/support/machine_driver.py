"""Drives a real service beside its model: follows runs, restarts, and compares what is there."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .http_kit import followed
from .machine_model import CALLS, Behaviour, Graph, Run, Settled, Workflow, forecast
from .service import Client, Endpoint, Hit, Reply, Service, token

ENDED_BY_THE_RUN = {"run_failed", "run_completed", "cancelled"}
"""Codes of entries that no call of their own belongs to."""
WAIT_SECONDS = 30


class Sink(Endpoint):
    """An endpoint that answers, fails or holds each call as its node's behaviour says."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self._held: dict[str, list[threading.Event]] = {}
        self._moved = threading.Condition()
        super().__init__(self._behave)

    def __enter__(self) -> Sink:
        """Serve."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.let_go_all()
        self.close()

    def _behave(self, hit: Hit) -> tuple[int, Any]:
        behaviour = self.behaviours.get(hit.path.rsplit("/", 1)[1], "ok")
        if behaviour == "hold":
            gate = threading.Event()
            with self._moved:
                self._held.setdefault(hit.key, []).append(gate)
                self._moved.notify_all()
            gate.wait(WAIT_SECONDS)
        return (503, {"problem": "no"}) if behaviour == "fail" else (200, {"ok": True})

    def wait_for_held(self, effect_key: str) -> None:
        """Return once a call under this key is held."""
        with self._moved:
            assert self._moved.wait_for(lambda: self._held.get(effect_key), WAIT_SECONDS)

    def let_go(self, effect_key: str) -> None:
        """Answer the calls held under a key."""
        with self._moved:
            for gate in self._held.pop(effect_key, []):
                gate.set()

    def let_go_all(self) -> None:
        """Answer everything that is held."""
        for effect_key in list(self._held):
            self.let_go(effect_key)

    def calls(self, org: str) -> Counter[str]:
        """Count a tenant's calls by idempotency key."""
        return Counter(hit.key for hit in self.hits if hit.path.startswith(f"/{org}/"))


@dataclass(frozen=True)
class Keyed:
    """A call under an idempotency key, and its first answer."""

    path: str
    body: Any
    key: str
    reply: Reply | None = None

    def send(self, client: Client) -> Reply:
        """Make the call."""
        return client.post(self.path, self.body, Idempotency_Key=self.key)

    def with_other_body(self) -> Keyed:
        """Return the same call with a body that is acceptable and differs."""
        body: Any = {"definition": "original", "allow_completed": True}
        if self.path == "/workflows":
            body = {**self.body, "description": "another"}
        elif self.path.endswith("/execute"):
            body = {"context": {"other": 1}}
        elif self.path.endswith("/rerun"):
            body = {"definition": "current"}
        elif self.body == body | {"dry_run": False}:
            body = {"allow_completed": True}
        return Keyed(self.path, body, self.key)

    def check_repeat(self, again: Reply) -> None:
        """See that a repeat got the first answer, without the secret that a creation shows."""
        assert self.reply is not None
        assert again.headers["idempotency-replayed"] == "true"
        assert again.status == self.reply.status
        if self.path == "/workflows":
            assert again.json == self.reply.json | {"webhook_url": None}
        else:
            assert again.body == self.reply.body


class Driver:
    """One tenant's client, and what the model must be told."""

    def __init__(self, service: Service, sink: Sink, org: str) -> None:
        self._service = service
        self._sink = sink
        self._org = org
        self._open: list[Run] = []
        self.client = service.client(org)
        self.url = f"{sink.url}/{org}"
        sink.behaviours.clear()

    def close(self) -> None:
        """Cancel what is open."""
        self._sink.behaviours.clear()
        for run in self._open:
            if run.status == "running":
                self.client.post(f"/workflows/runs/{run.run_id}/cancel")
                self.let_go(run)
                followed(self.client, run.run_id)
        self._sink.let_go_all()
        self.client.close()

    def settle_conflicts(self, *starts: tuple[Graph, bool, Settled, frozenset[str]]) -> None:
        """Let no call be held in a run that is going to fail: which comes first is a race."""
        behaviours = self._sink.behaviours
        while True:
            conflicts: set[str] = set()
            for graph, flag, settled, cut_off in starts:
                made = forecast(graph, flag, behaviours, settled, cut_off)
                if made.having("failed"):
                    conflicts |= made.having("held")
            if not conflicts:
                return
            behaviours.update(dict.fromkeys(conflicts, "ok"))

    def advance(self, run: Run, cut_off: frozenset[str] = frozenset()) -> None:
        """Follow a run until it ends or waits, and see that it came as the model says."""
        made = forecast(run.graph, run.flag, self._sink.behaviours, run.settled, cut_off)
        if not made.is_open:
            self.check_ended(run, cut_off=cut_off)
            return
        if run not in self._open:
            self._open.append(run)
        self._follow_until_open(run, made.having("ok", "tolerated"), made.having("waiting"))
        for node in made.having("ok", "tolerated") - run.settled.keys():
            if run.graph.kind(node) in CALLS:
                run.calls[node] += 1
            run.settled[node] = (made.states[node], made.handles[node])
        run.held = made.having("held")
        for node in run.held:
            self._sink.wait_for_held(run.key(node))
            run.calls[node] += 1
        shown = self.client.get(f"/workflows/runs/{run.run_id}").json
        assert shown["status"] == "running"
        assert {entry["node_id"] for entry in shown["logs"]} == set(run.settled)

    def _follow_until_open(self, run: Run, settled: set[str], waiting: set[str]) -> None:
        """Read the live tail until these nodes have settled and those wait."""
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=30)
        headers = {
            "Accept": "text/event-stream",
            "Authorization": f"Bearer {token(self._org)}",
        }
        connection.request("GET", f"/workflows/runs/{run.run_id}/events", headers=headers)
        response = connection.getresponse()
        wanted = {("settled", node) for node in settled} | {("waiting", node) for node in waiting}
        while wanted:
            line = response.readline()
            assert line, f"run {run.run_id} ended; still expected {wanted}"
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[len("data: ") :])
            if event["type"] in ("node.succeeded", "node.failed"):
                wanted.discard(("settled", event["facts"]["node"]))
            elif event["type"] == "timer.set":
                wanted.discard(("waiting", event["facts"]["node"]))
        response.close()
        connection.close()

    def let_go(self, run: Run) -> None:
        """Answer a run's held calls; they count as settled then."""
        for node in run.held:
            run.settled[node] = ("ok", "")
            self._sink.let_go(run.key(node))
        run.held = set()

    def check_ended(
        self, run: Run, *, cancelled: bool = False, cut_off: frozenset[str] = frozenset()
    ) -> None:
        """Follow a run to its end and compare it with the model."""
        made = forecast(run.graph, run.flag, self._sink.behaviours, run.settled, cut_off)
        shown = followed(self.client, run.run_id)
        failed = made.having("failed")
        assert (shown["origin"], shown["original_run_id"]) == (run.origin, run.original)
        assert shown["resumed_from_node_id"] == run.chosen
        assert shown["workflow_version"] == run.version
        before = dict(run.settled)
        self._take_over(run, shown, cut_off)
        if cancelled:
            assert shown["error_message"] == "Run cancelled by me"
            assert (shown["status"], shown["failed_node_id"]) == ("failed", None)
            assert run.settled == before
        elif failed:
            assert (shown["status"], shown["failed_node_id"] in failed) == ("failed", True)
            message = _failure(shown)
            assert message == shown["error_message"]
            if shown["failed_node_id"] not in run.doubts:
                assert message == "Webhook request failed: 503 Service Unavailable"
            possible = made.having("ok", "tolerated")
            assert before.keys() <= run.settled.keys() <= possible
        else:
            assert shown["status"] == "completed"
            assert shown["error_message"] is None
            assert run.settled.keys() == made.having("ok", "tolerated")
        for node, (state, handle) in run.settled.items():
            if not cancelled:
                assert (state, handle) == (made.states[node], made.handles[node])
        run.status = shown["status"]

    def _take_over(self, run: Run, shown: dict[str, Any], cut_off: frozenset[str]) -> None:
        """Read from a run's log what settled and what was called; nothing kept ran again."""
        logged: Counter[str] = Counter()
        replayed: set[str] = set()
        for entry in shown["logs"]:
            node = entry["node_id"]
            code = entry["output"].get("error", {}).get("code", "")
            if entry["replayed_from"] is not None:
                replayed.add(node)
                assert entry["replayed_from"]["run_id"] == run.original
                continue
            assert node not in run.kept
            if run.graph.kind(node) in CALLS and code not in ENDED_BY_THE_RUN:
                logged[node] += 1
            if entry["status"] == "success":
                handle = "true" if run.flag else "false"
                is_condition = run.graph.kind(node) == "condition"
                run.settled[node] = ("ok", handle if is_condition else "")
            elif run.graph.kind(node) == "tolerant" and code == "http_503":
                run.settled[node] = ("tolerated", "")
            if code == "interrupted":
                assert node in cut_off
                assert entry["output"]["error"]["message"].startswith(
                    f"Node '{node}' was interrupted"
                )
                run.doubts[node] = run.key(node)
        assert replayed == set(run.kept)
        run.calls = Counter(logged)
        run.calls.update(run.lost)

    def restart(self, unfinished: Iterable[Run], *, crash: bool) -> None:
        """End the process and start it again; calls on the wire are cut off."""
        self.client.close()
        if crash:
            self._service.kill()
        else:
            assert self._service.stop() == 0
        cut_off = {run.run_id: frozenset(run.held) for run in unfinished}
        self.settle_conflicts(
            *((run.graph, run.flag, run.settled, cut_off[run.run_id]) for run in unfinished)
        )
        for run in unfinished:
            for node in run.held:
                self._sink.let_go(run.key(node))
                if run.graph.kind(node) != "once":
                    # The call was made and has no entry; it is made again under the same key.
                    run.lost[node] += 1
            run.held = set()
        self._service.start()
        self.client = self._service.client(self._org)
        for run in unfinished:
            self.advance(run, cut_off[run.run_id])

    def expected_calls(self, runs: Iterable[Run]) -> Counter[str]:
        """Count the calls that the model knows of, by idempotency key."""
        expected: Counter[str] = Counter()
        for run in runs:
            for node, number in run.calls.items():
                expected[run.key(node)] += number
        return expected

    def check_workflow(self, workflow: Workflow) -> None:
        """Compare a workflow, its versions and its list of runs with the model."""
        path = f"/workflows/{workflow.workflow_id}"
        shown = self.client.get(path)
        if workflow.deleted:
            assert shown.status == 404
            return
        assert shown.json["version"] == len(workflow.versions)
        assert shown.json["is_active"] == workflow.active
        assert [n["id"] for n in shown.json["nodes"]] == workflow.graph.nodes
        assert len(self.client.get(f"{path}/versions").json) == len(workflow.versions)
        page = self.client.get(f"{path}/executions?per_page=100").json
        newest_first = [(run.run_id, run.status) for run in reversed(workflow.runs)]
        assert [(entry["id"], entry["status"]) for entry in page["data"]] == newest_first
        failed = self.client.get(f"{path}/executions?per_page=100&status=failed").json["data"]
        assert [e["id"] for e in failed] == [r for r, status in newest_first if status == "failed"]


def _failure(shown: dict[str, Any]) -> str:
    """Return what the entry of the node that failed a run says."""
    entries = [
        entry
        for entry in shown["logs"]
        if entry["node_id"] == shown["failed_node_id"] and entry["status"] == "error"
    ]
    message: str = entries[-1]["output"]["error"]["message"]
    return message
