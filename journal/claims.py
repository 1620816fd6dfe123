"""What events claim beside what they use: names, and the runs that others were made of.

A claim is a hold (`Journal.append`, `unused`). A thing claims its own name, so that only one at a
time has it; the resource is made of a keyed hash, since a name is user data and the index is as
lasting as a fact. A rerun or resume claims the run that its payload stands in until it ends, so
that nobody erases meanwhile what it still reads. `Journal.holds` leaves claims out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from .envelope import Recorded
from .events import VaultDefined, VaultDeleted
from .journal import Hold

SIGN: Final = ":"
"""What the resources of claims have in them; no id does."""
_NAME: Final = "vault-name:"
_LINEAGE: Final = "lineage:"


def vault_name(name_hash: str) -> str:
    """Return the resource that stands for the name of a vault item."""
    return _NAME + name_hash


def lineage(root: str) -> str:
    """Return the resource that the unfinished reruns and resumes of a run hold, and theirs.

    `root` is the run that has the payload of all of them.
    """
    return _LINEAGE + root


def claim_changes(events: Iterable[Recorded]) -> Iterator[Hold | str]:
    """Say which names events claim, and whose claims they end, in their order."""
    for event in events:
        facts = event.facts
        if isinstance(facts, VaultDefined):
            yield event.stream
            yield Hold(vault_name(facts.name_hash), event.stream)
        elif isinstance(facts, VaultDeleted):
            yield event.stream
