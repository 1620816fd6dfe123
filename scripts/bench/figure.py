"""One measured figure, what it stands beside, and the median over rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """A value of one workload."""

    work: str
    """The workload's short name, such as `W1c`."""
    name: str
    value: float
    unit: str
    better: Literal["less", "more"] = "less"
    floor: float | None = None
    """The same thing done with nothing but what can't be left out, in the same unit and round."""
    floor_name: str = ""
    limit: float | None = None
    """How many times the floor it may be at most, where that was promised; without a floor, the
    value itself."""

    @property
    def ratio(self) -> float | None:
        """How many times worse than the floor it is; None where there is no floor."""
        if self.floor is None:
            return None
        return self.value / self.floor if self.better == "less" else self.floor / self.value

    @property
    def is_kept(self) -> bool | None:
        """Whether the limit is kept; None where there is none."""
        if self.limit is None:
            return None
        if self.floor is not None:
            return (self.ratio or 0) <= self.limit
        return self.value <= self.limit if self.better == "less" else self.value >= self.limit


def medians(rounds: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Return one figure for each that was measured in every round.

    The value is the median, and the floor is such that the ratio is the median of the ratios: each
    was measured beside its own floor, on the machine as it was in that minute.
    """
    made: list[Figure] = []
    for same in zip(*rounds, strict=True):
        value = statistics.median(figure.value for figure in same)
        ratios = [figure.ratio for figure in same if figure.ratio is not None]
        floor = None
        if ratios:
            ratio = statistics.median(ratios)
            floor = value / ratio if same[0].better == "less" else value * ratio
        made.append(msgspec.structs.replace(same[0], value=value, floor=floor))
    return made
