"""`refold bench`: what this machine does with each workload, and the floor beside each figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

from cyclopts import Parameter

from . import executing, reading, rebuilding, resuming
from .figure import Figure, medians
from .service import Target, service

_SERVED: Final[dict[str, Callable[[Target, int], list[Figure]]]] = {
    "W1a": executing.acknowledged,
    "W1c": executing.completed,
    "W2": executing.one_by_one,
    "W3": executing.calling,
    "W4": reading.read,
    "W6": resuming.resumed,
    "W9": executing.forked,
    "W10": executing.round_trips,
}
"""Workloads that each get a new service in every round."""
_STORED: Final[dict[str, Callable[[], list[Figure]]]] = {
    "W5": reading.listed,
    "W7": rebuilding.rebuilt,
    "W8": reading.started,
}
"""Workloads that bring their own data directory, measured once."""
WORKS: Final = sorted((*_SERVED, *_STORED), key=lambda work: (int(work.strip("Wac")), work))


def bench(
    *works: Annotated[str, Parameter(help=f"Of {', '.join(WORKS)}; all by default.")],
    seconds: Annotated[int, Parameter(help="How long each load lasts.")] = 5,
    rounds: Annotated[
        int, Parameter(help="How often each is measured, in turns; the median is shown.")
    ] = 3,
    growth: Annotated[
        bool, Parameter(negative="", help="Let journal, clients, graphs and payloads grow instead.")
    ] = False,
    nodes: Annotated[
        bool,
        Parameter(
            negative="", help="Measure iterators, large graphs, sleepers and schedules instead."
        ),
    ] = False,
    json_: Annotated[
        bool, Parameter("--json", negative="", help="Print JSON instead of a table.")
    ] = False,
) -> int:
    """Measure this machine: a real service, real clients, and the floor beside each figure.

    W1a: 64 clients, each waits for the acknowledgement of a run of 5 pure nodes. W1c: each waits
    for completion. W2: one run at a time. W3: 5 webhook nodes. W4: GET a finished run. W5: list the
    newest 50 of 10,000, 100,000 and 1,000,000 runs. W6: resume-from. W7: rebuild every view from
    1,000,000 events. W8: start and idle memory. W9: 200 branches and their join. W10: synchronous
    runs.

    Every acknowledged run is counted again afterwards: the views must show each as completed. W5
    and W7 fill a disk with about 15 GB for some minutes.
    """
    from . import report

    if nodes:
        from .nodes import bench_nodes

        return bench_nodes(as_json=json_)
    unknown = sorted(set(works) - set(WORKS))
    if unknown:
        raise OSError(f"there is no workload {unknown[0]}; there are {', '.join(WORKS)}")
    if growth:
        from .growth import grown

        figures = grown(seconds)
    else:
        figures = measured([work for work in WORKS if not works or work in works], seconds, rounds)
    if json_:
        print(report.as_json(figures, seconds=seconds, rounds=rounds))
    else:
        report.print_table(figures, f"{rounds} rounds of {seconds} s, medians")
    return 0


def measured(works: list[str], seconds: int, rounds: int) -> list[Figure]:
    """Measure workloads in turns, so that each round has all of them on the same machine."""
    served = [work for work in works if work in _SERVED]
    figures: dict[str, list[list[Figure]]] = {work: [] for work in works}
    for _ in range(rounds):
        for work in served:
            with service() as target:
                figures[work].append(_SERVED[work](target, seconds))
    for work in works:
        if work in _STORED:
            figures[work].append(_STORED[work]())
    return [figure for work in works for figure in medians(figures[work])]
