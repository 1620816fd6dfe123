"""What time travel is tested with: a random load, and a witness that keeps what it is answered.

The load makes, changes and deletes workflows and grants, and starts, answers, cancels, resumes
and repeats runs. The witness asks for everything that can be asked for again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from tests.support.http_kit import slow
from tests.support.service import Client, Service, chain, node

POSITION: Final = "x-refold-position"
READER: Final = "workflows:read"
STATUSES: Final = ("pending", "running", "completed", "failed", "awaiting_ui_interaction")
QUICK_RETRY: Final = {"max_attempts": 2, "initial_interval": 0.01, "backoff": 1}
NEWEST_RUNS: Final = 40
"""Among how many of the newest runs the load and the witness mostly choose."""


@dataclass
class World:
    """What there is to act on, as far as the load knows; each list only grows."""

    workflows: list[str] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)
    """The workflows that ask a person."""
    short_lived: list[str] = field(default_factory=list)
    """The workflows that may be deleted."""
    runs: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    """When runs were made."""
    grants: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Kept:
    """An answer, and at which position it was given."""

    path: str
    is_reader: bool
    """Whether it was given to somebody who may only read."""
    position: int
    body: bytes


def definitions(url: str) -> dict[str, dict[str, Any]]:
    """The workflows that the load begins with, by name."""
    start = node("t", "manual_trigger")
    text = node("x", "text_transform", template="hi {{ trigger.name }}")
    call = node("n1", "webhook", url=f"{url}/ok", body={"run": "{{ run.id }}"})
    failing = node("n2", "webhook", url=f"{url}/503/x", retry=QUICK_RETRY)
    tolerated = {**failing, "data": {**failing["data"], "continue_on_error": True}}
    each = node(
        "it", "iterator", items=[1, 2, 3], **chain(node("in", "text_transform", template="y"))
    )
    asking = chain(start, call, node("f", "form", actions=[{"id": "go"}]))
    asking["nodes"].append(text)
    asking["edges"].append({"id": "fx", "source": "f", "target": "x", "sourceHandle": "go"})
    return {
        "quick": chain(start, text),
        "failing": chain(start, text, call, failing, node("x2", "text_transform", template="z")),
        "tolerant": chain(start, tolerated, each, text),
        "asking": asking,
        "slow": slow(),
        "hooked": chain(node("t", "webhook_trigger"), text),
        "timed": {
            **chain(node("t", "schedule_trigger"), text),
            "schedule_type": "interval",
            "schedule_value": "1 second",
        },
    }


def prepare(client: Client, world: World, url: str) -> None:
    """Make what the load and the witness begin with."""
    for name, text in definitions(url).items():
        made = client.post("/workflows", {**text, "name": name})
        assert made.status == 201, made.body
        world.workflows.append(made.json["id"])
        if name == "asking":
            world.forms.append(made.json["id"])
    below = node("s", "trigger_workflow", workflow_id=world.workflows[0], input={"name": "sub"})
    made = client.post("/workflows", chain(node("t", "manual_trigger"), below))
    assert made.status == 201, made.body
    world.workflows.append(made.json["id"])


class Mover:
    """One client that changes the world, one random act after the other."""

    def __init__(self, client: Client, world: World, dice: random.Random, url: str) -> None:
        self._client = client
        self._world = world
        self._dice = dice
        self._url = url
        self.faults: list[str] = []

    def act(self) -> None:
        """Do one thing; that it is refused is none of the load's business, a 500 is."""
        acts: list[tuple[int, Callable[[], None]]] = [
            (30, self._execute),
            (12, self._answer),
            (8, self._cancel),
            (10, self._resume),
            (6, self._rerun),
            (10, self._change),
            (4, self._make_and_delete),
            (4, self._grant),
        ]
        (chosen,) = self._dice.choices([act for _, act in acts], [weight for weight, _ in acts])
        chosen()

    def _send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        reply = self._client.call(method, path, body, headers)
        if reply.status >= 500 and reply.status != 503:
            self.faults.append(f"{method} {path}: {reply.status} {reply.body!r}")
        return reply.json if 200 <= reply.status < 300 and reply.body else None

    def _run(self) -> str:
        return self._dice.choice(self._world.runs[-NEWEST_RUNS:] or ["fl_run_none"])

    def _keep(self, made: Any) -> None:
        if made is not None:
            run = made.get("new_run", made)
            self._world.runs.append(run["id"])
            self._world.times.append(run["created_at"])

    def _prefer(self) -> dict[str, str]:
        return {"Prefer": "wait=1"} if self._dice.random() < 0.1 else {}

    def _execute(self) -> None:
        workflow = self._dice.choice(self._world.workflows)
        body = {"context": {"name": f"Ann {self._dice.random()}"}}
        prefer = self._prefer()
        self._keep(self._send("POST", f"/workflows/{workflow}/execute", body, **prefer))

    def _answer(self) -> None:
        path = f"/workflows/runs/{self._run()}/interactions/f"
        self._send("POST", path, {"action": "go", "values": {}})

    def _cancel(self) -> None:
        self._send("POST", f"/workflows/runs/{self._run()}/cancel")

    def _resume(self) -> None:
        chosen = self._dice.choice(("t", "x", "n1"))
        self._keep(self._send("POST", f"/workflows/runs/{self._run()}/resume-from/{chosen}"))

    def _rerun(self) -> None:
        self._keep(self._send("POST", f"/workflows/runs/{self._run()}/rerun", **self._prefer()))

    def _change(self) -> None:
        workflow = self._dice.choice(self._world.workflows)
        change: dict[str, Any] = self._dice.choice(
            [
                {"name": f"named {self._dice.random()}"},
                {"description": f"told {self._dice.random()}"},
                {"is_active": False},
                {"is_active": True},
                {"is_active": True},
            ]
        )
        if self._world.grants and self._dice.random() < 0.2:
            change = {"authorization_id": self._dice.choice([None, *self._world.grants])}
        self._send("PUT", f"/workflows/{workflow}", change)
        if self._dice.random() < 0.1:
            self._send("POST", f"/workflows/{workflow}/webhook-token")

    def _make_and_delete(self) -> None:
        world = self._world
        if world.short_lived and self._dice.random() < 0.5:
            self._send("DELETE", f"/workflows/{self._dice.choice(world.short_lived[-5:])}")
            return
        made = self._send("POST", "/workflows", definitions(self._url)["quick"])
        if made is not None:
            world.short_lived.append(made["id"])
            world.workflows.append(made["id"])
            self._keep(self._send("POST", f"/workflows/{made['id']}/execute"))

    def _grant(self) -> None:
        world = self._world
        if world.grants and self._dice.random() < 0.5:
            chosen = self._dice.choice(world.grants)
            self._send("DELETE", f"/workflows/authorization/{chosen}")
            return
        made = self._send(
            "POST",
            "/workflows/authorization",
            {
                "provider": "p",
                "grant_type": "client_credentials",
                "client_id": "c",
                "client_secret": "hush hush",
                "token_url": f"{self._url}/token",
            },
        )
        if made is not None:
            world.grants.append(made["id"])


class Witness:
    """Asks for whatever can be asked for again, and keeps the answers with their positions."""

    def __init__(self, service: Service, org: str, world: World, dice: random.Random) -> None:
        self._world = world
        self._dice = dice
        self._clients = {False: service.client(org), True: service.client(org, scope=READER)}
        self._newest = 0
        self.kept: list[Kept] = []
        self.faults: list[str] = []

    def close(self) -> None:
        """Give the connections back."""
        for client in self._clients.values():
            client.close()

    def look(self) -> None:
        """Ask for one thing and keep the answer, if there is one."""
        path = self._path()
        is_reader = self._dice.random() < 0.2
        reply = self._clients[is_reader].get(path)
        if reply.status != 200:
            # What is unknown or deleted has no answer, and views may be made anew meanwhile.
            if reply.status not in (404, 503):
                self.faults.append(f"{path}: {reply.status} {reply.body!r}")
            return
        position = int(reply.headers[POSITION])
        if position < self._newest:
            self.faults.append(f"{path}: went back from {self._newest} to {position}")
        self._newest = position
        self.kept.append(Kept(path, is_reader, position, reply.body))

    def _path(self) -> str:
        dice, world = self._dice, self._world
        newest = dice.random() < 0.8
        run, other = (
            dice.choice((world.runs[-NEWEST_RUNS:] if newest else world.runs) or ["fl_run_none"])
            for _ in range(2)
        )
        workflow = f"/workflows/{dice.choice(world.workflows)}"
        if dice.random() < 0.5:
            return dice.choice(
                [
                    f"/workflows/runs/{run}",
                    f"/workflows/runs/{run}",
                    f"/workflows/runs/{run}?include=workflow",
                    f"/workflows/runs/{run}/interactions",
                    f"/workflows/runs/{run}/lineage",
                    f"/workflows/runs/{run}/diff/{other}",
                    f"/workflows/runs/{run}/blame",
                ]
            )
        if dice.random() < 0.5:
            return f"{workflow}/executions{self._filter(run)}"
        return dice.choice(
            [
                workflow,
                f"{workflow}/versions",
                f"{workflow}/versions/1",
                f"{workflow}/logs?limit={dice.randint(1, 40)}",
                f"{workflow}/logs?level={dice.choice(('success', 'warning', 'error'))}",
                f"{workflow}/logs?run={run}",
                f"{workflow}/logs/stats",
                "/workflows/logs/recent",
                "/workflows",
                f"/workflows?page={dice.randint(1, 3)}&per_page=4",
            ]
        )

    def _filter(self, run: str) -> str:
        dice = self._dice
        parts = [f"per_page={dice.choice((3, 15, 100))}"]
        if dice.random() < 0.6:
            parts.append(f"status={dice.choice(STATUSES)}")
        if dice.random() < 0.2:
            parts.append(f"origin={dice.choice(('execute', 'rerun', 'resume', 'schedule'))}")
        if dice.random() < 0.2:
            parts.append(f"original_run_id={run}")
        if dice.random() < 0.2:
            parts.append(f"page={dice.randint(1, 3)}")
        elif self._newest and dice.random() < 0.2:
            parts.append(f"cursor={dice.randint(1, self._newest)}")
        if self._world.times and dice.random() < 0.2:
            parts.append(f"{dice.choice(('from', 'to'))}={quote(dice.choice(self._world.times))}")
        return "?" + "&".join(parts)


def asked_again(client: Client, reader: Client, kept: Kept) -> str:
    """Ask for an answer as of its position; returns what is wrong with the new one, or ""."""
    mark = "&" if "?" in kept.path else "?"
    path = f"{kept.path}{mark}as_of=p{kept.position}"
    reply = (reader if kept.is_reader else client).get(path)
    if reply.status != 200:
        return f"{path}: {reply.status} {reply.body!r}"
    if reply.headers[POSITION] != str(kept.position):
        return f"{path}: as of {reply.headers[POSITION]}"
    return "" if reply.body == kept.body else f"{path}:\n{kept.body!r}\n{reply.body!r}"


def until_done(act: Callable[[], None], is_over: threading.Event) -> threading.Thread:
    """Act again and again on a thread of its own until it is over."""

    def go_on() -> None:
        while not is_over.is_set():
            act()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    return thread
