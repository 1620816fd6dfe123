"""What operators and developers ask about the views as such."""

from __future__ import annotations

from .call import Answer, Call, answer
from .projection_wire import Projection, Projections
from .services import App


async def projections(app: App, call: Call) -> Answer:
    """Return every projection with its version, position, lag and state.

    `catching_up` reads the journal's file, `live` is fed in memory, `waiting` can't write its own
    file just now, and `stopped` needs a restart: `error` says why.
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
            status.error or None,
        )
        for status in app.views.status()
    ]
    return answer(200, Projections(head, shown))
