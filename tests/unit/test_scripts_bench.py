"""How figures of the benchmark are put together, and what its command prints."""

from __future__ import annotations

import json
from typing import Literal

import pytest

from refold.scripts.bench.figure import Figure, medians
from refold.scripts.cli import main


def test_a_ratio_says_how_many_times_worse_than_the_floor() -> None:
    """More is better for rates and worse for times; both ratios read the same."""
    rate = Figure("W", "rate", 50, "runs/s", "more", 100, limit=2)
    time = Figure("W", "time", 30, "ms", "less", 10, limit=2)
    assert (rate.ratio, rate.is_kept) == (2, True)
    assert (time.ratio, time.is_kept) == (3, False)
    assert Figure("W", "alone", 3, "ms").ratio is None


def test_a_limit_without_a_floor_is_one_of_the_value() -> None:
    """It is the most of what should be small, and the least of what should be large."""
    assert Figure("W", "memory", 79, "MB", limit=80).is_kept is True
    assert Figure("W", "rate", 79, "runs/s", "more", limit=80).is_kept is False
    assert Figure("W", "nothing promised", 79, "MB").is_kept is None


@pytest.mark.parametrize("better", ["less", "more"])
def test_the_median_of_rounds_keeps_the_median_of_ratios(better: Literal["less", "more"]) -> None:
    """A round on a slow machine has a slow floor, so ratios are compared, not floors."""
    rounds = [
        [Figure("W", "it", value, "ms", better, floor)]
        for value, floor in ((10, 5), (40, 20), (100, 10))
    ]
    (made,) = medians(rounds)
    assert made.value == 40
    ratios = sorted(figure.ratio or 0 for (figure,) in rounds)
    assert made.ratio == pytest.approx(ratios[1])


def test_the_command_measures_a_service_and_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One workload, one second: the figures come with the machine that they were seen on."""
    assert main(["bench", "W2", "--seconds", "1", "--rounds", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {figure["name"] for figure in told["figures"]} == {"completed, p50", "syncs"}
    assert told["machine"]["durability"] == "WAL, synchronous=FULL"


def test_a_workload_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal lists those that are."""
    assert main(["bench", "W99"]) == 1
    assert "no workload W99; there are W1a, W1c" in capsys.readouterr().err
