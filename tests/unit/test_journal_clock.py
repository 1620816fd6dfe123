"""Time and randomness: what ids are made of."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from refold.journal.clock import IdSource, RandomSource, SystemClock


def test_no_two_threads_are_given_the_same_random_bytes() -> None:
    """They are drawn many at a time, and each portion is handed out once."""
    source = RandomSource(16)

    def draw(count: int) -> list[bytes]:
        return [source() for _ in range(count)]

    with ThreadPoolExecutor(8) as threads:
        given = [part for some in threads.map(draw, [2000] * 8) for part in some]
    assert len(set(given)) == len(given) == 16_000
    assert {len(part) for part in given} == {16}


def test_random_bytes_are_drawn_from_the_system_and_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every byte that was drawn is given, none twice, and more is drawn only then."""
    drawn: list[bytes] = []

    def count(size: int) -> bytes:
        drawn.append(bytes((len(drawn) * 7 + n // 4) % 256 for n in range(size)))
        return drawn[-1]

    monkeypatch.setattr("os.urandom", count)
    source = RandomSource(4)
    given = [source() for _ in range(257)]
    assert len(drawn) == 2
    assert sorted(given[:256]) == sorted(drawn[0][n : n + 4] for n in range(0, 1024, 4))
    assert given[256] in drawn[1]


def test_ids_of_one_millisecond_differ_and_ids_of_later_ones_sort_later() -> None:
    """The letters of the time are made once a millisecond, and belong to that one alone."""

    class At(SystemClock):
        now = 1_700_000_000_000_000

        def now_us(self) -> int:
            return self.now

    at = At()
    ids = IdSource(at)
    first = [ids.new("fl_run_") for _ in range(1000)]
    at.now += 1000
    later = [ids.new("fl_run_") for _ in range(1000)]
    assert len({*first, *later}) == 2000
    assert len({name[:17] for name in first}) == len({name[:17] for name in later}) == 1
    assert max(first) < min(later)
