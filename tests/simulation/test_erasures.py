"""The proof of erasure: after it every answer is what it was, with the erased values replaced.

A random load makes runs, forks, sub-workflows and deleted workflows; then random runs, workflows
and people are erased. What each answer should be is worked out of the journal's file alone: which
bodies each value comes from, and which of those the answers said are gone.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from refold.engine.component import is_list, is_object
from refold.projections.built_in import BUILT_IN
from refold.projections.views_file import digest_live
from tests.support.erasure_kit import ERASED, ask
from tests.support.http_kit import followed
from tests.support.service import Client, Hit, endpoint, running
from tests.support.travel_load import POSITION, Mover, World, prepare

ACTS = {"dev": 120, "ci": 300, "full": 3000}
ERASURES = {"dev": 12, "ci": 30, "full": 200}

DATA = ("body", "edges", "nodes", "output", "trigger_payload")
"""What users wrote, however it looks."""
LOST_OF_WORKFLOW = (
    "authorization",
    "description",
    "schedule_type",
    "schedule_value",
    "webhook_url",
)


def _answer(hit: Hit) -> tuple[int, object]:
    status = hit.path.split("/")[1]
    return (int(status), {"problem": "no"}) if status.isdigit() else (200, {"ok": True})


class Bodies:
    """Which body each value of an answer comes from, read off the journal's file."""

    def __init__(self, data: Path) -> None:
        uri = f"file:{data / 'journal.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as db:
            rows = db.execute("SELECT position, entry, body_at FROM event").fetchall()
        self.of_event: dict[str, int] = {}
        self.payload: dict[str, int] = {}
        self.message: dict[str, int] = {}
        self.definition: dict[tuple[str, int], int] = {}
        self.streams: dict[int, str] = {}
        for position, raw, body_at in rows:
            entry = json.loads(raw)
            facts, stream = entry["facts"], entry["stream"]
            self.of_event[entry["id"]] = body_at
            self.streams[position] = stream
            if entry["type"] == "run.requested":
                inherited = str(facts["payload_run"])
                self.payload[stream] = self.payload[inherited] if inherited else body_at
            elif entry["type"] in ("run.failed", "run.cancelled"):
                self.message[stream] = body_at
            elif entry["type"] == "workflow.defined":
                self.definition[stream, facts["workflow_version"]] = body_at

    def after(self, value: Any, gone: set[int]) -> Any:
        """Replace in an answer what is gone."""
        if is_list(value):
            return [self.after(part, gone) for part in value]
        if not is_object(value):
            return value
        if "leaf" in value:
            return {**value, "body": ERASED} if self.of_event[value["id"]] in gone else value
        made = {
            name: part if name in DATA else self.after(part, gone) for name, part in value.items()
        }
        if "execution_id" in value:
            if self.of_event[value["id"].removeprefix("fl_log_")] in gone:
                made["output"] = ERASED
        elif "webhook_url" in value:
            if self.definition[value["id"], value["version"]] in gone:
                made |= dict.fromkeys(LOST_OF_WORKFLOW)
                made |= {"name": "(erased)", "erased": True}
                made |= {name: [] for name in ("nodes", "edges") if name in value}
        elif "trigger_payload" in value:
            if self.payload[value["id"]] in gone:
                made["trigger_payload"] = ERASED
            if value["error_message"] is not None and self.message[value["id"]] in gone:
                made["error_message"] = "(erased)"
        return made


def _paths(world: World) -> list[str]:
    made = ["/workflows", "/workflows/logs/recent?limit=1000"]
    for run in world.runs:
        at = f"/workflows/runs/{run}"
        made += [at, f"{at}?include=workflow", f"{at}/events?limit=1000", f"{at}/lineage"]
    for workflow in world.workflows:
        at = f"/workflows/{workflow}"
        made += [at, f"{at}/executions?per_page=100", f"{at}/logs?limit=1000", f"{at}/logs/stats"]
    return made


def _answers(client: Client, world: World, position: int) -> dict[str, Any]:
    """Return every answer as of a position; run events are asked for as they are."""
    found: dict[str, Any] = {}
    for path in _paths(world):
        as_of = "" if "/events" in path else f"{'&' if '?' in path else '?'}as_of=p{position}"
        reply = client.get(path + as_of)
        assert reply.status in (200, 404), (path, reply.body)
        found[path] = reply.json if reply.status == 200 else reply.status
    return found


def _erase_some(
    clients: list[Client], world: World, dice: random.Random, total: int
) -> tuple[set[int], int]:
    """Erase at random; returns the positions that are gone by the answers, and how many calls."""
    gone: set[int] = set()
    done = 0
    for _ in range(total):
        kind = dice.choices(("run", "workflow", "subject"), (8, 2, 1))[0]
        name = "ben"
        if kind != "subject":
            names = world.runs if kind == "run" else world.short_lived
            name = dice.choice(names or ["fl_none"])
        reply = ask(clients[0], **{kind: name})
        assert reply.status in (200, 404, 409), reply.body
        if reply.status == 200:
            done += 1
            gone |= {at for loss in reply.json["streams"] for at in loss["positions"]}
    return gone, done


@pytest.mark.timeout(1800)
def test_after_erasures_every_answer_is_what_it_was_but_for_what_is_gone(
    tmp_path: Path, seed: int
) -> None:
    """Of every route, as of one position; and views made anew are the same as the live ones."""
    dice, world = random.Random(seed), World()
    profile = os.environ["REFOLD_TEST_PROFILE"]
    data = tmp_path / "data"
    with endpoint(_answer) as sink, running(data) as service:
        clients = [service.client(), service.client(sub="ben")]
        prepare(clients[0], world, sink.url)
        movers = [Mover(c, world, random.Random(dice.random()), sink.url) for c in clients]
        for number in range(ACTS[profile]):
            movers[number % 2].act()
        # What goes on by itself would change the answers.
        for workflow in world.workflows:
            clients[0].call("PUT", f"/workflows/{workflow}", {"is_active": False})
        for run in list(world.runs):
            if clients[0].post(f"/workflows/runs/{run}/cancel").status == 202:
                followed(clients[0], run)
        position = int(clients[0].get("/workflows").headers[POSITION])
        before = _answers(clients[0], world, position)
        gone, done = _erase_some(clients, world, dice, ERASURES[profile])
        assert done > ERASURES[profile] / 4
        assert gone
        after = _answers(clients[0], world, position)
        bodies = Bodies(data)
        for path, answer in before.items():
            assert after[path] == bodies.after(answer, gone), f"{path} (seed {seed})"
        shown = json.dumps(after)
        assert json.dumps(ERASED) in shown
        assert [fault for mover in movers for fault in mover.faults] == []
        for client in clients:
            client.close()
        assert service.stop() == 0
        live = [digest_live(data / "views.db", projection) for projection in BUILT_IN]
        for left in data.glob("views.db*"):
            left.unlink()
        service.start()
        with closing(service.client()) as client:
            assert _answers(client, world, position) == after
        assert service.stop() == 0
        assert [digest_live(data / "views.db", projection) for projection in BUILT_IN] == live
