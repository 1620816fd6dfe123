"""Many seeds one after the other, and what came of them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from tests.simulator.world import STEPS, Outcome, simulate


class Tally(msgspec.Struct):
    """What a number of seeds did, added up."""

    seeds: int = 0
    steps: int = 0
    events: int = 0
    runs: int = 0
    actions: int = 0
    calls: int = 0
    kills: int = 0
    faults: int = 0
    broken: list[Outcome] = msgspec.field(default_factory=list[Outcome])
    """The seeds that found something."""

    def add(self, made: Outcome) -> None:
        """Count one more seed."""
        self.seeds += 1
        for name in ("steps", "events", "runs", "actions", "calls", "kills", "faults"):
            setattr(self, name, getattr(self, name) + getattr(made, name))
        if made.wrong:
            self.broken.append(made)

    def __str__(self) -> str:
        """Say it in a line."""
        return (
            f"{self.seeds} seeds, {self.steps} steps, {self.runs} runs, {self.events} events, "
            f"{self.actions} actions of clients, {self.calls} calls, {self.kills} kills, "
            f"{self.faults} troubles, {len(self.broken)} seeds with a broken promise"
        )


def simulate_many(
    seeds: Sequence[int], steps: int = STEPS, report: Callable[[int, int], None] | None = None
) -> Tally:
    """Run a number of seeds; `report` hears after each how many are done, and of how many."""
    tally = Tally()
    for seed in seeds:
        tally.add(simulate(seed, steps))
        if report is not None:
            report(tally.seeds, len(seeds))
    return tally


def told(made: Outcome, steps: int) -> str:
    """Say what a seed has found, and how to see it again."""
    lines = [f"seed {made.seed} broke a promise; again: refold simulate --seed {made.seed}"]
    if steps != STEPS:
        lines[0] += f" --steps {steps}"
    return "\n".join([*lines, *(f"  {fault[:500]}" for fault in made.wrong)])
