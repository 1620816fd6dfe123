"""Kill a real service under load, at random moments, and compare it with what it promised."""

from __future__ import annotations

import random
import re
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from refold.projections.built_in import BUILT_IN
from refold.projections.views_file import digest_live
from tests.support.counts import count_of
from tests.support.kill_trial import Trial, trial
from tests.support.service import Client, Reply
from tests.support.view_audit import EVERY, EXAMPLE, digest_faults, live_faults

KILLS = count_of("KILLS", dev=5, ci=40, full=500)
LOOK_EVERY = {5: 2, 40: 20}.get(KILLS, 25)
"""After how many kills all views are folded again: that takes longer the longer the journal is."""
FAULTY = Path(__file__).parents[1] / "support" / "faulty_service.py"
FAULTS = {
    "call_again": "at most once, and",
    "acknowledge_early": "acknowledged and lost",
    "call_early": "starts are durable",
    "forget_runs": "stuck",
    "start_apart": "does not say that it started",
    "fire_apart": "without its firing",
}


# By command as many as one likes: 2,000 take hours.
@pytest.mark.timeout(600 + 30 * KILLS)
def test_a_killed_service_loses_nothing_doubles_nothing_and_leaves_nothing_stuck(
    tmp_path: Path, seed: int
) -> None:
    """One journal through all the kills; every promise is compared after each of them."""
    print(f"seed {seed}")
    with trial(tmp_path / "data", seed, projection=EXAMPLE) as made:
        made.begin()
        for number in range(KILLS):
            made.round()
            assert made.wrong == []
            if number % LOOK_EVERY == 0:
                assert live_faults(tmp_path / "data", EVERY) == []
        made.finish()
        lists = answers_of_lists(made)
        assert made.service.stop() == 0
        made.audit.at_last(made.ledger, list(made.endpoint.hits))
        print(made.summary())
        assert made.wrong == []
        assert len(made.ledger.acknowledged) > 3 * len(made.audit.kills), "the load was real"
        assert digest_faults(tmp_path / "data", EVERY) == []
        digests = digests_of_views(tmp_path / "data")
        for left in (tmp_path / "data").glob("views.db*"):
            left.unlink()
        made.start()
        assert answers_of_lists(made) == lists
        assert made.service.stop() == 0
        assert digests_of_views(tmp_path / "data") == digests
        assert live_faults(tmp_path / "data") == []


def answers_of_lists(made: Trial) -> list[bytes]:
    """The first page of every workflow's runs, up to the links, which name another port."""
    client = made.service.client()
    paths = [f"/workflows/{id_}/executions?per_page=100" for id_ in made.ledger.workflows.values()]
    answers = [patiently(client, path) for path in paths]
    client.close()
    assert {answer.status for answer in answers} == {200}
    return [answer.body.partition(b',"links":')[0] for answer in answers]


def patiently(client: Client, path: str) -> Reply:
    """Ask again while the views are being made anew; each answer itself waits for them a while."""
    while (reply := client.get(path)).status == 503:
        assert reply.headers["retry-after"]
    return reply


def digests_of_views(data: Path) -> list[str]:
    """The digest of each view, of a service that stands still."""
    return [digest_live(data / "views.db", projection) for projection in BUILT_IN]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_audit_finds_a_fault_that_was_planted(tmp_path: Path, seed: int, fault: str) -> None:
    """A check that can't fail proves nothing: each of these services breaks one promise."""
    print(f"seed {seed}")
    with trial(tmp_path / "data", seed, sys.executable, str(FAULTY), fault, "serve") as made:
        made.begin()
        for _ in range(20):
            made.round()
            if any(FAULTS[fault] in line for line in made.wrong):
                return
            if len(made.audit.kills) % 4 == 0 or fault == "forget_runs":
                made.finish()
                made.audit.at_last(made.ledger, list(made.endpoint.hits))
                if any(FAULTS[fault] in line for line in made.wrong):
                    return
        raise AssertionError(f"{fault} was not noticed: {made.wrong[:5]} {made.summary()}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", ["fold_by_batch", "checkpoint_first"])
def test_a_fault_in_the_views_is_found_and_the_projection_named(
    tmp_path: Path, seed: int, fault: str
) -> None:
    """Rows that depend on how events were grouped, and a checkpoint without its rows."""
    print(f"seed {seed}")
    with trial(tmp_path / "data", seed, sys.executable, str(FAULTY), fault, "serve") as made:
        made.begin()
        for _ in range(20):
            made.round()
            if faults := live_faults(tmp_path / "data"):
                assert re.match(r"projection \w+ at position \d+: .* row .* of \w+", faults[0])
                return
        raise AssertionError(f"{fault} was not noticed: {made.summary()}")


@pytest.mark.timeout(600)
def test_a_service_that_is_asked_to_stop_under_load_ends_in_time_and_loses_nothing(
    tmp_path: Path, seed: int
) -> None:
    """SIGTERM: exit code 0, and at the next start everything is there and goes on."""
    choice = random.Random(seed)
    with trial(tmp_path / "data", seed) as made:
        made.begin()
        for _ in range(3):
            is_over = threading.Event()
            with made.load(is_over):
                is_over.wait(choice.random())
                # Within 30 s, or this raises; the service's own limit is 5 s here.
                assert made.service.stop() == 0
            assert live_faults(tmp_path / "data") == []
            made.audit.killed(made.ledger, list(made.endpoint.hits))
            assert made.wrong == []
            made.start()
        made.finish()
        assert made.service.stop() == 0
        made.audit.at_last(made.ledger, list(made.endpoint.hits))
        assert made.wrong == []
        assert made.audit.interrupted() == 0, "a call that had begun was let finish"
        with closing(sqlite3.connect(tmp_path / "data" / "journal.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
