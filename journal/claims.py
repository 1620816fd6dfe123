"""Names that only one thing at a time may have: claimed and given back by events.

A claim is a hold (`Journal.append`, `unused`) that a thing has on its own name. The resource is
made of a keyed hash, since a name is user data and the index is as lasting as a fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from .envelope import Recorded
from .events import VaultDefined, VaultDeleted
from .journal import Hold

CLAIM: Final = "vault-name:"
"""What the resources of claims begin with; no id does."""


def vault_name(name_hash: str) -> str:
    """Return the resource that stands for the name of a vault item."""
    return CLAIM + name_hash


def claim_changes(events: Iterable[Recorded]) -> Iterator[Hold | str]:
    """Say which names events claim, and whose claims they end, in their order."""
    for event in events:
        facts = event.facts
        if isinstance(facts, VaultDefined):
            yield event.stream
            yield Hold(vault_name(facts.name_hash), event.stream)
        elif isinstance(facts, VaultDeleted):
            yield event.stream
