"""One world under one seed: a service, its clients, its disk, the outside, and their troubles.

The service lives, is killed, loses power or is stopped, and starts again on what was durable. In
the end all troubles cease, and everything that was begun must come to its end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from random import Random
from typing import Any

import msgspec

from refold.http import subscription_parts
from refold.journal import checkpoints
from refold.projections import projector
from tests.simulator.actions import answer, visit
from tests.simulator.audit import Audit
from tests.simulator.clients import TENANTS, Client, Known, Ledger
from tests.simulator.disk import Disk, Trouble
from tests.simulator.life import JOURNAL_ID, START_US, Life, Remains, lived, told_through
from tests.simulator.loop import KilledError, SimulatedLoop, StuckError, TooLongError
from tests.simulator.outside import Outside
from tests.simulator.proofs import MemoryFile, replace_file
from tests.simulator.verdict import check_at_last, root_of
from tests.simulator.views import DiskJournal, new_views_file

STEPS = 500
"""How many steps a world takes before its troubles cease, unless it is told otherwise."""
LAST_STEPS_MAX = 300_000
LAST_SECONDS_MAX = 400_000.0


class Outcome(msgspec.Struct):
    """What came of a seed."""

    seed: int
    journal_hash: str
    """The root of the tree over the whole journal."""
    steps: int
    events: int
    runs: int
    actions: int
    calls: int
    kills: int
    faults: int
    """Troubles of the disk and of the outside."""
    wrong: list[str]
    """Broken promises: none, or the seed has found something."""


class World:
    """See the head of this file."""

    def __init__(self, seed: int, steps: int) -> None:
        self.seed = seed
        self.left = steps
        self.steps_total = 0
        self.kills = 0
        self.troubles = 0
        self.lives = 0
        self.dice = Random(f"world {seed}")
        self.disk = Disk(Random(f"disk {seed}"))
        self.remains = Remains(self.disk, new_views_file(), MemoryFile())
        self.now_s = 0.0
        self.loop = SimulatedLoop()
        self.life: Life | None = None
        self.audit = Audit(self.now_us, self.disk.is_synced)
        self.disk.watch = self.audit.watch
        self.outside = Outside(self.audit, Random(f"outside {seed}"))
        self.ledger = Ledger({tenant: Known() for tenant in TENANTS})
        self.entropy = Random(seed)

    def now_us(self) -> int:
        """Return the world's time in microseconds."""
        return START_US + round(self.loop.now_s * 1e6)

    def run(self) -> Outcome:
        """Let the world go through its lives, and judge it."""
        with _in_place_of_chance(self):
            while self.left > 0 and not self.audit.faults:
                self._live()
            if not self.audit.faults:
                self._end()
        return Outcome(
            seed=self.seed,
            journal_hash=root_of(self.disk).hex(),
            steps=self.steps_total,
            events=self.disk.head,
            runs=len(self.audit.runs),
            actions=self.ledger.actions_total,
            calls=self.outside.calls_total,
            kills=self.kills,
            faults=self.troubles + self.outside.faults_total,
            wrong=self.audit.faults[:20],
        )

    def _begin_life(self) -> Random:
        self.lives += 1
        self.loop.close()
        self.loop = SimulatedLoop(self.loop.now_s)
        # What a dying process still draws must not change what the next one gets.
        self.entropy = Random(f"life {self.seed} {self.lives}")
        self.remains.note.is_shut = False
        self.disk.trouble, self.disk.read_failures = "", 0
        return Random(f"dice {self.seed} {self.lives}")

    def _live(self) -> None:
        """Go through one life, up to the end that chance has chosen for it."""
        dice, loop = self._begin_life(), self.loop
        end = dice.choice(("kill", "kill", "kill", "power", "stop", "views"))
        if end in ("kill", "power"):
            loop.kill_at = dice.choice((30, 200, 600, 1500)) * dice.random()
        elif end == "views":
            self.remains.views.kill_in = dice.randint(20, 400)
        main = loop.create_task(self._serve(dice, is_stopped=end == "stop"), name="service")
        try:
            loop.run_until(main, steps=self.left)
        except (KilledError, TooLongError):
            self._kill(is_power_cut=end == "power", is_committed=dice.random() < 0.5)
        except Exception as error:
            self.audit.wrong(f"nobody caught: {error!r}")
            self._kill(is_power_cut=False, is_committed=False)
        self._end_life()

    async def _serve(self, dice: Random, *, is_stopped: bool) -> None:
        async with lived(self.loop, self.remains, self.outside, dice) as life:
            self.life = life
            tasks = [
                asyncio.create_task(visit(self._client(life, dice, tenant), dice), name="client")
                for tenant in TENANTS * 2
            ]
            tasks.append(asyncio.create_task(self._trouble(dice), name="trouble"))
            # SIGTERM comes in the middle of whatever is under way.
            with suppress(TimeoutError):
                async with asyncio.timeout(dice.random() * 300 if is_stopped else None):
                    await asyncio.gather(*tasks)

    def _client(self, life: Life, dice: Random, tenant: str) -> Client:
        return Client(life, self.ledger, self.audit, self.outside, dice, tenant)

    async def _trouble(self, dice: Random) -> None:
        """Let the disk be full, fail or stall for a while, now and then."""
        kinds: tuple[Trouble, ...] = ("full", "failing", "stalled")
        seconds = dice.choice((5, 50, 500))
        while True:
            await asyncio.sleep(dice.expovariate(1 / seconds))
            self.troubles += 1
            self.disk.trouble = dice.choice(kinds)
            self.disk.read_failures = dice.choice((0, 0, 1, 3))
            await asyncio.sleep(dice.expovariate(1 / 10))
            self.disk.trouble, self.disk.read_failures = "", 0

    def _kill(self, *, is_power_cut: bool, is_committed: bool) -> None:
        self.kills += 1
        if self.life is not None:
            self.life.store.die(is_committed=is_committed)
            self.life.views.projector.stop()
        self.remains.note.is_shut = True
        self.remains.views.kill_in = 0
        # What SQLite does by itself with a transaction that nobody ended.
        self.remains.views.rollback()
        if is_power_cut:
            self.disk.cut_power()
            self.remains.views = new_views_file()

    def _end_life(self) -> None:
        self.life = None
        steps, now_s = self.loop.steps, self.loop.now_s
        self.steps_total += steps
        self.left -= steps
        self.loop.bury()
        self.audit.faults.extend(f"nobody caught: {fault}" for fault in self.loop.faults)
        self.loop.now_s = now_s

    def _end(self) -> None:
        """Let all troubles cease, and everything come to its end."""
        dice = self._begin_life()
        self.outside.is_healed = True
        main = self.loop.create_task(self._finish(dice), name="service")
        try:
            self.loop.run_until(
                main, steps=LAST_STEPS_MAX, until=self.loop.now_s + LAST_SECONDS_MAX
            )
        except (StuckError, TooLongError) as error:
            stuck = self.audit.unfinished()
            self.audit.wrong(f"{len(stuck)} runs are stuck: {stuck[:3]} ({error})")
            self._kill(is_power_cut=False, is_committed=False)
        except Exception as error:
            self.audit.wrong(f"nobody caught: {error!r}")
            self._kill(is_power_cut=False, is_committed=False)
        self._end_life()

    async def _finish(self, dice: Random) -> None:
        async with lived(self.loop, self.remains, self.outside, dice) as life:
            self.life = life
            clients = [self._client(life, dice, tenant) for tenant in TENANTS]
            for client in clients:
                for name, kind in client.known.workflows.items():
                    if kind == "timed":
                        await client.call("PUT", f"/workflows/{name}", {"is_active": False})
            while self.audit.unfinished():
                for client in clients:
                    await answer(client, dice)
                await asyncio.sleep(60)
            await check_at_last(life, self.ledger, self.audit, self.outside)


class Listener(logging.Handler):
    """Reads the log, where no secret may stand, and no error that nobody has an answer to."""

    def __init__(self, audit: Audit) -> None:
        super().__init__()
        self._audit = audit

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one line."""
        text = record.getMessage()
        self._audit.look_for_secrets(text.encode(), "the log")
        is_of_the_disk = "journal could not be" in text or (
            "StoreFailedError" in text and "tried again" in text
        )
        if record.levelno >= logging.ERROR and not is_of_the_disk:
            self._audit.wrong(f"logged: {text}")


def simulate(seed: int, steps: int = STEPS) -> Outcome:
    """Run the world of a seed."""
    return World(seed, steps).run()


@contextmanager
def _in_place_of_chance(world: World) -> Generator[None]:
    """Let time, chance, files and log lines be the world's, for as long as it is run."""

    def now() -> float:
        return world.now_us() / 1e6

    def entropy(count: int) -> bytes:
        return world.entropy.randbytes(count)

    @contextmanager
    def journal_file(path: Any) -> Generator[DiskJournal]:
        del path
        yield DiskJournal(world.disk, JOURNAL_ID)

    log, listener = logging.getLogger("refold"), Listener(world.audit)
    with ExitStack() as stack:
        stack.callback(setattr, log, "propagate", log.propagate)
        stack.callback(log.setLevel, log.level)
        stack.callback(log.removeHandler, listener)
        log.propagate = False
        log.setLevel(logging.INFO)
        log.addHandler(listener)
        for where, name, value in (
            (os, "urandom", entropy),
            (time, "time", now),
            (time, "monotonic", now),
            (time, "perf_counter", now),
            (time, "sleep", _pass),
            (projector, "open_journal_file", journal_file),
            (checkpoints, "replace_file", replace_file),
            (subscription_parts, "OutboundClient", partial(told_through, world.outside)),
        ):
            stack.callback(setattr, where, name, getattr(where, name))
            setattr(where, name, value)
        yield


def _pass(seconds: float) -> None:
    """Take no time."""
    del seconds
