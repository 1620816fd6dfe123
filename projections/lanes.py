"""Where each of the projector's projections stands; one that fails leaves the others alone.

A lane that stopped, or is far behind after a retry or a change of its version, is left out: the
others go on, and `position` is theirs. Whoever reads the rows of one that is left out is told so.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from ..journal.envelope import Recorded
from .applying import Applier
from .errors import ViewsReplacedError
from .faults import Fault, in_one_line
from .fold_limit import FoldLimit
from .generations import Generation, move
from .projection import Projection
from .sqlite_errors import is_damage, is_passing
from .status import ProjectionStatus, State
from .views_file import OpenedFile

FAR_BEHIND: Final = 2000
"""How many events behind the others a projection is left out until it has caught up."""
_log = logging.getLogger("refold.projections")


class NotTakenError(Exception):
    """A projection can't take some events: they are to be applied again, safely."""


class _Lane:
    """One projection: its applier, and how far its rows are."""

    def __init__(self, projection: Projection) -> None:
        self.projection = projection
        self.name = projection.name
        self.applier: Applier | None = None
        self.fault: Fault | None = None
        self.is_behind = False
        self.position = 0
        self.leaf = b""
        self.moved_at = time.monotonic()
        self.reached: tuple[int, bytes] | None = None
        """Where it is once the transaction is committed."""


class Lanes:
    """The projections of one projector, used by its thread; other threads only look."""

    def __init__(self, projections: Sequence[Projection], limit: FoldLimit) -> None:
        """`limit` is what folds are called within."""
        self._limit = limit
        self._lanes = {projection.name: _Lane(projection) for projection in projections}
        self._is_new = True
        self._connection: sqlite3.Connection | None = None
        self._file: OpenedFile | None = None
        self.position = 0
        """The newest position that every projection includes which is not left out."""

    @property
    def behind(self) -> list[str]:
        """The projections that are far behind the others and work to reach them."""
        return [lane.name for lane in self._lanes.values() if lane.is_behind and not lane.fault]

    @property
    def fault(self) -> str:
        """Why a projection stands still, "" while none does."""
        for lane in self._lanes.values():
            if lane.fault is not None:
                return f"projection {lane.name} stopped: {in_one_line(lane.fault)}"
        return ""

    def left_out(self, name: str) -> str:
        """Return why a projection is not where the others are, "" if it is."""
        lane = self._lanes.get(name)
        if lane is None:
            return ""
        if lane.fault is not None:
            return f"projection {name} stopped: {in_one_line(lane.fault)}"
        return f"projection {name} is catching up" if lane.is_behind else ""

    def open(self, connection: sqlite3.Connection, file: OpenedFile) -> None:
        """Work on a connection from here on."""
        self._connection, self._file = connection, file
        self._is_new = True

    def forget(self) -> None:
        """Begin again: the file is gone."""
        for lane in self._lanes.values():
            lane.applier, lane.fault, lane.is_behind = None, None, False
            lane.position, lane.leaf = 0, b""
        self.position = 0

    def retry(self, names: Collection[str]) -> None:
        """Let stopped projections try again."""
        for name in names:
            lane = self._lanes[name]
            lane.fault, lane.is_behind = None, True

    def apply(
        self, live: Mapping[str, Generation], events: Sequence[Recorded], *, safely: bool = True
    ) -> bool:
        """Apply events to every projection that is not left out, inside a transaction.

        Returns False if the events do not follow the rows of one of them. A projection that can't
        take an event stops right before it where they are applied `safely`, and ends the whole
        transaction otherwise.

        Raises:
            ViewsReplacedError: the file is not the one that was opened, or has other rows.
            NotTakenError: a projection can't take an event.
        """
        self._look(live)
        for lane in self._lanes.values():
            if lane.fault is None and not lane.is_behind:
                row = self._row(lane, live)
                if row is not None and not self._advance(lane, row, events, safely=safely):
                    return False
        return True

    def help(self, name: str, live: Mapping[str, Generation], page: Sequence[Recorded]) -> None:
        """Apply a page to a projection that is behind, inside a transaction."""
        self._look(live)
        lane = self._lanes[name]
        row = self._row(lane, live)
        if row is not None:
            self._advance(lane, row, page, safely=True)

    def commit(self) -> None:
        """Take note of what was applied, now that it is in the file."""
        for lane in self._lanes.values():
            if lane.reached is not None:
                if lane.reached[0] != lane.position:
                    lane.moved_at = time.monotonic()
                lane.position, lane.leaf = lane.reached
                lane.reached = None
        lanes = [lane for lane in self._lanes.values() if lane.fault is None]
        if self._is_new:
            self._is_new = False
            first = max((lane.position for lane in lanes), default=0)
            for lane in lanes:
                lane.is_behind = lane.is_behind or lane.position < first - FAR_BEHIND
        for lane in lanes:
            if lane.is_behind and lane.position >= self.position:
                lane.is_behind = False
        even = [lane.position for lane in lanes if not lane.is_behind]
        # With every projection stopped nobody waits in vain: reads are refused by name.
        self.position = min(even, default=self.position)

    def status(self, trouble: str, *, is_fed: bool, is_halted: bool) -> list[ProjectionStatus]:
        """Tell how each projection stands; with `trouble` none of them moves."""
        now = time.monotonic()
        made: list[ProjectionStatus] = []
        for lane in self._lanes.values():
            fault = lane.fault or (Fault(code="views_failed", message=trouble) if trouble else None)
            state: State = "live"
            if fault is not None:
                state = "stopped" if is_halted or lane.fault is not None else "waiting"
            elif lane.is_behind or not is_fed:
                state = "catching_up"
            made.append(
                ProjectionStatus(
                    lane.name,
                    lane.projection.version,
                    state,
                    lane.position,
                    now - lane.moved_at,
                    fault,
                )
            )
        return made

    def _look(self, live: Mapping[str, Generation]) -> None:
        """See that the file is still the one that was opened, with the rows that were written."""
        if self._file is not None:
            self._file.check()
        for lane in self._lanes.values():
            lane.reached = None
            row = live.get(lane.name)
            if row is None or lane.applier is None or row.generation != lane.applier.generation:
                continue
            if (row.position, row.leaf) != (lane.position, lane.leaf):
                raise ViewsReplacedError("another program wrote to the rows of the views")

    def _row(self, lane: _Lane, live: Mapping[str, Generation]) -> Generation | None:
        row = live.get(lane.name)
        if row is None or row.version != lane.projection.version:
            message = f"its rows are not of version {lane.projection.version}; restart the service"
            self._stop(lane, Fault(code="other_version", message=message))
            return None
        return row

    def _advance(
        self, lane: _Lane, row: Generation, events: Sequence[Recorded], *, safely: bool
    ) -> bool:
        # A rebuilt generation may be ahead of what is fed.
        new = events[max(0, row.position + 1 - events[0].position) :] if events else ()
        lane.reached = (row.position, row.leaf)
        if lane.applier is None or lane.applier.generation != row.generation:
            assert self._connection is not None, "a connection is opened first"
            lane.applier = Applier(
                self._connection, lane.projection, row.generation, limit=self._limit
            )
        if not new:
            return True
        if new[0].position != row.position + 1:
            return False
        if not safely:
            _apply(lane.applier, new)
        elif (fault := lane.applier.apply_safely(new)) is not None:
            self._stop(lane, fault)
            new = new[: fault.position - new[0].position]
        if new:
            assert self._connection is not None, "a connection is opened first"
            move(self._connection, row, new[-1].position, new[-1].leaf)
            lane.reached = (new[-1].position, new[-1].leaf)
        return True

    def _stop(self, lane: _Lane, fault: Fault) -> None:
        lane.fault = fault
        lane.is_behind = False
        _log.critical(
            "projection %s stopped, and the others go on: %s", lane.name, in_one_line(fault)
        )


def _apply(applier: Applier, events: Sequence[Recorded]) -> None:
    try:
        applier.apply(events)
    except Exception as error:
        if is_damage(error) or is_passing(error):
            raise
        raise NotTakenError from error
