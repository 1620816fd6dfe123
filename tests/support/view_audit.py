"""Compares live rows, rows of one pass, and rebuilt rows of a data directory that a test left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refold.projections.built_in import BUILT_IN
from refold.projections.checking import Checked, check
from refold.projections.examples.node_costs import NodeCosts
from refold.projections.projection import Projection
from refold.projections.rebuild import rebuild

EXAMPLE = "refold.projections.examples.node_costs:NodeCosts"
EVERY: Sequence[Projection] = (*BUILT_IN, NodeCosts())
"""The built-in projections and the worked example."""


def live_faults(data: Path, projections: Sequence[Projection] = BUILT_IN) -> list[str]:
    """Name each projection whose live rows are not those of folding in one pass."""
    return [_told(each) for each in check(data, projections=projections) if not each.is_equal]


def digest_faults(data: Path, projections: Sequence[Projection] = BUILT_IN) -> list[str]:
    """Name each projection of which the three digests differ; nothing serves the directory.

    The rows of the rebuild are the live ones afterwards.
    """
    faults = live_faults(data, projections)
    before = {each.name: each for each in check(data, projections=projections)}
    for made in rebuild(data, projections=projections):
        old = before.get(made.name)
        if old is not None and old.position == made.position and old.digest != made.digest:
            faults.append(
                f"projection {made.name} at position {made.position}: the live rows have "
                f"{old.digest[:12]}, the rebuilt ones {made.digest[:12]}"
            )
    return faults + live_faults(data, projections)


def _told(found: Checked) -> str:
    return (
        f"projection {found.name} at position {found.position}: the live rows have "
        f"{found.digest[:12]}, one pass gives {found.folded_digest[:12]}: {found.difference}"
    )
