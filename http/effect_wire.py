"""The published types of the effect ledger."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from .wire import Time


class Effect(Struct, frozen=True):
    """A call whose intent is on disk and whose outcome is not known."""

    id: str
    """The idempotency key of the call, the same for each repeat: `<run>:<node>:<iteration>:1`."""
    state: Literal["open", "in_doubt"]
    """`open`: it is on the wire, or is about to be repeated. `in_doubt`: nobody waits for it."""
    run_id: str
    workflow_id: str
    node_id: str
    component_id: str
    iteration: list[int] | None
    attempt: int
    starts: int
    """How often this attempt was begun; more than once where a crash cut it off."""
    started_at: Time
    position: int
    """That of its newest `node.started` in the journal."""


class Effects(Struct, frozen=True):
    """A page of calls, newest first."""

    data: list[Effect]
    next: int | None
    """The `cursor` of the next page, null where there is none."""
