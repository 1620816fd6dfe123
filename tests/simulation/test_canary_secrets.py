"""No secret, and no part of one in any form, is anywhere but in the vault and in the call itself.

Random workflows send canaries to an endpoint that sends them back in every form. Afterwards all
that the service wrote is searched for them: its files, its log, its answer to each GET, its
metrics among them, and what is exported of it in every format.
"""

from __future__ import annotations

import base64
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from refold.http.endpoints import ENDPOINTS
from refold.projections.exports.export import export
from refold.projections.exports.formats import FORMATS
from refold.projections.exports.plan import Selection
from tests.support import canary_forms
from tests.support.canary import Author, canaries
from tests.support.canary_echo import Echo, echoing
from tests.support.canary_forms import Leaks
from tests.support.metrics_kit import OPENMETRICS
from tests.support.service import Client, Reply, Service, node, running

WORKFLOWS = {"dev": 12, "ci": 50, "full": 500}
A_TENANT = 25
"""Workflows of one tenant, which share its vault."""
SECRETS = 8
EVERYTHING = Selection()
ENDED_SECONDS_MAX = 120
ENDED = ("completed", "failed")


_PLACES = {
    "version": "1",
    "position": "1",
    "level": "0",
    "more": "001",
    "last": "002",
    "n": "0",
    "subscriptionId": f"sub_{'0' * 26}",
}
"""What paths name beside workflows, runs and items."""


class Story:
    """What one tenant does: its vault, its workflows, its runs, and what it was answered."""

    def __init__(self, service: Service, echo: Echo, dice: random.Random, org: str) -> None:
        self.client: Client = service.client(org)
        self.secrets = canaries(dice, SECRETS)
        self.answers: list[tuple[str, bytes]] = []
        self.ids: list[dict[str, str]] = []
        self._dice = dice
        items = {name: self._item(name, secret) for name, secret in self.secrets.items()}
        self._items = items
        self._author = Author(dice, items, echo.url)

    def _item(self, name: str, secret: str) -> str:
        made = self.keep(self.client.post("/workflows/vault", {"name": name, "secret": secret}))
        assert made.status == 201, made.body
        return str(made.json["id"])

    def keep(self, reply: Reply, what: str = "POST") -> Reply:
        """Keep an answer for the search."""
        head = "\n".join(f"{name}: {value}" for name, value in reply.headers.items())
        self.answers.append((what, head.encode() + b"\n\n" + reply.body))
        return reply

    def execute(self, number: int) -> None:
        """Save a workflow and run it; try out one of its nodes now and then."""
        workflow = self._author.workflow(f"canary {number}")
        saved = self.keep(self.client.post("/workflows", workflow))
        assert saved.status == 201, (saved.body, workflow)
        run = self.keep(self.client.post(f"/workflows/{saved.json['id']}/execute", {}))
        assert run.status == 202, run.body
        nodes = [n["id"] for n in workflow["nodes"]]
        self.ids.append(
            {"workflowId": saved.json["id"], "runId": run.json["id"], "nodeId": nodes[-1]}
        )
        if self._dice.random() < 0.2:
            tried = {"node": self._author.call("tried", []), "context": {}}
            self.keep(self.client.post("/workflows/test-node", tried))

    def change_a_secret(self) -> None:
        """Put another secret into an item while calls with the old one may be on the wire."""
        name, item = self._dice.choice(sorted(self._items.items()))
        secret = "".join(self._dice.choices(self.secrets[name], k=30))
        self.secrets[f"{name} later"] = secret
        self.keep(self.client.call("PUT", f"/workflows/vault/{item}", {"secret": secret}))

    def wait(self) -> list[Any]:
        """Wait until all runs have ended, and run some of them again."""
        for known in list(self.ids):
            self._ended(known["runId"])
        for known in self._dice.sample(self.ids, len(self.ids) // 4):
            again = self.keep(self.client.post(f"/workflows/runs/{known['runId']}/rerun"))
            self.ids.append(known | {"runId": again.json["new_run"]["id"]})
        return [self._ended(known["runId"]) for known in self.ids]

    def _ended(self, run: str) -> Any:
        give_up = time.monotonic() + ENDED_SECONDS_MAX
        while time.monotonic() < give_up:
            reply = self.client.get(f"/workflows/runs/{run}")
            if reply.json["status"] in ENDED:
                return reply.json
            time.sleep(0.05)
        raise AssertionError(f"run {run} did not end")

    def read_everything(self) -> None:
        """Ask every route that can be read, for every workflow and run."""
        paths = {e.path for e in ENDPOINTS if e.method == "GET"} | {"/openapi.json"}
        for path in sorted(paths):
            asked: set[str] = set()
            for known, other in zip(self.ids, self.ids[1:] + self.ids[:1], strict=True):
                ids = known | _PLACES | {"otherRunId": other["runId"]}
                for item in sorted(self._items.values()):
                    asked.add(path.format(**ids, itemId=item, token="whsec_x"))
                    if "{itemId}" not in path:
                        break
            for url in sorted(asked):
                reply = self.keep(self.client.get(url), url)
                if path.endswith("/search"):
                    # What is found is shown as it is anywhere; what was copied is in the files.
                    self.keep(self.client.get(f"{url}?q=plain&limit=100"), url)
                if path == "/metrics":
                    assert b"refold_calls_in_progress" in reply.body, "the metrics are searched"
                    self.keep(self.client.get(url, Accept=OPENMETRICS), url)
                if url.endswith("/events"):
                    self.keep(self.client.get(url, Accept="application/x-ndjson"), url)


def tell(
    service: Service, echo: Echo, dice: random.Random, count: int, stories: list[Story]
) -> None:
    """Let tenants run workflows until `count` of them were run; their stories are added."""
    for number in range(count):
        if number % A_TENANT == 0:
            stories.append(Story(service, echo, dice, f"org-{number}"))
        stories[-1].execute(number)
        if number % 10 == 9:
            stories[-1].change_a_secret()
    for story in stories:
        # The service has closed what was idle while the others told theirs.
        story.client.close()
        runs = story.wait()
        assert any(run["status"] == "completed" for run in runs)
        story.read_everything()


def plain(exported: bytes) -> bytes:
    """Return the legal copy with its bodies as they are.

    In base64, six characters of a secret look like eight of its base64, and six may stand there.
    """
    lines = [json.loads(line) for line in exported.splitlines()]
    bodies = [base64.b64decode(line["body"]) for line in lines if line.get("body")]
    return b"\n".join([*(json.dumps(line | {"body": ""}).encode() for line in lines), *bodies])


def traces(service: Service, stories: list[Story]) -> list[str]:
    """Search everything that the service wrote or said."""
    leaks = Leaks(secret for story in stories for secret in story.secrets.values())
    found = [f"log: {trace}" for trace in leaks.find("".join(service.log).encode())]
    for file in sorted(service.data.rglob("*")):
        if file.is_file():
            data = plain(file.read_bytes()) if file.name == "exported.ndjson" else file.read_bytes()
            found += [f"{file.name}: {trace}" for trace in leaks.find(data)]
    said: dict[bytes, str] = {answer: what for story in stories for what, answer in story.answers}
    everything = b"\n".join(said)
    if leaks.find(everything):
        for answer, what in said.items():
            found += [f"{what}: {trace}" for trace in leaks.find(answer)]
    return found


@pytest.mark.timeout(3600)
def test_no_trace_of_a_secret_is_left_anywhere(tmp_path: Path, seed: int) -> None:
    """In no file, no log line and no answer; and the calls did carry the secrets."""
    dice = random.Random(seed)
    settings = {"SHUTDOWN_SECONDS_MAX": "1", "SEARCH": "errors,payloads,logs"}
    with echoing() as echo, running(tmp_path / "data", **settings) as service:
        stories: list[Story] = []
        try:
            tell(service, echo, dice, WORKFLOWS[os.environ["REFOLD_TEST_PROFILE"]], stories)
        finally:
            for story in stories:
                story.client.close()
        found = traces(service, stories)
        names = {path.name for path in service.data.glob("views.search_*.db")}
        assert names == {f"views.search_{name}.db" for name in ("errors", "logs", "payloads")}
        service.stop()
        for name in FORMATS:
            export(service.data, name, service.data / f"exported.{name}", EVERYTHING)
        found += traces(service, stories)
    assert not found, f"seed {seed}: {len(found)} traces\n" + "\n".join(found[:20])
    sent = b"\n".join(echo.received)
    plain = [s for story in stories for s in story.secrets.values() if s.isalnum()]
    assert sum(secret.encode() in sent for secret in plain) > len(plain) // 2
    assert not any("Traceback" in line for line in service.log), "".join(service.log)[-4000:]


UNSEARCHED = """
import sys
from refold.engine import calls
from refold.scripts import cli
calls.masked_result = lambda result, search: result
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.timeout(600)
def test_a_service_that_does_not_search_its_answers_is_found_out(tmp_path: Path, seed: int) -> None:
    """A search that finds nothing proves nothing unless it finds what is there."""
    service = Service(tmp_path / "data", command=(sys.executable, "-c", UNSEARCHED, "serve"))
    service.start()
    try:
        with echoing() as echo:
            story = Story(service, echo, random.Random(seed), "acme")
            item = next(secret for secret in story.secrets.values() if len(secret) > 8)
            name = next(name for name, secret in story.secrets.items() if secret == item)
            call = node(
                "n", "webhook", url=f"{echo.url}/text/0/0", body=f"{{{{ vault['{name}'] }}}}"
            )
            edges = [{"id": "e", "source": "start", "target": "n"}]
            nodes = [node("start", "manual_trigger"), call]
            saved = story.client.post("/workflows", {"name": "w", "nodes": nodes, "edges": edges})
            run = story.client.post(f"/workflows/{saved.json['id']}/execute", Prefer="wait=20")
            story.keep(run)
            story.client.close()
            found = traces(service, [story])
    finally:
        service.kill()
    assert any(trace.startswith("POST") for trace in found)
    assert any(trace.startswith("journal") for trace in found), found


LABELLED = """
import sys
from refold.http import router
from refold.scripts import cli
find = router.Router.find
def find_and_label(self, method, path):
    route, params = find(self, method, path)
    route.figures.template = path
    return route, params
router.Router.find = find_and_label
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.timeout(600)
def test_a_service_that_counts_by_what_was_sent_is_found_out(tmp_path: Path, seed: int) -> None:
    """In its metrics, which nothing else would show: no answer repeats a path."""
    dice = random.Random(seed)
    service = Service(tmp_path / "data", command=(sys.executable, "-c", LABELLED, "serve"))
    service.start()
    try:
        with echoing() as echo:
            story = Story(service, echo, dice, "acme")
            story.execute(0)
            secret = next(s for s in story.secrets.values() if len(s) > 8 and s.isalnum())
            story.keep(story.client.get(f"/workflows/{secret}"))
            story.wait()
            story.read_everything()
            story.client.close()
            found = traces(service, [story])
    finally:
        service.kill()
    assert found
    assert all(trace.startswith("/metrics") for trace in found), found


@pytest.mark.parametrize("name", sorted(canary_forms.TRANSFORMS))
def test_the_search_for_traces_finds_each_form(name: str) -> None:
    """Also in the middle of bytes that are no text."""
    secret = 'Kq7/zX+"w&9\\V%pJ8eR2'
    data = b"\xff\x00" + canary_forms.TRANSFORMS[name](secret).encode() + b"\x00\xff"
    assert Leaks([secret]).find(data)
    assert not Leaks([secret]).find(b"\xff\x00 nothing of the kind \\u0041\\u0042 %41%42")
