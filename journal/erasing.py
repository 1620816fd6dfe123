"""The rules of erasures and archivals: which bodies a commit may take, and what it says of them.

1. The commit holds exactly one `payload.erased` or `segment.archived`, in `sys`, whose facts name
   the positions, ascending.
2. Of an erasure: it stands under the tenant whose data it was, and each position holds an event of
   that tenant, and of the one stream that its facts name, that has a body of its own, unerased.
   A replayed event has none: its body goes where it stands, at the root. What was archived is
   erased by the same commit, and from its segment by hand (`refold archive --scrub`).
3. Of an archival: it stands under no tenant, and each position holds an event of a run that has a
   body of its own, in the database.
4. No such event without bodies that go: an entry must not say what isn't true.

Salt and body go in the same transaction as the event; the entry and its commitment stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Protocol

from . import ids
from .envelope import Recorded
from .errors import InvalidCommitError
from .events import Facts, PayloadErased, SegmentArchived
from .journal import Commit

GONE_MAX: Final = 1000
"""Most bodies that one commit takes away, so that it holds up no other for long."""
ERASED_MAX: Final = GONE_MAX
TAKES_BODIES: Final[frozenset[type[Facts]]] = frozenset({PayloadErased, SegmentArchived})


class Bodied(Protocol):
    """What these rules look up."""

    def bodied(self, position: int) -> Recorded | None:
        """Return the event at a position if a body of its own is not erased."""
        ...

    def is_archived(self, position: int) -> bool:
        """Tell whether the body at a position is in a segment."""
        ...


def positions_text(positions: Sequence[int]) -> str:
    """Write positions as the facts of these events name them."""
    return " ".join(map(str, positions))


def check_gone(commit: Commit, ledger: Bodied) -> int:
    """Return the place in the commit, from 0, of the event that says which bodies go.

    To be called for a commit that takes bodies or says that it does.

    Raises:
        InvalidCommitError: the commit breaks a rule of this file.
    """
    said = [
        (place, write.stream, write.meta.tenant, new.facts)
        for place, (write, new) in enumerate(
            (write, new) for write in commit.writes for new in write.events
        )
        if isinstance(new.facts, (PayloadErased, SegmentArchived))
    ]
    gone = commit.erased or commit.archived
    if len(said) != 1 or not gone or (commit.erased and commit.archived):
        raise InvalidCommitError("an erasure or archival needs positions and one event for them")
    place, stream, tenant, facts = said[0]
    if stream != ids.SYS:
        raise InvalidCommitError(f"{facts.type} belongs into the stream sys")
    if len(gone) > GONE_MAX:
        raise InvalidCommitError(f"a commit erases or archives at most {GONE_MAX} bodies")
    if isinstance(facts, PayloadErased) != bool(commit.erased):
        raise InvalidCommitError(f"{facts.type} is not what this commit does")
    if any(b <= a for a, b in pairwise(gone)) or facts.positions != positions_text(gone):
        raise InvalidCommitError(f"{facts.type} must name the positions of its bodies, ascending")
    if isinstance(facts, PayloadErased):
        _check_erased(gone, facts.target, tenant, ledger)
    else:
        _check_archived(gone, tenant, ledger)
    return place


def _check_erased(gone: Sequence[int], target: str, tenant: str, ledger: Bodied) -> None:
    for wanted in gone:
        event = ledger.bodied(wanted)
        if event is None or event.stream != target or event.tenant != tenant:
            raise InvalidCommitError(
                f"position {wanted} holds no body of the stream and tenant that is erased"
            )


def _check_archived(gone: Sequence[int], tenant: str, ledger: Bodied) -> None:
    if tenant:
        raise InvalidCommitError("segment.archived belongs to no tenant")
    for wanted in gone:
        event = ledger.bodied(wanted)
        if event is None or not ids.is_run(event.stream) or ledger.is_archived(wanted):
            raise InvalidCommitError(f"position {wanted} holds no body of a run to be archived")
