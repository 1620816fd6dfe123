"""What others want of a run that is under way: that it stops, or an answer, or a child's end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..journal.journal import Metadata


class StopRequest(msgspec.Struct, frozen=True):
    """Somebody asks the run to stop."""

    subject: str
    meta: Metadata
    accepted: asyncio.Future[None]
    """Done once the request is durable; holds the refusal where it never will be."""

    def refuse(self, error: Exception) -> None:
        """Tell that nothing will come of it."""
        if not self.accepted.done():
            self.accepted.set_exception(error)


class AnswerRequest(msgspec.Struct, frozen=True):
    """Somebody answers a form."""

    iteration: str
    node: str
    action: str
    values: dict[str, Any]
    subject: str
    meta: Metadata
    accepted: asyncio.Future[None]
    """Done once the answer is durable; holds the refusal where it never will be."""

    def accept(self) -> None:
        """Tell that it is durable."""
        if not self.accepted.done():
            self.accepted.set_result(None)

    def refuse(self, error: Exception) -> None:
        """Tell that nothing will come of it."""
        if not self.accepted.done():
            self.accepted.set_exception(error)


Request = StopRequest | AnswerRequest


class Inbox:
    """The requests that a run has not taken yet."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called whenever something comes in."""
        self._wake = wake
        self.stops: Final[list[StopRequest]] = []
        self.answers: Final[list[AnswerRequest]] = []
        self._children: list[str] = []

    def __bool__(self) -> bool:
        """Whether there is anything to take."""
        return bool(self.stops or self.answers or self._children)

    def put(self, request: Request) -> None:
        """Hand a request over; its future tells when it is durable."""
        if isinstance(request, StopRequest):
            self.stops.append(request)
        else:
            self.answers.append(request)
        self._wake()

    def child_ended(self, run_id: str) -> None:
        """Tell that a child has ended, or may have."""
        self._children.append(run_id)
        self._wake()

    def take_children(self) -> list[str]:
        """Return the children to look at."""
        children, self._children = self._children, []
        return children

    def take_untaken(self) -> list[Request]:
        """Return the requests that nothing came of."""
        untaken: list[Request] = [*self.stops, *self.answers]
        self.stops.clear()
        self.answers.clear()
        return untaken
