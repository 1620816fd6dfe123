"""The examples of the engine, pointed at an endpoint of a test, and the town that answers them."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from .http_kit import create
from .service import Client, Hit, Service, endpoint, running
from .smtp_server import Box, smtp_thread

FOLDER = Path(__file__).parents[2] / "engine" / "examples"
FILES = sorted(path.stem for path in FOLDER.glob("*.json"))
EXAMPLE_ADDRESS = re.compile(r"https://([a-z]+)\.example")
IDS = re.compile(r"\b(?:fl|auth)_0[0-9a-z]{25}\b")
"""Ids that stand for what the reader has yet to make."""


class Town:
    """Answers every call; `https://shop.example/x` is its `/shop/x`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        """Method and path, such as `POST /shop/x`, and the body, in their order."""
        self._answers: dict[str, list[tuple[int, Any]]] = {}
        self._changed = threading.Condition()

    def reset(self) -> None:
        """Forget what came and what was to be answered."""
        with self._changed:
            self.calls = []
            self._answers = {}

    def says(self, call: str, *answers: tuple[int, Any]) -> None:
        """Answer calls whose method and path begin so, one by one; the last answer stays."""
        with self._changed:
            self._answers[call] = list(answers)

    def __call__(self, hit: Hit) -> tuple[int, Any]:
        """Keep one call and answer it."""
        call = f"{hit.method} {hit.path}"
        is_json = hit.headers.get("content-type") == "application/json"
        body = json.loads(hit.body) if hit.body and is_json else hit.body.decode()
        with self._changed:
            self.calls.append((call, body))
            self._changed.notify_all()
            known = [start for start in self._answers if call.startswith(start)]
            if not known:
                return 200, {"id": 7}
            answers = self._answers[max(known, key=len)]
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def heard(self, start: str) -> list[Any]:
        """Return the bodies of the calls whose method and path begin so."""
        with self._changed:
            return [body for call, body in self.calls if call.startswith(start)]

    def wait(self, start: str) -> None:
        """Wait until such a call has come."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: any(call.startswith(start) for call, _ in self.calls), 30
            )


@dataclass
class Stage:
    """A service with a mail server and a town to call, which is its API as well."""

    service: Service
    town: Town
    url: str
    box: Box

    @property
    def mails(self) -> list[EmailMessage]:
        """What the mail server took."""
        return [message_from_bytes(mail.content, policy=policy.default) for mail in self.box.mails]

    def create(self, user: Client, name: str, **ids: str) -> str:
        """Create the workflow of an example and return its id."""
        return create(user, example(name, self.url, **ids))

    def reset(self) -> None:
        """Forget what came, and what was to be refused."""
        self.town.reset()
        self.box.mails.clear()
        self.box.says_to.clear()


@contextmanager
def staged(directory: Path) -> Generator[Stage]:
    """Serve a stage for the length of a block."""
    town, box = Town(), Box()
    with (
        endpoint(town) as streets,
        smtp_thread(box) as port,
        running(
            directory,
            API_BASE_URL=f"{streets.url}/api",
            SMTP_HOST="127.0.0.1",
            SMTP_PORT=str(port),
            SMTP_SECURITY="none",
            SMTP_FROM="Refold <refold@company.example>",
        ) as service,
    ):
        yield Stage(service, town, streets.url, box)


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    """Return a mail's text, `plain` or `html`."""
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def example(name: str, url: str, **ids: str) -> dict[str, Any]:
    """Read an example for a town at `url`: its waits are shortened, and nothing else.

    `ids` are what takes the place of the ids that end so, such as `account="fl_…"`, and of the
    authorization as `auth`.
    """
    text = EXAMPLE_ADDRESS.sub(rf"{url}/\1", (FOLDER / f"{name}.json").read_text("utf-8"))
    for end, id_ in ids.items():
        stands_for = r"\bauth_0+\b" if end == "auth" else rf"\bfl_0+{end}\b"
        text, count = re.subn(stands_for, id_, text)
        assert count, end
    made: dict[str, Any] = json.loads(text)
    for data in _datas(made["nodes"]):
        if "retry" in data:
            data["retry"]["initial_interval"] = 0.01
        if data["componentId"] == "delay":
            data["duration"] = 0.01
    return made


def _datas(nodes: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for node in nodes:
        yield node["data"]
        yield from _datas(node["data"].get("nodes", ()))


def data_of(definition: dict[str, Any], node: str) -> dict[str, Any]:
    """Return the data of a node, to be changed."""
    (found,) = [each["data"] for each in definition["nodes"] if each["id"] == node]
    changed: dict[str, Any] = found
    return changed


def wait_for_event(client: Client, run_id: str, type_: str) -> None:
    """Follow a run's live tail until an event of this type has come."""
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {client.token}"}
    with closing(connection):
        connection.request("GET", f"/workflows/runs/{run_id}/events", headers=headers)
        for line in connection.getresponse():
            if line == f"event: {type_}\n".encode():
                return
    raise AssertionError(f"the run ended without {type_}")


def outputs(run: dict[str, Any]) -> dict[str, Any]:
    """Return the newest output of each node outside of iterators."""
    return {entry["node_id"]: entry["output"] for entry in run["logs"] if not entry["iteration"]}
