"""The whole service over HTTP against one model, with restarts and kills in between."""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.support.service import Client, Endpoint, Hit, Reply, Service, endpoint, running
from tests.support.service_model import NODES, Flow, Ran, World, definition

EXAMPLES = {"dev": 10, "ci": 40, "full": 600}
FLAGS = st.sampled_from(["yes", "no"])
worlds: dict[str, World] = {}
"""Each tenant's world: the endpoint answers by it."""


def _answer(hit: Hit) -> tuple[int, Any]:
    _, org, name = hit.path.split("/")
    return (503, {"no": name}) if name in worlds[org].fails else (200, {"ok": name})


class ServiceMachine(RuleBasedStateMachine):
    """One tenant's life; the service is shared, as it is in use."""

    service: ClassVar[Service]
    endpoint: ClassVar[Endpoint]
    flows = Bundle("flows")
    runs = Bundle("runs")
    keys = Bundle("keys")

    @initialize()
    def enter(self) -> None:
        """Come as a tenant that nobody knows yet."""
        self.org = f"org-{uuid.uuid4().hex[:12]}"
        self.world = worlds[self.org] = World()
        self.client: Client = self.service.client(self.org)

    def teardown(self) -> None:
        """Hang up."""
        if hasattr(self, "client"):
            self.client.close()

    @rule(target=flows, tolerant=st.booleans())
    def create(self, tolerant: bool) -> str:
        """A new workflow begins at version 1."""
        made = self.client.post(
            "/workflows", definition(self.endpoint.url, self.org, tolerant=tolerant)
        )
        assert made.status == 201
        assert made.json["version"] == 1
        self.world.flows[made.json["id"]] = Flow([tolerant])
        return str(made.json["id"])

    @rule(flow=flows, tolerant=st.booleans(), stale=st.booleans())
    def change(self, flow: str, tolerant: bool, stale: bool) -> None:
        """A change makes the next version, unless it was meant for another one."""
        known = self.world.flows[flow]
        version = known.version + 1 if stale else known.version
        body = definition(self.endpoint.url, self.org, tolerant=tolerant)
        reply = self.client.call("PUT", f"/workflows/{flow}", body, {"If-Match": f'"{version}"'})
        if known.is_deleted:
            assert reply.status == 404
        elif stale:
            assert (reply.status, reply.json["code"]) == (412, "version_mismatch")
        else:
            assert reply.status == 200
            known.tolerances.append(tolerant)
            assert reply.json["version"] == known.version

    @rule(flow=flows, active=st.booleans())
    def switch(self, flow: str, active: bool) -> None:
        """A workflow can be switched off and on; that is a version too."""
        known = self.world.flows[flow]
        reply = self.client.call("PUT", f"/workflows/{flow}", {"is_active": active})
        assert reply.status == (404 if known.is_deleted else 200)
        if not known.is_deleted:
            known.is_active = active
            known.tolerances.append(known.tolerances[-1])

    @rule(flow=consumes(flows))
    def delete(self, flow: str) -> None:
        """A workflow without unfinished runs can be deleted, once."""
        known = self.world.flows[flow]
        reply = self.client.call("DELETE", f"/workflows/{flow}")
        assert reply.status == (404 if known.is_deleted else 204)
        known.is_deleted = True

    @rule(name=st.sampled_from(["a", "b"]), fails=st.booleans())
    def script(self, name: str, fails: bool) -> None:
        """Tell the endpoint how to answer from now on."""
        (self.world.fails.add if fails else self.world.fails.discard)(name)

    @rule(target=runs, flow=flows, flag=FLAGS)
    def execute(self, flow: str, flag: str) -> Any:
        """A run comes to what the model says, or is refused as it says."""
        reply = self.client.post(
            f"/workflows/{flow}/execute", {"context": {"flag": flag}}, Prefer="wait=20"
        )
        if self._refused(flow, reply):
            return multiple()
        return self._ended(reply, flow, self.world.flows[flow].version, flag, {})

    @rule(target=keys, flow=flows, flag=FLAGS)
    def execute_with_key(self, flow: str, flag: str) -> Any:
        """A call with a key is remembered, a refused one is not."""
        key = str(uuid.uuid4())
        reply = self._keyed(flow, flag, key)
        if self._refused(flow, reply):
            return multiple()
        run = self._ended(reply, flow, self.world.flows[flow].version, flag, {})
        self.world.keys[key] = (flow, flag, run)
        return key

    @rule(key=keys, other=st.booleans())
    def repeat(self, key: str, other: bool) -> None:
        """The same call with the same key is the same run; another call is refused."""
        flow, flag, run = self.world.keys[key]
        if other:
            flag = "no" if flag == "yes" else "yes"
        reply = self._keyed(flow, flag, key)
        if self.world.flows[flow].is_deleted:
            assert reply.status == 404
        elif other:
            assert (reply.status, reply.json["code"]) == (409, "idempotency_key_reused")
        else:
            assert reply.status == 200
            assert reply.headers["idempotency-replayed"] == "true"
            assert reply.body == self.world.runs[run].answer

    @rule(run=runs)
    def read(self, run: str) -> None:
        """A finished run reads as it did when it finished, to the byte; for nobody else."""
        known = self.world.runs[run]
        stranger = self.service.client("stranger")
        assert stranger.get(f"/workflows/runs/{run}").status == 404
        stranger.close()
        reply = self.client.get(f"/workflows/runs/{run}")
        if self.world.flows[known.workflow].is_deleted:
            assert reply.status == 404
            return
        assert reply.status == 200
        assert reply.body == known.answer

    @rule(flow=flows, status=st.sampled_from(["", "completed", "failed"]))
    def list_runs(self, flow: str, status: str) -> None:
        """The list has every run of the workflow, newest first."""
        wanted = [
            run
            for run, known in reversed(self.world.runs.items())
            if known.workflow == flow and status in ("", known.status)
        ]
        query = f"?per_page=100&status={status}" if status else "?per_page=100"
        reply = self.client.get(f"/workflows/{flow}/executions{query}")
        if self.world.flows[flow].is_deleted:
            assert reply.status == 404
            return
        assert [run["id"] for run in reply.json["data"]] == wanted[:100]
        assert reply.json["meta"]["total"] == len(wanted)

    @rule(target=runs, run=runs, original=st.booleans())
    def rerun(self, run: str, original: bool) -> Any:
        """A rerun plays the same payload, by the current definition or the original's."""
        known = self.world.runs[run]
        flow = self.world.flows[known.workflow]
        body = {"definition": "original" if original else "current"}
        reply = self.client.post(f"/workflows/runs/{run}/rerun", body, Prefer="wait=20")
        if flow.is_deleted:
            assert reply.status == 404
            return multiple()
        version = known.version if original else flow.version
        return self._ended(reply, known.workflow, version, known.flag, {})

    @rule(target=runs, run=runs, chosen=st.sampled_from([*NODES, "nobody"]))
    def resume(self, run: str, chosen: str) -> Any:
        """A resume keeps what the model keeps, calls nothing of it, and ends as a run does."""
        known = self.world.runs[run]
        path = f"/workflows/runs/{run}/resume-from/{chosen}"
        refusal = self._resume_refusal(known, chosen)
        if refusal is not None:
            reply = self.client.post(path, {}, Prefer="wait=20")
            assert (reply.status, reply.json["code"]) == refusal
            return multiple()
        kept = self.world.kept(known, chosen)
        plan = self.client.post(path, {"dry_run": True}).json
        assert set(plan["replayed"]) == set(kept)
        assert set(plan["executed"]) == self.world.executed(known, chosen)
        reply = self.client.post(path, {}, Prefer="wait=20")
        made = self._ended(reply, known.workflow, known.version, known.flag, kept)
        logs = json.loads(self.world.runs[made].answer)["logs"]
        assert {log["node_id"] for log in logs if log["replayed_from"]} == set(kept)
        return made

    @rule(run=runs)
    def cancel(self, run: str) -> None:
        """An ended run can't be cancelled."""
        gone = self.world.flows[self.world.runs[run].workflow].is_deleted
        reply = self.client.post(f"/workflows/runs/{run}/cancel")
        expected = (404, "resource_missing") if gone else (409, "run_already_finished")
        assert (reply.status, reply.json["code"]) == expected

    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        """Nothing is forgotten, whether the service was asked to stop or was killed."""
        self.client.close()
        if kill:
            self.service.kill()
        else:
            assert self.service.stop() == 0
        self.service.start()
        self.client = self.service.client(self.org)

    @invariant()
    def only_the_planned_calls_were_made(self) -> None:
        """The endpoint saw each call that the model counts, and no other."""
        if not hasattr(self, "org"):
            return
        seen = Counter(
            hit.path.rsplit("/", 1)[1]
            for hit in list(self.endpoint.hits)
            if hit.path.startswith(f"/{self.org}/")
        )
        assert {name: seen[name] for name in ("a", "b")} == self.world.calls

    def _keyed(self, flow: str, flag: str, key: str) -> Reply:
        return self.client.post(
            f"/workflows/{flow}/execute",
            {"context": {"flag": flag}},
            Prefer="wait=20",
            Idempotency_Key=key,
        )

    def _refused(self, flow: str, reply: Reply) -> bool:
        known = self.world.flows[flow]
        if known.is_deleted:
            assert reply.status == 404
        elif not known.is_active:
            assert (reply.status, reply.json["code"]) == (409, "workflow_inactive")
        return known.is_deleted or not known.is_active

    def _resume_refusal(self, known: Ran, chosen: str) -> tuple[int, str] | None:
        if self.world.flows[known.workflow].is_deleted:
            return 404, "resource_missing"
        if known.status != "failed":
            return 409, "run_not_failed"
        if chosen == "nobody":
            return 404, "node_not_found"
        if known.outcomes.get(chosen) != "success":
            return 422, "node_not_completed"
        return None

    def _ended(self, reply: Reply, flow: str, version: int, flag: str, kept: dict[str, str]) -> str:
        """Compare a finished run with the model's, and note it."""
        assert reply.status == 200, reply.body
        shown = reply.json["new_run"] if "new_run" in reply.json else reply.json
        expected = self.world.play(flow, version, flag, kept)
        assert shown["status"] == expected.status
        assert shown["failed_node_id"] == expected.failed_node
        assert shown["workflow_version"] == version
        assert shown["trigger_payload"] == {"flag": flag}
        assert {log["node_id"]: log["status"] for log in shown["logs"]} == expected.outcomes
        message = "Webhook request failed: 503 Service Unavailable"
        assert shown["error_message"] == (message if expected.failed_node else None)
        expected.answer = self.client.get(f"/workflows/runs/{shown['id']}").body
        if "new_run" not in reply.json:
            assert reply.body == expected.answer
        self.world.runs[shown["id"]] = expected
        return str(shown["id"])


@pytest.mark.timeout(3600)
def test_the_service_does_what_the_model_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Workflows, runs, keys, reruns and resumes, through restarts and kills."""
    data = tmp_path_factory.mktemp("modelled") / "data"
    with endpoint(_answer) as sink, running(data) as service:
        ServiceMachine.endpoint, ServiceMachine.service = sink, service
        run_state_machine_as_test(
            ServiceMachine,
            settings=settings(
                max_examples=EXAMPLES[os.environ["REFOLD_TEST_PROFILE"]],
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
