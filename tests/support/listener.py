"""A real HTTP endpoint that is told of events: checks signatures, and can be waited for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from refold.engine.subscriber import signature
from tests.support.service import Hit, endpoint

WAIT_SECONDS_MAX = 60


class Listener:
    """What it was told; `status` answers a batch."""

    def __init__(self) -> None:
        self.url = ""
        self.secret = ""
        self.status: Callable[[list[dict[str, Any]]], int] = lambda _: 200
        self.taken: list[dict[str, Any]] = []
        """The events of the batches that were taken, in the order in which they came."""
        self.is_signed = True
        self._heard = threading.Condition()
        self._asked = threading.Event()
        self._may_answer = threading.Event()
        self._may_answer.set()

    def pause(self) -> None:
        """Answer nothing until `resume`."""
        self._may_answer.clear()

    def resume(self) -> None:
        """Answer again, also what was asked meanwhile."""
        self._may_answer.set()

    def until_asked(self) -> None:
        """Wait until something was asked."""
        assert self._asked.wait(WAIT_SECONDS_MAX)

    def answer(self, hit: Hit) -> tuple[int, Any]:
        """Take one batch."""
        events = json.loads(hit.body)
        self._asked.set()
        self._may_answer.wait(WAIT_SECONDS_MAX)
        stamp, id_ = int(hit.headers["webhook-timestamp"]), hit.headers["webhook-id"]
        with self._heard:
            if self.secret:
                good = signature(self.secret, id_, stamp, hit.body)
                self.is_signed &= hit.headers["webhook-signature"] == good
            status = self.status(events)
            if status == 200:
                self.taken += events
            self._heard.notify_all()
        return status, {}

    def until(self, holds: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Wait until something is true of what was taken."""
        with self._heard:
            done = self._heard.wait_for(lambda: holds(self.taken), WAIT_SECONDS_MAX)
        assert done, f"only {len(self.taken)} events came"

    def until_positions(self, wanted: set[int]) -> None:
        """Wait until the events at all these positions were taken."""
        self.until(lambda taken: wanted <= {int(event["sequence"]) for event in taken})

    def first_of(self, stream: str) -> list[int]:
        """Return the positions of a stream in the order in which each first came."""
        own = [int(event["sequence"]) for event in self.taken if event["subject"] == stream]
        return list(dict.fromkeys(own))


@contextmanager
def listening() -> Generator[Listener]:
    """Listen for the length of a block."""
    made = Listener()
    with endpoint(made.answer) as server:
        made.url = f"{server.url}/ears"
        yield made
