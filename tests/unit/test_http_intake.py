"""What comes in, without a server: bytes, streams and waiting requests, in all and by tenant."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.errors import BusyError, TooManyError
from refold.engine.turns import Turns
from refold.http.intake import Intake, IntakeLimits


def intake(**limits: int) -> Intake:
    """Make one with these limits and one turn a round."""
    return Intake(Turns(per_round=1), IntakeLimits(**limits))


def test_bodies_of_one_tenant_hold_half_of_what_all_may() -> None:
    """Who sends slowly keeps what it sent, and leaves room for others."""
    made = intake(body_bytes_max=100)
    made.hold("slow", 30)
    made.hold("slow", 20)
    with pytest.raises(TooManyError):
        made.hold("slow", 1)
    made.hold("other", 50)
    with pytest.raises(BusyError):
        made.hold("third", 1)
    made.let_go("slow", 50)
    made.hold("third", 50)
    made.let_go("other", 50)
    made.let_go("third", 50)
    assert made.bytes_total == 0


def test_a_body_that_is_larger_than_all_is_read_when_nothing_else_is() -> None:
    """Its own limit bounds it; here it must not wait for ever."""
    made = intake(body_bytes_max=100)
    made.hold("a", 500)
    with pytest.raises(BusyError):
        made.hold("b", 1)
    made.let_go("a", 500)
    made.hold("b", 1)


def test_streams_are_bounded_in_all_and_by_tenant() -> None:
    """One tenant's tails take half at most."""
    made = intake(streams_max=4)
    made.open_stream("a")
    made.open_stream("a")
    with pytest.raises(TooManyError):
        made.open_stream("a")
    made.open_stream("b")
    made.open_stream("c")
    with pytest.raises(BusyError):
        made.open_stream("d")
    made.close_stream("a")
    made.open_stream("d")


def test_who_waits_is_bounded_by_tenant_and_in_all() -> None:
    """A tenant is refused for itself first, and everybody once all of the room is taken."""

    async def asks(made: Intake, tenant: str) -> str:
        try:
            if turn := made.enter(tenant):
                await made.wait(tenant, turn)
        except (TooManyError, BusyError) as error:
            return error.code
        return "served"

    async def main() -> list[str]:
        made = intake(waiting_max=3, waiting_per_tenant_max=2)
        # All of them ask in one round, which has one turn.
        ends = await asyncio.gather(*(asks(made, tenant) for tenant in "aaaabbc"))
        assert made.waiting_total == 0
        assert not made.is_full
        return ends

    ends = asyncio.run(main())
    assert ends[:4] == ["served", "served", "served", "too_many_requests"]
    assert ends[4:] == ["served", "overloaded", "overloaded"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60)), max_size=30))
def test_bytes_never_exceed_the_bounds(parts: list[tuple[str, int]]) -> None:
    """Whatever is asked for, what is held stays within the bound but for a first part."""
    made = intake(body_bytes_max=100)
    held = {"a": 0, "b": 0}
    for tenant, size in parts:
        try:
            made.hold(tenant, size)
        except (TooManyError, BusyError):
            continue
        held[tenant] += size
        assert made.bytes_total == sum(held.values()) <= 110
    for tenant, size in held.items():
        made.let_go(tenant, size)
    assert made.bytes_total == 0


def test_tokens_of_webhooks_are_known_once_they_were_used() -> None:
    """All unknown ones have one turn together."""
    made = intake()
    assert made.tenant_of("whsec_x") == ""
    made.learn("whsec_x", "acme")
    assert made.tenant_of("whsec_x") == "acme"
