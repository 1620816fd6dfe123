"""The clock that everything is timed by: it never goes back, and never stands still."""

from __future__ import annotations

import time

import pytest

from refold.journal.clock import SystemClock

HOUR_NS = 3_600_000_000_000


class Machine:
    """A machine whose clock can be set, and whose time passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall_ns = 1_761_912_000_000_000_000
        self.steady_ns = 5_000_000_000
        monkeypatch.setattr(time, "time_ns", lambda: self.wall_ns)
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.steady_ns)

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.wall_ns += int(seconds * 1e9)
        self.steady_ns += int(seconds * 1e9)


def test_it_is_the_machine_s_while_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set ahead is followed at once."""
    machine = Machine(monkeypatch)
    clock = SystemClock()
    assert clock.now_us() == machine.wall_ns // 1000
    machine.wall_ns += 24 * HOUR_NS
    assert clock.now_us() == machine.wall_ns // 1000


def test_set_back_it_goes_on_a_little_slower_until_it_is_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wait of a second must not become one of an hour."""
    machine = Machine(monkeypatch)
    clock = SystemClock()
    before = clock.now_us()
    machine.wall_ns -= HOUR_NS
    assert clock.now_us() == before
    machine.passes(10)
    assert clock.now_us() == before + 9_000_000
    told = [clock.now_us()]
    for _ in range(100):
        machine.passes(360.001)
        told.append(clock.now_us())
    assert told == sorted(told)
    assert told[-1] == machine.wall_ns // 1000, "after ten hours"


def test_it_begins_where_the_journal_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's clock may have been set back while the service was down."""
    machine = Machine(monkeypatch)
    clock = SystemClock()
    last = machine.wall_ns // 1000 + 3_600_000_000
    clock.advance_to(last)
    assert clock.now_us() == last
    machine.passes(1)
    assert clock.now_us() == last + 900_000
    clock.advance_to(last)
    assert clock.now_us() == last + 900_000
