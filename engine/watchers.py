"""Who waits for runs: for their end, or also for the moment in which only people can go on."""

from __future__ import annotations

import asyncio

from .transcript import Snapshot

Watch = asyncio.Future[Snapshot | None]


class Watchers:
    """The futures of those who wait."""

    def __init__(self) -> None:
        self._of_end: dict[str, set[Watch]] = {}
        self._of_pause: dict[str, set[Watch]] = {}

    @property
    def total(self) -> int:
        """How many runs somebody waits for."""
        return len(self._of_end.keys() | self._of_pause.keys())

    def add(self, run_id: str, *, until_paused: bool) -> Watch:
        """Return a future that is forgotten when whoever made it cancels it."""
        watchers = self._of_pause if until_paused else self._of_end
        future: Watch = asyncio.get_running_loop().create_future()
        watchers.setdefault(run_id, set()).add(future)

        def forget(done: Watch) -> None:
            left = watchers.get(run_id, set())
            left.discard(done)
            if not left:
                watchers.pop(run_id, None)

        future.add_done_callback(forget)
        return future

    def tell_end(self, run_id: str, snapshot: Snapshot | None) -> None:
        """Tell that a run has ended."""
        _tell(self._of_end.pop(run_id, set()), snapshot)
        _tell(self._of_pause.pop(run_id, set()), snapshot)

    def tell_pause(self, run_id: str) -> None:
        """Tell that a run waits for nothing but people."""
        _tell(self._of_pause.pop(run_id, set()), None)

    def cancel_all(self) -> None:
        """Tell everybody that there is nothing to wait for here any more."""
        for watchers in (*self._of_end.values(), *self._of_pause.values()):
            for watch in list(watchers):
                watch.cancel()


def _tell(watchers: set[Watch], snapshot: Snapshot | None) -> None:
    for watch in watchers:
        if not watch.done():
            watch.set_result(snapshot)
