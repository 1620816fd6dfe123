"""The proof of time travel: recorded answers, asked again as of their positions, come back.

A witness asks while a random load goes on, so most answers are given between two commits of
others. After more load, a restart, and views made anew, each is asked for again.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.support.service import Endpoint, Hit, Service, endpoint, running
from tests.support.travel_load import (
    Kept,
    Mover,
    Witness,
    World,
    asked_again,
    prepare,
    until_done,
)

ANSWERS = {"dev": 100, "ci": 300, "full": 10_000}
MOVERS = 2
LOOKS_AN_ACT = 3
"""How many answers are recorded at most for each thing that the load does."""
LOADED_ACTS = 60
"""How much is done before the first and after the last answer is recorded."""


def _answer(hit: Hit) -> tuple[int, object]:
    status = hit.path.split("/")[1]
    return (int(status), {"problem": "no"}) if status.isdigit() else (200, {"ok": True})


def _recorded(service: Service, sink: Endpoint, dice: random.Random, total: int) -> list[Kept]:
    """Record so many answers while a load goes on, which is there before and after."""
    world = World()
    clients = [service.client() for _ in range(MOVERS + 1)]
    prepare(clients[-1], world, sink.url)
    movers = [
        Mover(client, world, random.Random(dice.random()), sink.url) for client in clients[:-1]
    ]
    witness = Witness(service, "acme", world, dice)
    is_over = threading.Event()
    looks = threading.Semaphore(0)

    def load(acts: int) -> None:
        for number in range(acts):
            movers[number % MOVERS].act()

    def act_on(mover: Mover) -> None:
        mover.act()
        looks.release(LOOKS_AN_ACT)

    load(LOADED_ACTS)
    threads = [until_done(partial(act_on, mover), is_over) for mover in movers]
    try:
        while len(witness.kept) < total and looks.acquire(timeout=60):
            witness.look()
    finally:
        is_over.set()
        for thread in threads:
            thread.join(30)
    load(LOADED_ACTS)
    witness.close()
    for client in clients:
        client.close()
    assert len(witness.kept) == total, "the load ended before its time"
    assert witness.faults + [fault for mover in movers for fault in mover.faults] == []
    return witness.kept


def _rebuild(service: Service) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    command = [sys.executable, "-m", "refold.scripts.cli", "rebuild", "--data", str(service.data)]
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def _wrong(service: Service, kept: list[Kept]) -> list[str]:
    with (
        closing(service.client()) as client,
        closing(service.client(scope="workflows:read")) as reader,
    ):
        found = [asked_again(client, reader, one) for one in kept]
    return [fault for fault in found if fault]


@pytest.mark.timeout(1800)
def test_recorded_answers_come_back_byte_for_byte(tmp_path: Path, seed: int) -> None:
    """After further load, after a kill and a restart, and out of views that were made anew."""
    dice = random.Random(seed)
    total = ANSWERS[os.environ["REFOLD_TEST_PROFILE"]]
    with endpoint(_answer) as sink, running(tmp_path / "data") as service:
        kept = _recorded(service, sink, dice, total)
        # A witness of few moments would prove little.
        assert len({one.position for one in kept}) > total / 10
        assert _wrong(service, dice.sample(kept, total // 5)) == [], f"seed {seed}"
        service.kill()
        service.start()
        assert _wrong(service, dice.sample(kept, total // 5)) == [], f"seed {seed}"
        _rebuild(service)
        assert _wrong(service, kept) == [], f"seed {seed}"
