"""`refold simulate`: run the service in a simulated world of faults, from a seed. Source tree only.

What makes the faults stands with the tests, is not part of the package, and is found beside it.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

_ROOT: Final = Path(__file__).resolve().parent.parent
_CAMPAIGN: Final = "tests.simulator.campaign"


def simulate(
    *,
    seed: Annotated[int, Parameter(help="The number that the first world follows from.")] = 0,
    seeds: Annotated[int, Parameter(help="How many worlds, one after the other.")] = 1,
    steps: Annotated[int, Parameter(help="Steps of each world before its troubles cease.")] = 500,
) -> int:
    """Run the whole service in a simulated world of kills, power cuts, bad disks and bad endpoints.

    For developers, from a checkout. The same seed and steps give the same journal, whose root hash
    is printed, on every machine. Ends with 1 if a promise was broken, and says which.
    """
    if seed < 0 or seeds < 1 or steps < 1:
        print("refold: --seed counts from 0, --seeds and --steps from 1", file=sys.stderr)
        return 2
    campaign = _campaign()
    if campaign is None:
        print("refold: simulate works from a checkout of the source only", file=sys.stderr)
        return 1
    from .progress_bar import progress_bar

    began = time.perf_counter()
    if seeds == 1:
        made = campaign.simulate(seed, steps)
        print(f"journal {made.journal_hash}")
        tally = campaign.Tally()
        tally.add(made)
    else:
        with progress_bar("simulate", "seeds") as report:
            tally = campaign.simulate_many(range(seed, seed + seeds), steps, report)
    seconds = time.perf_counter() - began
    for broken in tally.broken:
        print(campaign.told(broken, steps))
    print(f"{tally}; {tally.steps / seconds:,.0f} steps/s")
    return 1 if tally.broken else 0


def _campaign() -> Any:
    if not (_ROOT / "tests" / "simulator" / "campaign.py").is_file():
        return None
    if str(_ROOT) not in sys.path:
        sys.path.insert(0, str(_ROOT))
    return importlib.import_module(_CAMPAIGN)
