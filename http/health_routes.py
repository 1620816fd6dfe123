"""Whether the process answers, and whether the service can do its work."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from . import wire
from .call import Answer, Call, answer
from .services import App


async def health(app: App, call: Call) -> Answer:
    """Answer, which is all that is asked."""
    del app, call
    return answer(200, wire.Health("ok"))


async def ready(app: App, call: Call) -> Answer:
    """Say whether the journal takes writes and the views keep up, and which do not.

    A service that can't sign checkpoints still does its work, so that is shown and no more:
    to take it out of service would make things worse.
    """
    del call
    journal: Literal["writable", "read_only"] = (
        "writable" if app.journal.is_writable else "read_only"
    )
    projections: Literal["caught_up", "behind", "stopped"] = "caught_up"
    if app.views.fault:
        projections = "stopped"
    elif not app.views.is_caught_up:
        projections = "behind"
    behind: list[wire.Lagging] | UnsetType = UNSET
    head, status = app.journal.head, app.views.status()
    # A developer's projection that stopped is told, and does not keep the service from its work.
    if projections != "caught_up" or any(p.state == "stopped" for p in status):
        behind = [wire.Lagging(p.name, p.lag(head)) for p in status if p.error or p.lag(head)]
    # Whoever reads wrong rows is not helped by a service that is taken out of use altogether.
    differing = [p.name for p in status if p.is_doubted]
    intake = _intake(app)
    is_ready = journal == "writable" and projections == "caught_up" and intake == "open"
    made = answer(
        200 if is_ready else 503,
        wire.Readiness(
            "ready" if is_ready else "unready",
            journal,
            projections,
            app.proofs.checkpoints.state,
            intake,
            behind,
            differing or UNSET,
        ),
    )
    return made if is_ready else made.with_header("Retry-After", "1")


def _intake(app: App) -> Literal["open", "overloaded", "stopping"]:
    if app.intake.is_stopping:
        return "stopping"
    queue = app.journal.queue
    is_full = (
        app.intake.is_full
        or app.engine.waiting_total >= app.engine.limits.waiting_runs_max
        or queue.total >= queue.count_max
        or queue.total_bytes >= queue.bytes_max
    )
    return "overloaded" if is_full else "open"
