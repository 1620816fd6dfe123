"""What the HTTP room counts and times: answers by route, refusals by code, streams.

A route is told by its template, as it stands in the table of routes; whatever is at no route
shares one. So their number is that of the table, whatever anybody asks for.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from ..journal.figures import Histogram

REQUEST_SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
    *(0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
NO_ROUTE: Final = "none"
"""The method and template of what is at no route, or is no HTTP."""


class RouteFigures:
    """The answers of one route."""

    __slots__ = ("by_class", "method", "template")

    def __init__(self, method: str, template: str) -> None:
        self.method = method
        self.template = template
        self.by_class: list[Histogram | None] = [None] * 6
        """By the first digit of the status; the others have no answer yet."""

    def answered(self, status: int, seconds: float) -> None:
        """Count an answer and how long it took to make."""
        found = self.by_class[status // 100]
        if found is None:
            found = self.by_class[status // 100] = Histogram(REQUEST_SECONDS)
        found.observe(seconds)


class RequestFigures:
    """Figures of one application, changed on the event loop's thread alone."""

    def __init__(self) -> None:
        self.routes: Final[list[RouteFigures]] = []
        self.elsewhere: Final = self.route(NO_ROUTE, NO_ROUTE)
        """Answers to what is at no route: unknown paths, wrong methods, what is no HTTP."""
        self.refusals: Final[Counter[str]] = Counter()
        """Answers that are no success, by code."""
        self.open = 0
        """Requests whose answer is being made."""
        self.streams = 0
        """Answers that are sent part by part just now: live tails and NDJSON."""
        self.hung_up = 0
        """Clients that were gone before their request was complete."""

    def route(self, method: str, template: str) -> RouteFigures:
        """Begin to count for a route."""
        made = RouteFigures(method, template)
        self.routes.append(made)
        return made

    def malformed(self, status: int, code: str) -> None:
        """Count what was refused before it was a request."""
        self.elsewhere.answered(status, 0.0)
        self.refusals[code] += 1
