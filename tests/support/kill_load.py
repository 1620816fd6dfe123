"""A load of clients for a service that is killed, and the ledger of all that it acknowledged.

What a workflow's nodes are called says how they behave: `o…` is delivered at most once, and the
last part of a URL's path tells the endpoint what to answer.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.service import Client, Hit, Reply, Service, chain, node

SLOW_SECONDS_MAX = 0.03
QUICK_RETRY = {"max_attempts": 4, "initial_interval": 0.02, "backoff": 1}
PLAIN_KINDS = ("chain", "fork", "brittle", "tolerant", "slow", "loop", "family", "form")
INTERVAL_SECONDS = 1
"""How often the scheduled workflow fires."""


def definitions(url: str, chain_id: str = "") -> dict[str, dict[str, Any]]:
    """The workflows of the load, by kind; their nodes call an endpoint.

    `chain_id` is the workflow that the family's children are runs of.
    """

    def call(id_: str, answer: str, *, at: str = "", **data: Any) -> dict[str, Any]:
        body = {"run": "{{ run.id }}", "node": id_ + at, "tag": "{{ webhook_payload.tag }}"}
        if id_.startswith("o"):
            data["delivery"] = "at_most_once"
        return node(id_, "webhook", url=f"{url}/{answer}", body=body, **data)

    start, pause = node("t", "manual_trigger"), node("d", "delay", duration=0.05)
    text = node("x", "text_transform", template="tag {{ webhook_payload.tag }}")
    fork = chain(start, call("a", "slow"), call("j", "ok"))
    fork["nodes"] += [call("o", "slow"), pause]
    fork["edges"] += [
        {"id": f"{a}{b}", "source": a, "target": b} for a, b in ("to", "td", "oj", "dj")
    ]
    failing = call("f", "fail", continue_on_error=True, retry={**QUICK_RETRY, "max_attempts": 2})
    inside = chain(call("a", "slow", at="@{{ index }}"), call("o", "slow", at="@{{ index }}"))
    loop = node("it", "iterator", items=[1, 2, 3], mode="parallel", concurrency=2, **inside)
    below = {"workflow_id": chain_id, "input": {"tag": "{{ webhook_payload.tag }}"}}
    child = node("s", "trigger_workflow", **below)
    loose = node("u", "trigger_workflow", wait=False, **below)
    form = node("f", "form", actions=[{"id": "go"}])
    asking = chain(start, call("a", "ok"), form)
    asking["nodes"] += [call("b", "ok")]
    asking["edges"] += [{"id": "fb", "source": "f", "target": "b", "sourceHandle": "go"}]
    fired = chain(node("t", "schedule_trigger"), call("o", "ok"))
    return {
        "loop": chain(start, loop, text),
        "family": chain(start, loose, child, call("a", "ok")),
        "form": asking,
        "timed": {
            **fired,
            "schedule_type": "interval",
            "schedule_value": f"{INTERVAL_SECONDS} seconds",
        },
        "chain": chain(
            start, text, call("a", "ok"), call("o", "ok"), call("r", "flaky", retry=QUICK_RETRY)
        ),
        "hook": chain(node("t", "webhook_trigger"), call("o", "slow"), call("b", "slow")),
        "fork": fork,
        "brittle": chain(
            start, call("a", "ok"), call("o", "ok"), call("b", "brittle"), call("c", "ok")
        ),
        "tolerant": chain(
            start, failing, call("o", "slow", continue_on_error=True), call("b", "ok")
        ),
        "slow": chain(start, call("a", "slow"), pause, call("o", "slow"), call("b", "slow")),
    }


class World:
    """Decides what the endpoint answers, and counts the calls of a round."""

    def __init__(self, choice: random.Random) -> None:
        self._choice = choice
        self._seen: Counter[str] = Counter()
        self._latency = threading.Event()
        self.healed: set[str] = set()
        """The tags whose brittle call succeeds from now on."""
        self.on_hit: Callable[[], None] = lambda: None

    def answer(self, hit: Hit) -> tuple[int, Any]:
        """Answer a call; its record stands already."""
        self._seen[hit.key] += 1
        self.on_hit()
        kind = hit.path.strip("/")
        if kind == "slow":
            # Nobody sets it: this is the latency of a service far away.
            self._latency.wait(self._choice.random() * SLOW_SECONDS_MAX)
        fails = (
            kind == "fail"
            or (kind == "flaky" and self._seen[hit.key] == 1)
            or (kind == "brittle" and json.loads(hit.body)["tag"] not in self.healed)
        )
        return (503, {"ok": False}) if fails else (200, {"ok": True})


@dataclass
class Asked:
    """A request that makes a run, and what was answered to it."""

    kind: str
    path: str
    body: Any
    tag: str
    """What the run's payload must hold."""
    key: str
    wait: int
    run: str = ""
    accepted: bytes = b""
    """The body of the 202, once there was one."""


@dataclass
class Ledger:
    """Everything that was asked, and everything that the service promised; outside of it."""

    workflows: dict[str, str] = field(default_factory=dict)
    hook: str = ""
    asked: list[Asked] = field(default_factory=list)
    acknowledged: dict[str, Asked] = field(default_factory=dict)
    finished: dict[str, Any] = field(default_factory=dict)
    """The bytes of the finished run, or its JSON where it came wrapped."""
    failed: list[str] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    """The runs whose form was answered, and the answer acknowledged."""
    wrong: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    on_answer: Callable[[], None] = lambda: None
    _counted: int = 0

    def take_doubtful(self) -> int:
        """Count the requests that a kill left without an answer, each once."""
        new, self._counted = self.asked[self._counted :], len(self.asked)
        return sum(not asked.run for asked in new)

    def note(self, asked: Asked, reply: Reply) -> None:
        """Enter an answer to a request that makes a run."""
        self.answers[f"{asked.kind} {reply.status}"] += 1
        if reply.status not in (200, 202):
            # A 503 promises nothing, and is repeated like a hang-up.
            refusals = (404, 409, 422) if asked.kind == "resume" else (409,)
            is_allowed = reply.status in refusals and not asked.run
            if reply.status != 503 and not is_allowed:
                self.wrong.append(f"{asked.path} answered {reply.status}: {reply.body!r}")
            return
        shown = json.loads(reply.body)
        wrapped = "new_run" in shown
        run = reply.headers.get("x-run-id") or (shown["new_run"] if wrapped else shown)["id"]
        if asked.run and asked.run != run:
            self.wrong.append(f"a repeat made another run: {asked.run} and {run}")
        if reply.status == 202:
            if asked.accepted and asked.accepted != reply.body and asked.kind != "rerun":
                self.wrong.append(
                    f"a repeat answered otherwise: {asked.accepted!r}, {reply.body!r}"
                )
            asked.accepted = reply.body
        else:
            self.finished[run] = shown["new_run"] if wrapped else reply.body
            if (shown["new_run"] if wrapped else shown)["status"] == "failed":
                self.failed.append(run)
        asked.run = run
        self.acknowledged[run] = asked
        self.on_answer()


def prepare(service: Service, ledger: Ledger, url: str) -> None:
    """Define the workflows; from then on they must be there."""
    client = service.client()
    texts = definitions(url)
    for kind in sorted(texts):
        text = definitions(url, ledger.workflows.get("chain", ""))[kind]
        made = client.post("/workflows", {**text, "name": kind})
        assert made.status == 201, made.body
        ledger.workflows[kind] = made.json["id"]
        if made.json["webhook_url"]:
            ledger.hook = made.json["webhook_url"].partition("/workflows/")[2]
    client.close()


def ask(client: Client, ledger: Ledger, asked: Asked) -> None:
    """Send a request that makes a run, and enter the answer."""
    prefer = {"Prefer": f"wait={asked.wait}"} if asked.wait else {}
    ledger.note(asked, client.post(asked.path, asked.body, Idempotency_Key=asked.key, **prefer))


def answer_form(client: Client, ledger: Ledger, run: str) -> None:
    """Answer a run's form, and enter what came of it; it may not be open."""
    path, named = f"/workflows/runs/{run}/interactions/f", {"X_Request_Id": f"answer.{run}"}
    reply = client.post(path, {"action": "go"}, **named)
    ledger.answers[f"answer {reply.status}"] += 1
    if reply.status == 202:
        ledger.answered.add(run)
        ledger.on_answer()
    elif reply.status not in (409, 503):
        ledger.wrong.append(f"an answer to a form was answered {reply.status}: {reply.body!r}")


def end_schedule(client: Client, ledger: Ledger) -> None:
    """Switch the scheduled workflow off, so that its last run ends some time."""
    reply = client.call("PUT", f"/workflows/{ledger.workflows['timed']}", {"is_active": False})
    assert reply.status == 200, reply.body


class Visitor:
    """One client, which does what its own random choices say until the service is gone."""

    def __init__(
        self, service: Service, ledger: Ledger, world: World, choice: random.Random
    ) -> None:
        self._ledger = ledger
        self._world = world
        self._choice = choice
        self._client = service.client(sub="me")

    def visit(self, is_over: threading.Event) -> None:
        """Ask one thing after the other."""
        try:
            while not is_over.is_set():
                self._act()
        except (OSError, http.client.HTTPException):
            # What was under way is in doubt: it is entered as asked, without an answer.
            return
        finally:
            self._client.close()

    def _act(self) -> None:
        ledger, choice = self._ledger, self._choice
        number = choice.random()
        known = list(ledger.acknowledged)[-60:]
        forms = [run for run in known if self._is_form(run) and run not in ledger.answered]
        if number < 0.08 and forms:
            answer_form(self._client, ledger, choice.choice(forms))
        elif number < 0.10 and ledger.asked:
            ask(self._client, ledger, choice.choice(ledger.asked[-200:]))
        elif number < 0.22 and known:
            # Mostly one that may still be under way.
            open_ = [run for run in known[-16:] if run not in ledger.finished]
            self._cancel(choice.choice(open_ or known))
        elif number < 0.36 and ledger.failed:
            run = choice.choice(ledger.failed[-30:])
            node_ = choice.choice(("t", "a", "o"))
            self._world.healed.add(ledger.acknowledged[run].tag)
            self._ask("resume", f"/workflows/runs/{run}/resume-from/{node_}", {}, run)
        elif number < 0.40 and known:
            run = choice.choice(known)
            self._ask("rerun", f"/workflows/runs/{run}/rerun", {}, run)
        elif number < 0.55:
            self._ask("hook", f"/workflows/{ledger.hook}", None, "")
        else:
            kind = choice.choice(PLAIN_KINDS)
            self._ask(kind, f"/workflows/{ledger.workflows[kind]}/execute", None, "")

    def _ask(self, kind: str, path: str, body: Any, original: str) -> None:
        tag = uuid.UUID(int=self._choice.getrandbits(128)).hex
        if original:
            tag = self._ledger.acknowledged[original].tag
        else:
            body = {"tag": tag} if kind == "hook" else {"context": {"tag": tag}}
        key = str(uuid.UUID(int=self._choice.getrandbits(128)))
        wait = self._choice.choice((0, 5)) if kind != "hook" else 0
        asked = Asked(kind, path, body, tag, key, wait)
        self._ledger.asked.append(asked)
        ask(self._client, self._ledger, asked)

    def _is_form(self, run: str) -> bool:
        return self._ledger.workflows["form"] in self._ledger.acknowledged[run].path

    def _cancel(self, run: str) -> None:
        named = {"X_Request_Id": f"cancel.{run}"}
        reply = self._client.post(f"/workflows/runs/{run}/cancel", **named)
        self._ledger.answers[f"cancel {reply.status}"] += 1
        if reply.status == 202:
            self._ledger.cancelled.add(run)
            self._ledger.on_answer()
        elif reply.status not in (409, 503):
            self._ledger.wrong.append(f"cancel answered {reply.status}: {reply.body!r}")
