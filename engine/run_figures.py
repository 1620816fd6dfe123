"""What the engine counts and times: runs that came and ended, and calls to the world.

Whatever tells two figures apart is one of a closed set: an origin, a status, a component of the
catalogue, a code of `CALL_CODES`. So their number is bounded, and nothing that a tenant wrote is
among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from ..journal.envelope import Recorded
from ..journal.events import Facts, NodeFailed, NodeInterrupted, RunRequested
from ..journal.figures import Histogram
from ..projections.run_state import RunState
from .decider import INTERRUPTED

RUN_SECONDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0),
)
CALL_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
CALL_CODES: Final = frozenset(
    {
        *("authorization_missing", "authorization_refused", "authorization_unavailable"),
        *("connect_error", "dns_error", "egress_refused", "email_not_configured"),
        *("email_too_large", "input_invalid", "internal_error", "invalid_email"),
        *("invalid_request", "protocol_error", "request_too_large", "response_too_large"),
        *("template_error", "template_limit", "timeout", "tls_error", "too_many_redirects"),
        *("type_mismatch", "value_missing"),
    }
)
"""The codes of calls that are told apart; `http_503` counts as `http_5xx`, the rest as `other`."""
FOLLOWED: Final[frozenset[type[Facts]]] = frozenset({RunRequested, NodeFailed, NodeInterrupted})
"""The types of events that `RunFigures.follow` has to hear."""
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CUT_OFF: Final = "cut_off"
"""A call that was ended from outside: its run was stopped, or the service was."""


class RunFigures:
    """Figures of one engine, changed on the event loop's thread alone."""

    def __init__(self) -> None:
        self.requested: Final[Counter[str]] = Counter()
        """Runs that were accepted, by origin."""
        self.start_delays: Final = Histogram(RUN_SECONDS)
        """From a run's first event to the moment at which it begins to be carried out."""
        self.durations: Final[dict[tuple[str, str], Histogram]] = {}
        """From start to end, by origin and by how the run ended."""
        self.calls: Final[dict[tuple[str, str], Histogram]] = {}
        """Attempts of nodes with an effect, by component and outcome."""
        self.call_failures: Final[Counter[tuple[str, str]]] = Counter()
        """Those that failed, by component and code."""
        self.calls_open = 0
        """Attempts on the wire."""
        self.in_doubt = 0
        """Calls that are over, and of which nobody knows whether they had their effect."""

    def follow(self, events: Sequence[Recorded]) -> None:
        """Count what was committed; subscribed to the journal."""
        for event in events:
            facts = event.facts
            if type(facts) is RunRequested:
                self.requested[facts.origin] += 1
            elif _is_in_doubt(facts) and not event.src:
                self.in_doubt += 1

    def ended(self, state: RunState) -> None:
        """Count a run whose last event is durable."""
        key = (state.origin.origin, _end_of(state))
        found = self.durations.get(key)
        if found is None:
            found = self.durations[key] = Histogram(RUN_SECONDS)
        found.observe(max(0, state.ended_at - (state.started_at or state.ended_at)) / 1e6)

    def called(self, component: str, code: str, seconds: float) -> None:
        """Count an attempt that is over; `code` is "" for a success."""
        outcome = FAILED if code else SUCCEEDED
        if code == CUT_OFF:
            outcome = CUT_OFF
        elif code:
            self.call_failures[component, code_class(code)] += 1
        found = self.calls.get((component, outcome))
        if found is None:
            found = self.calls[component, outcome] = Histogram(CALL_SECONDS)
        found.observe(seconds)


def code_class(code: str) -> str:
    """Return what the error code of a call is counted as."""
    if code in CALL_CODES:
        return code
    kind, _, number = code.rpartition("_")
    if kind in ("http", "smtp") and len(number) == 3 and number.isascii() and number.isdecimal():
        return f"{kind}_{number[0]}xx"
    return "other"


def _is_in_doubt(facts: Facts) -> bool:
    if type(facts) is NodeInterrupted:
        return facts.in_doubt == 1
    return type(facts) is NodeFailed and facts.code == INTERRUPTED


def _end_of(state: RunState) -> str:
    """Say how a run ended: `completed`, `failed`, `cancelled` or `run_timeout`."""
    ending = state.ending
    if ending is not None and ending.is_asked_for:
        return ending.code
    return "completed" if state.status == "completed" else "failed"
