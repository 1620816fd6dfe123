"""Erases bodies: the commit that takes them away and says so, whoever else erases meanwhile.

All erasures are told in the one stream `sys`, so two of them want the same version of it. They
are made one after the other, and where something else came first, the conflict itself says at
which version the stream then is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ..journal import events as e
from ..journal import ids
from ..journal.clock import IdSource
from ..journal.erasing import positions_text
from ..journal.errors import ConflictError
from ..journal.journal import Appended, Commit, Journal, Metadata, NewEvent, StreamWrite

ATTEMPTS_MAX: Final = 8


class Erasures:
    """The one place where bodies are erased."""

    def __init__(self, journal: Journal, ids_: IdSource) -> None:
        self._journal = journal
        self._ids = ids_
        self._turn = asyncio.Lock()
        self._sys_version = 0

    async def append(
        self,
        build: Callable[[], Commit],
        positions: Sequence[int],
        *,
        target: str,
        reason: str,
        meta: Metadata,
        said: Sequence[NewEvent] = (),
    ) -> Appended:
        """Append a commit together with the erasure of bodies; those gone already are left out.

        An archived one is erased as far as the journal goes: its segment still has it, until
        `refold archive --scrub` reaches that.

        `build` is called when the commit's turn has come, and again after a conflict in `sys`;
        from there to the journal's queue nothing waits. It must not write to `sys` itself: what
        else `sys` is to say stands in `said`. `target` is the stream that the bodies stand in,
        `meta.tenant` whose they are.

        Raises:
            ConflictError: a stream of the commit is at another version; decide anew.
            JournalError: see `Journal.append`.
        """
        async with self._turn:
            there = sorted(await self._journal.standing(positions))
            if not there and not said:
                return await self._journal.append(build())
            return await self._agree(build, there, target, reason, meta, said)

    async def erase(
        self,
        positions: Sequence[int],
        *,
        target: str,
        reason: str,
        meta: Metadata,
        unused: Sequence[str] = (),
    ) -> tuple[int, Sequence[int]]:
        """Erase bodies and nothing else, while nothing holds the resources of `unused`.

        Returns the position of the event that says so and those of the bodies; 0 and none where
        all of them were gone already.

        Raises:
            ResourceInUseError: something holds a resource.
            JournalError: see `Journal.append`.
        """
        async with self._turn:
            there = sorted(await self._journal.standing(positions))
            if not there:
                return 0, ()
            made = await self._agree(
                lambda: Commit([], unused=unused), there, target, reason, meta, ()
            )
            return made.events[0].position, there

    async def _agree(
        self,
        build: Callable[[], Commit],
        there: Sequence[int],
        target: str,
        reason: str,
        meta: Metadata,
        said: Sequence[NewEvent],
    ) -> Appended:
        """Append at whatever version `sys` is."""
        for _ in range(ATTEMPTS_MAX - 1):
            try:
                return await self._attempt(build(), there, target, reason, meta, said)
            except ConflictError as error:
                if error.stream != ids.SYS:
                    raise
                self._sys_version = error.actual
        return await self._attempt(build(), there, target, reason, meta, said)

    async def _attempt(
        self,
        commit: Commit,
        positions: Sequence[int],
        target: str,
        reason: str,
        meta: Metadata,
        said: Sequence[NewEvent],
    ) -> Appended:
        events = list(said)
        if positions:
            facts = e.PayloadErased(
                positions=positions_text(positions), reason=reason, target=target
            )
            events.append(NewEvent(self._ids.new(), facts))
        # Last, so that a conflict in the commit's own streams is the one that is heard of.
        write = StreamWrite(ids.SYS, self._sys_version, events, meta)
        whole = msgspec.structs.replace(commit, writes=[*commit.writes, write], erased=positions)
        appended = await self._journal.append(whole)
        self._sys_version = max(
            [self._sys_version, *(v.version for v in appended.events if v.stream == ids.SYS)]
        )
        return appended
