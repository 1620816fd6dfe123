"""The rules of an erasure: which bodies a commit may take away, and what it has to say of it.

1. The commit holds exactly one `payload.erased`, in `sys`, under the tenant whose data it was.
   Its facts name the positions, and the one stream that they stand in.
2. Each position holds an event of that stream and tenant that has a body of its own, and the
   body is still there. A replayed event has none: its body goes where it stands, at the root.
3. No `payload.erased` without an erasure: an entry must not say what isn't true.

Salt and body go in the same transaction as the event; the entry and its commitment stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from . import ids
from .envelope import Recorded
from .errors import InvalidCommitError
from .events import PayloadErased
from .journal import Commit

ERASED_MAX: Final = 1000
"""Most bodies that one commit erases, so that it holds up no other for long."""


def positions_text(positions: Sequence[int]) -> str:
    """Write positions as the facts of `payload.erased` name them."""
    return " ".join(map(str, positions))


def check_erasure(commit: Commit, bodied: Callable[[int], Recorded | None]) -> int | None:
    """Return the place in the commit, from 0, of the event that says so; None without an erasure.

    `bodied` returns the event at a position if a body of its own is there.

    Raises:
        InvalidCommitError: the commit breaks a rule of this file.
    """
    said = [
        (place, write.stream, write.meta.tenant, new.facts)
        for place, (write, new) in enumerate(
            (write, new) for write in commit.writes for new in write.events
        )
        if isinstance(new.facts, PayloadErased)
    ]
    erased = commit.erased
    if not said and not erased:
        return None
    if len(said) != 1 or not erased:
        raise InvalidCommitError("an erasure needs positions and one payload.erased")
    place, stream, tenant, facts = said[0]
    if stream != ids.SYS:
        raise InvalidCommitError("payload.erased belongs into the stream sys")
    if len(erased) > ERASED_MAX:
        raise InvalidCommitError(f"an erasure takes at most {ERASED_MAX} bodies")
    if any(b <= a for a, b in pairwise(erased)) or facts.positions != positions_text(erased):
        raise InvalidCommitError("payload.erased must name the erased positions, ascending")
    for wanted in erased:
        event = bodied(wanted)
        if event is None or event.stream != facts.target or event.tenant != tenant:
            raise InvalidCommitError(
                f"position {wanted} holds no body of the stream and tenant that is erased"
            )
    return place
