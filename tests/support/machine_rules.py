"""What clients and operators do to a service, and what the model says must come of it.

The rules of the machine of `tests/simulation/test_service_machine.py`.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.support.http_kit import hook_path, key, refused
from tests.support.machine_driver import Driver, Keyed, Sink
from tests.support.machine_model import (
    Graph,
    Kind,
    Run,
    State,
    Workflow,
    changed,
    cut,
    graphs,
    reachable,
)
from tests.support.service import Reply, Service

PICK = st.integers(0, 999)
"""Which one, counted from the newest."""
BEHAVIOURS = st.sampled_from(["ok", "ok", "ok", "fail", "fail", "hold"])
OK: tuple[State, str] = ("ok", "")
SCRIPTS = st.fixed_dictionaries({f"n{number}": BEHAVIOURS for number in range(1, 6)})
_tenants = count(1)


class Machine(RuleBasedStateMachine):
    """What clients and operators do."""

    service: Service
    sink: Sink

    def __init__(self) -> None:
        super().__init__()
        self.org = f"machine-{next(_tenants)}"
        self.driver = Driver(self.service, self.sink, self.org)
        self.workflows: list[Workflow] = []
        self.keyed: list[tuple[Keyed, Workflow | None]] = []

    def teardown(self) -> None:
        """Leave nothing unfinished for the next example."""
        self.driver.close()

    # What there is to choose from

    @property
    def runs(self) -> list[Run]:
        """All runs, of deleted workflows too."""
        return [run for workflow in self.workflows for run in workflow.runs]

    def _workflow(self, pick: int) -> Workflow:
        return self.workflows[-1 - pick % len(self.workflows)]

    def _run(self, pick: int) -> tuple[Run, Workflow]:
        run = self.runs[-1 - pick % len(self.runs)]
        return run, next(w for w in self.workflows if run in w.runs)

    def _post(self, path: str, body: Any, of: Workflow | None, *, keyed: bool) -> Reply:
        """POST, under a key that a later step may use again where `keyed`."""
        if not keyed:
            return self.driver.client.post(path, body)
        sent = Keyed(path, body, key())
        reply = sent.send(self.driver.client)
        if reply.status < 300:
            self.keyed.append((Keyed(path, body, sent.key, reply), of))
        return reply

    # Workflows

    @initialize(graph=graphs(), script=SCRIPTS, flag=st.booleans())
    def begin(self, graph: Graph, script: dict[str, Any], flag: bool) -> None:
        """Have something to work with."""
        self.create(graph, keyed=False)
        self.script_all(script)
        self.execute(0, flag, keyed=True)

    @rule(graph=graphs(), keyed=st.booleans())
    def create(self, graph: Graph, keyed: bool) -> None:
        """Create a workflow."""
        reply = self._post("/workflows", graph.document(self.driver.url), None, keyed=keyed)
        assert reply.status == 201, reply.body
        self.workflows.append(Workflow(reply.json["id"], [graph]))

    @rule(pick=PICK, graph=graphs(), stale=st.booleans())
    def replace(self, pick: int, graph: Graph, stale: bool) -> None:
        """Give a workflow another definition, on the ground of a version that may be stale."""
        workflow = self._workflow(pick)
        number = len(workflow.versions)
        reply = self.driver.client.call(
            "PUT",
            f"/workflows/{workflow.workflow_id}",
            graph.document(self.driver.url),
            {"If-Match": f'"{number + stale}"'},
        )
        if workflow.deleted:
            refused(reply, 404, "resource_missing")
        elif stale:
            refused(reply, 412, "version_mismatch")
        else:
            assert (reply.status, reply.json["version"]) == (200, number + 1)
            workflow.versions.append(graph)

    @rule(pick=PICK, parent=PICK)
    def extend(self, pick: int, parent: int) -> None:
        """Add a node at the end, which keeps old runs compatible."""
        workflow = self._workflow(pick)
        if workflow.deleted or len(workflow.graph.nodes) > 8:
            return
        nodes = workflow.graph.nodes
        graph = workflow.graph.with_leaf(nodes[parent % len(nodes)])
        path = f"/workflows/{workflow.workflow_id}"
        reply = self.driver.client.call("PUT", path, graph.document(self.driver.url))
        assert reply.status == 200, reply.body
        workflow.versions.append(graph)

    @rule(pick=PICK, active=st.booleans())
    def switch(self, pick: int, active: bool) -> None:
        """Switch a workflow on or off, which is a version too."""
        workflow = self._workflow(pick)
        path = f"/workflows/{workflow.workflow_id}"
        reply = self.driver.client.call("PUT", path, {"is_active": active})
        if workflow.deleted:
            refused(reply, 404, "resource_missing")
            return
        assert (reply.status, reply.json["is_active"]) == (200, active)
        workflow.versions.append(workflow.graph)
        workflow.active = active

    @precondition(lambda self: len(self.workflows) > 1)
    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        """Delete a workflow, if nothing uses it."""
        workflow = self._workflow(pick)
        reply = self.driver.client.call("DELETE", f"/workflows/{workflow.workflow_id}")
        if workflow.deleted:
            refused(reply, 404, "resource_missing")
        elif workflow.is_in_use:
            refused(reply, 409, "workflow_in_use")
        else:
            assert reply.status == 204
            workflow.deleted = True

    # Runs

    @rule(pick=PICK, flag=st.booleans(), keyed=st.booleans())
    def execute(self, pick: int, flag: bool, keyed: bool) -> None:
        """Start a run and follow it until it ends or waits."""
        workflow = self._workflow(pick)
        self.driver.settle_conflicts((workflow.graph, flag, {}, frozenset()))
        path = f"/workflows/{workflow.workflow_id}/execute"
        reply = self._post(path, {"context": {"flag": flag}}, workflow, keyed=keyed)
        if self._refused_start(workflow, reply):
            return
        assert (reply.status, reply.json["status"]) == (202, "pending")
        self._begin(workflow, reply.json["id"], workflow.graph, flag, "execute")

    @rule(graph=graphs(), script=SCRIPTS, flag=st.booleans())
    def create_and_execute(self, graph: Graph, script: dict[str, Any], flag: bool) -> None:
        """Start over with other circumstances."""
        self.script_all(script)
        self.create(graph, keyed=False)
        self.execute(0, flag, keyed=False)

    @rule(pick=PICK, flag=st.booleans())
    def call_webhook(self, pick: int, flag: bool) -> None:
        """Start a run by the workflow's webhook."""
        workflow = self._workflow(pick)
        if workflow.deleted or workflow.graph.kind("t") != "hook":
            return
        self.driver.settle_conflicts((workflow.graph, flag, {}, frozenset()))
        path = hook_path(self.driver.client, workflow.workflow_id)
        reply = self.driver.client.post(path, {"flag": flag})
        if self._refused_start(workflow, reply):
            return
        assert (reply.status, reply.json) == (202, {})
        self._begin(workflow, reply.headers["x-run-id"], workflow.graph, flag, "webhook")

    def _refused_start(self, workflow: Workflow, reply: Reply) -> bool:
        if workflow.deleted:
            refused(reply, 404, "resource_missing")
        elif not workflow.active:
            refused(reply, 409, "workflow_inactive")
        else:
            return False
        return True

    def _begin(
        self, workflow: Workflow, run_id: str, graph: Graph, flag: bool, origin: str, **more: Any
    ) -> None:
        version = more.pop("version", len(workflow.versions))
        run = Run(run_id, workflow.workflow_id, version, graph, flag, origin, **more)
        run.settled = dict(run.kept)
        workflow.runs.append(run)
        self.driver.advance(run)

    @precondition(lambda self: self.runs)
    @rule(pick=PICK, original=st.booleans(), keyed=st.booleans())
    def rerun(self, pick: int, original: bool, keyed: bool) -> None:
        """Run again with the same payload."""
        run, workflow = self._run(pick)
        version = run.version if original else len(workflow.versions)
        graph = workflow.versions[version - 1]
        self.driver.settle_conflicts((graph, run.flag, {}, frozenset()))
        body = {"definition": "original"} if original else None
        path = f"/workflows/runs/{run.run_id}/rerun"
        reply = self._post(path, body, workflow, keyed=keyed)
        if workflow.deleted:
            refused(reply, 404, "resource_missing")
            return
        if run.status == "running":
            refused(reply, 409, "run_not_finished")
            return
        assert reply.status == 202, reply.body
        shown = reply.json["new_run"]
        assert (shown["workflow_version"], shown["workflow"]["version"]) == (version, version)
        more = {"version": version, "original": run.run_id}
        self._begin(workflow, shown["id"], graph, run.flag, "rerun", **more)

    @precondition(lambda self: any(run.status == "failed" for run in self.runs))
    @rule(pick=PICK, node=PICK, current=st.booleans(), keyed=st.booleans())
    def resume_a_failed_run(self, pick: int, node: int, current: bool, keyed: bool) -> None:
        """Carry on where it can be expected to work."""
        failed = [run for run in self.runs if run.status == "failed"]
        run = failed[-1 - pick % len(failed)]
        good = [n for n in run.graph.nodes if run.succeeded(n)]
        if good:
            chosen = good[-1 - node % len(good)]
            place = self.runs[::-1].index(run)
            index = run.graph.nodes.index(chosen)
            self.resume(place, index, current, dry=False, completed_too=False, keyed=keyed)

    @precondition(lambda self: self.runs)
    @rule(
        pick=PICK,
        node=st.integers(0, 9),
        current=st.booleans(),
        dry=st.booleans(),
        completed_too=st.booleans(),
        keyed=st.booleans(),
    )
    def resume(
        self, pick: int, node: int, current: bool, dry: bool, completed_too: bool, keyed: bool
    ) -> None:
        """Carry on from a node that may or may not be one to carry on from."""
        run, workflow = self._run(pick)
        nodes = [*run.graph.nodes, "nowhere"]
        chosen = nodes[node % len(nodes)]
        body = {
            "definition": "current" if current else "original",
            "dry_run": dry,
            "allow_completed": completed_too,
        }
        kept = cut(run, chosen) if chosen in run.graph.nodes else {}
        version = len(workflow.versions) if current else run.version
        graph = workflow.versions[version - 1]
        self.driver.settle_conflicts((graph, run.flag, kept, frozenset()))
        path = f"/workflows/runs/{run.run_id}/resume-from/{chosen}"
        reply = self._post(path, body, workflow, keyed=keyed and not dry)
        refusal = self._resume_refusal(run, workflow, chosen, current, completed_too)
        if refusal is not None:
            refused(reply, *refusal)
            return
        if dry:
            assert reply.status == 200, reply.body
            assert reply.json["replayed"] == [n for n in run.graph.nodes if n in kept]
            assert reply.json["executed"] == reachable(graph, kept)
            return
        assert reply.status == 202, reply.body
        assert reply.json["message"] == f"Workflow resumed successfully from node '{chosen}'."
        more = {
            "version": version,
            "original": run.run_id,
            "chosen": chosen,
            "kept": kept,
            "inherited": run.doubts_beyond(kept),
        }
        self._begin(workflow, reply.json["new_run"]["id"], graph, run.flag, "resume", **more)

    def _resume_refusal(
        self, run: Run, workflow: Workflow, chosen: str, current: bool, completed_too: bool
    ) -> tuple[int, str] | None:
        if workflow.deleted:
            return 404, "resource_missing"
        if run.status == "running" or (run.status == "completed" and not completed_too):
            return 409, "run_not_failed"
        if chosen not in run.graph.nodes:
            return 404, "node_not_found"
        if not run.succeeded(chosen):
            return 422, "node_not_completed"
        if current and changed(run.graph, workflow.graph, cut(run, chosen)):
            return 409, "definition_incompatible"
        return None

    @precondition(lambda self: self.runs)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        """Cancel a run; an open one ends as soon as its calls have finished."""
        run, workflow = self._run(pick)
        reply = self.driver.client.post(f"/workflows/runs/{run.run_id}/cancel")
        if workflow.deleted:
            refused(reply, 404, "resource_missing")
        elif run.status != "running":
            refused(reply, 409, "run_already_finished")
        else:
            assert (reply.status, reply.json["id"]) == (202, run.run_id)
            self.driver.let_go(run)
            self.driver.check_ended(run, cancelled=True)

    @precondition(lambda self: any(run.held for run in self.runs))
    @rule()
    def answer_held_calls(self) -> None:
        """Let the endpoint answer what it has held back."""
        for run in self.runs:
            if run.held:
                released = run.settled | dict.fromkeys(run.held, OK)
                self.driver.settle_conflicts((run.graph, run.flag, released, frozenset()))
                self.driver.let_go(run)
                self.driver.advance(run)

    # Repeats and reads

    @precondition(lambda self: self.keyed)
    @rule(pick=PICK, other=st.booleans())
    def repeat(self, pick: int, other: bool) -> None:
        """Make a call again under its key, with its own body or with another."""
        sent, workflow = self.keyed[pick % len(self.keyed)]
        if other:
            reply = sent.with_other_body().send(self.driver.client)
        else:
            reply = sent.send(self.driver.client)
        if workflow is not None and workflow.deleted:
            refused(reply, 404, "resource_missing")
        elif other:
            refused(reply, 409, "idempotency_key_reused")
        else:
            sent.check_repeat(reply)

    @rule(pick=PICK)
    def read(self, pick: int) -> None:
        """Read a workflow, its runs and its versions."""
        workflow = self._workflow(pick)
        self.driver.check_workflow(workflow)
        listed = self.driver.client.get("/workflows").json
        alive = [w.workflow_id for w in self.workflows if not w.deleted]
        assert [entry["id"] for entry in listed] == alive

    # The world

    @rule(script=SCRIPTS)
    def script_all(self, script: dict[str, Any]) -> None:
        """Change how the endpoint answers from now on."""
        self.sink.behaviours.update(script)

    @rule(
        kind=st.sampled_from(["call", "retry", "tolerant", "once", "once"]),
        crash=st.booleans(),
        then=BEHAVIOURS,
        resumed=st.booleans(),
    )
    def restart_during_a_call(self, kind: Any, crash: bool, then: Any, resumed: bool) -> None:
        """End the process while a call is on the wire; it may end otherwise the next time."""
        kinds: list[tuple[str, Kind]] = [("t", "trigger"), ("n1", "call"), ("n2", kind)]
        kinds.append(("n3", "call"))
        edges = (("t", "n1", ""), ("n1", "n2", ""), ("n2", "n3", ""))
        self.script_all({"n1": "ok", "n2": "hold", "n3": "ok"})
        self.create(Graph(tuple(kinds), edges), keyed=False)
        self.execute(0, flag=True, keyed=False)
        self.script_all({"n2": then})
        self.restart(crash)
        if resumed and self.runs[-1].status == "failed":
            self.script_all({"n2": "ok"})
            self.resume(0, 1, current=False, dry=False, completed_too=False, keyed=False)

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        """Stop the process and start it again; unfinished runs carry on."""
        self.driver.restart([run for run in self.runs if run.status == "running"], crash=crash)

    @invariant()
    def the_endpoint_saw_exactly_the_calls_of_the_model(self) -> None:
        """No effect twice, none missing, each under its key."""
        assert self.sink.calls(self.org) == self.driver.expected_calls(self.runs)
