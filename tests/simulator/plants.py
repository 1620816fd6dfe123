"""Breaks the service in one place after the other, and sees that each break is found.

`python -m tests.simulator.plants [NAME …]` plants each fault alone and runs worlds until one of
them breaks a promise, the one that this fault must break. A check that can't fail proves nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from refold.engine import calls, copying, decider, outbound, starts
from refold.engine.calls import Calls, PlannedCall
from refold.engine.cut import replayable
from refold.engine.engine import Engine
from refold.engine.runs import Runs
from refold.http.auth import Authenticator
from refold.journal.sequencer import Sequencer
from refold.journal.tree_store import Tree
from refold.projections.generations import move
from refold.projections.lanes import Lanes
from tests.simulator.disk import Disk
from tests.simulator.world import simulate

SEEDS_MAX = 400
Patch = tuple[Any, str, Any]


class Plant(msgspec.Struct, frozen=True):
    """A fault, and how the broken promise must read."""

    make: Callable[[], Sequence[Patch]]
    found: str


def sync_dropped() -> Sequence[Patch]:
    """Let the store forget to sync: a power cut takes what was acknowledged."""
    return [(Disk, "sync", _nothing)]


def acknowledged_before_commit() -> Sequence[Patch]:
    """Answer while the sync is still under way."""
    sync = Disk.sync

    def late(disk: Disk) -> None:
        asyncio.get_running_loop().call_later(0.05, sync, disk)

    return [(Disk, "sync", late)]


def expected_version_unchecked() -> Sequence[Patch]:
    """Let whoever comes second write over what they have not seen."""
    return [(Sequencer, "_expect", _nothing)]


def intent_after_effect() -> Sequence[Patch]:
    """Let a call begin when its start is noted, and not yet durable."""
    plan = Calls.plan

    def plan_and_begin(made: Calls, call: PlannedCall) -> None:
        plan(made, call)
        made.begin()

    return [(Calls, "plan", plan_and_begin)]


def tenant_check_missing() -> Sequence[Patch]:
    """Show a run to whoever knows its id."""
    find = Runs.find

    async def find_anybodys(runs: Runs, tenant: str, run_id: str, **options: Any) -> Any:
        del tenant
        events = await runs._journal.read_stream(run_id, 0, 1)  # pyright: ignore[reportPrivateUsage]
        return await find(runs, events[0].tenant if events else "", run_id, **options)

    return [(Runs, "find", find_anybodys)]


def cut_off_by_one() -> Sequence[Patch]:
    """Replay all but the last event of a cut."""

    def shortened(events: Any, kept: Any) -> Iterator[Any]:
        found = list(replayable(events, kept))
        yield from found[:-1] or found

    return [(starts, "replayable", shortened), (copying, "replayable", shortened)]


def view_checkpoint_before_rows() -> Sequence[Patch]:
    """Commit how far the views are before their rows."""
    advance = Lanes._advance  # pyright: ignore[reportPrivateUsage]

    def early(made: Lanes, lane: Any, row: Any, events: Sequence[Any], *, safely: bool) -> bool:
        connection = made._connection  # pyright: ignore[reportPrivateUsage]
        assert connection is not None
        if events and events[-1].position > row.position:
            move(connection, row, events[-1].position, events[-1].leaf)
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
        return advance(made, lane, row, events, safely=safely)

    return [(Lanes, "_advance", early)]


def token_cached_past_expiry() -> Sequence[Patch]:
    """Keep a verified token for ever."""
    cached = Authenticator.cached

    def for_ever(made: Authenticator, header: str | None) -> Any:
        clock = made._clock  # pyright: ignore[reportPrivateUsage]
        try:
            made._clock = lambda: 0.0  # pyright: ignore[reportPrivateUsage]
            return cached(made, header)
        finally:
            made._clock = clock  # pyright: ignore[reportPrivateUsage]

    return [(Authenticator, "cached", for_ever)]


def redirect_not_rechecked() -> Sequence[Patch]:
    """Follow an answer to wherever it points."""
    judged = outbound._redirect_target  # pyright: ignore[reportPrivateUsage]

    def unjudged(target: Any, location: str) -> Any:
        return msgspec.structs.replace(judged(target, location), address=None)

    return [(outbound, "_redirect_target", unjudged)]


def secret_unmasked() -> Sequence[Patch]:
    """Record what came back as it came."""

    def as_it_came(result: Any, search: Any) -> Any:
        del search
        return result

    return [(calls, "masked_result", as_it_came)]


def at_most_once_forgotten() -> Sequence[Patch]:
    """Call again at recovery what is to be called at most once."""
    judge = decider.after_crash

    def forgetful(*asked: Any, **named: Any) -> str:
        fate = judge(*asked, **named)
        return "again" if fate == "fail" else fate

    return [(decider, "after_crash", forgetful)]


def recovery_forgotten() -> Sequence[Patch]:
    """Take up nothing at a start."""

    async def none(engine: Engine) -> int:
        del engine
        return 0

    return [(Engine, "recover", none)]


def leaf_left_out() -> Sequence[Patch]:
    """Let the tree miss an entry where two come together."""
    take = Tree.take

    def miss(tree: Tree, events: Sequence[Any]) -> None:
        take(tree, [*events[:-2], events[-1], events[-1]] if len(events) > 2 else events)

    return [(Tree, "take", miss)]


PLANTS = {
    "sync_dropped": Plant(sync_dropped, "acknowledged and not durable"),
    "expected_version_unchecked": Plant(expected_version_unchecked, "was expected"),
    "intent_after_effect": Plant(intent_after_effect, "an effect without an open intent"),
    "acknowledged_before_commit": Plant(acknowledged_before_commit, "acknowledged and not durable"),
    "tenant_check_missing": Plant(tenant_check_missing, "of another tenant's answered"),
    "cut_off_by_one": Plant(cut_off_by_one, "replays"),
    "view_checkpoint_before_rows": Plant(
        view_checkpoint_before_rows, "are not the fold of the journal"
    ),
    "token_cached_past_expiry": Plant(token_cached_past_expiry, "an expired token was answered"),
    "redirect_not_rechecked": Plant(redirect_not_rechecked, "a forbidden address was called"),
    "secret_unmasked": Plant(secret_unmasked, "a secret stands in"),
    "at_most_once_forgotten": Plant(at_most_once_forgotten, "at most once, and"),
    "recovery_forgotten": Plant(recovery_forgotten, "runs are stuck"),
    "leaf_left_out": Plant(leaf_left_out, "signed checkpoint"),
}


def _nothing(*given: object) -> None:
    """Do nothing in the place of what was to be done."""
    del given


@contextmanager
def planted(patches: Sequence[Patch]) -> Generator[None]:
    """Put something else in the place of functions that must be there, for a while."""
    with ExitStack() as stack:
        for where, name, value in patches:
            assert hasattr(where, name), name
            stack.callback(setattr, where, name, getattr(where, name))
            setattr(where, name, value)
        yield


def found_by(plant: Plant, seeds: int = SEEDS_MAX) -> tuple[int, str]:
    """Return the first seed that finds a fault and what it says, (-1, "") if none does."""
    with planted(plant.make()):
        for seed in range(seeds):
            for said in simulate(seed).wrong:
                if plant.found in said:
                    return seed, said
    return -1, ""


def main(names: Sequence[str]) -> int:
    """Plant these faults, all by default, one at a time; 0 if each was found."""
    unknown = [name for name in names if name not in PLANTS]
    if unknown:
        print(f"no such fault: {unknown[0]}; known are {', '.join(PLANTS)}", file=sys.stderr)
        return 2
    missed = 0
    for name in names or PLANTS:
        seed, said = found_by(PLANTS[name])
        missed += seed < 0
        print(
            f"{name}: {f'found by seed {seed}: {said[:120]}' if said else 'NOT FOUND'}", flush=True
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
