"""Copies the rest of a cut into a resumed run's stream, from wherever the copying stands.

The first part rode in the commit that answered the client; a crash in the middle continues
here, because how far the copying got is the number of replayed events in the new stream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from ..journal.clock import IdSource
from ..journal.envelope import Recorded
from ..journal.journal import LATEST, PAGE, Journal
from .cut import replayable, replayed
from .transcript import EVENTS_PER_COMMIT_MAX, Transcript


async def copy_cut(journal: Journal, transcript: Transcript, ids: IdSource) -> None:
    """Make everything that the run's request promised to replay durable in its stream."""
    request = transcript.state.origin
    if transcript.state.replayed >= request.replayed_total:
        return
    skip = transcript.state.replayed
    events = read_whole(journal, request.original_run, request.original_version)
    async for page in events:
        for event in replayable(page, request.kept.split()):
            if skip:
                skip -= 1
                continue
            transcript.add(replayed(event, ids.new()))
            if transcript.pending >= EVENTS_PER_COMMIT_MAX:
                await transcript.flush()
    await transcript.flush()


async def copy_rest(transcript: Transcript, rest: Iterable[Recorded], ids: IdSource) -> None:
    """Do the same with what was read for the request already, without reading it again."""
    for event in rest:
        transcript.add(replayed(event, ids.new()))
        if transcript.pending >= EVENTS_PER_COMMIT_MAX:
            await transcript.flush()
    await transcript.flush()


async def read_whole(
    journal: Journal, stream: str, up_to: int = LATEST, *, at: int = LATEST
) -> AsyncIterator[list[Recorded]]:
    """Read a stream page by page, up to a version and a position, by default to its end."""
    after = 0
    while page := await journal.read_stream(stream, after):
        after = page[-1].version
        if after >= up_to or page[-1].position > at:
            yield [event for event in page if event.version <= up_to and event.position <= at]
            return
        yield list(page)
        if len(page) < PAGE:
            return
