"""What operators and developers ask about the views as such."""

from __future__ import annotations

import time

from ..projections.faults import Fault
from ..projections.status import Comparison
from .call import Answer, Call, answer
from .projection_wire import (
    Projection,
    ProjectionCheck,
    ProjectionFault,
    Projections,
    RowDifference,
)
from .services import App


async def projections(app: App, call: Call) -> Answer:
    """Return every projection with its version, position, lag and state.

    `catching_up` reads the journal's file, `live` is at its head, `rebuilding` makes its rows anew
    beside the live ones, `waiting` can't write its own file just now, and `stopped` waits to be
    told to try again: `error` says why. `check` tells what came out when the rows were last
    compared with the journal.
    """
    del call
    head = app.journal.head
    shown = [
        Projection(
            status.name,
            status.version,
            status.state,
            status.position,
            status.lag(head),
            round(status.unmoved_s, 3),
            status.source,
            _shown(status.fault),
            _checked(status.compared),
        )
        for status in app.views.status()
    ]
    return answer(200, Projections(head, shown))


def _shown(fault: Fault | None) -> ProjectionFault | None:
    if fault is None:
        return None
    return ProjectionFault(fault.code, fault.message, fault.position or None, fault.type or None)


def _checked(last: Comparison | None) -> ProjectionCheck | None:
    if last is None:
        return None
    found, wrong = last.found, last.found.difference
    difference = None if wrong is None else RowDifference(wrong.table, wrong.row, wrong.kind)
    return ProjectionCheck(
        found.position, round(time.monotonic() - last.at, 3), found.is_equal, difference
    )
