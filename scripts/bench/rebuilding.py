"""W7: rebuilding every view, beside reading, decoding and folding the same events in memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from ...projections.floor import fold_in_memory
from .figure import Figure
from .floors import Cost
from .stock import stocked
from .workflows import CONTEXT, pure

EVENTS: Final = 1_000_000
EVENTS_A_RUN: Final = 9


class Process(msgspec.Struct, frozen=True):
    """What a process took in all."""

    cost: Cost
    peak_mb: float


def rebuilt(events: int = EVENTS) -> list[Figure]:
    """Fill a journal, then rebuild and read it in turns; each is a process of its own."""
    with tempfile.TemporaryDirectory(prefix="refold-bench-") as directory:
        stocked(Path(directory), pure(), CONTEXT, events // EVENTS_A_RUN)
        floors = [_run("-m", __name__, directory) for _ in range(2)]
        rebuild = _run("-m", "refold.scripts.cli", "rebuild", "--data", directory)
        floors.append(_run("-m", __name__, directory))
    floor = min((made.cost for made in floors), key=lambda cost: cost.cpu_s)
    name = "read, decode, fold"
    return [
        Figure(
            "W7",
            f"rebuild from {events:,} events",
            rebuild.cost.seconds,
            "s",
            "less",
            floor.seconds,
            name,
            3,
        ),
        Figure("W7", "CPU of it", rebuild.cost.cpu_s, "s", "less", floor.cpu_s, name, 3),
        Figure("W7", "memory of it", rebuild.peak_mb, "MB", limit=300),
    ]


def _run(*arguments: str) -> Process:
    """Run Python with these arguments and measure the whole process."""
    # A process of its own in between: the peak memory of children is the greatest of all so far.
    told = subprocess.run(
        [sys.executable, "-m", __name__, "measure", sys.executable, *arguments],
        capture_output=True,
        check=True,
    ).stdout
    return msgspec.json.decode(told, type=Process)


def _measure(command: list[str]) -> Process:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss / 1024 if sys.platform == "linux" else used.ru_maxrss / 2**20
    return Process(Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime), peak)


def main() -> None:
    """Fold a data directory, or measure the command that follows `measure`."""
    if sys.argv[1] == "measure":
        sys.stdout.write(msgspec.json.encode(_measure(sys.argv[2:])).decode())
    else:
        # The floor.
        fold_in_memory(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
