"""A journal that can't be read for a moment while a call needs the vault: it costs time alone."""

from __future__ import annotations

import msgspec

from refold.engine.calls import Secrets
from refold.journal.errors import StoreFailedError
from tests.support.simulated import TRIGGER, Simulated, call, line
from tests.support.simulated_vault import SimulatedVault
from tests.support.virtual_time import run_virtually


class _Flaky(SimulatedVault):
    """A vault that can't be read each second time."""

    def __init__(self) -> None:
        super().__init__({})
        self.reads = 0

    async def secrets(self, tenant: str) -> SimulatedVault:
        """Return the secrets of a tenant, or fail."""
        self.reads += 1
        if self.reads % 2 == 0:
            raise StoreFailedError("the journal could not be read: disk I/O error")
        return await super().secrets(tenant)


def test_a_call_that_was_made_keeps_its_outcome_when_the_vault_can_not_be_read_after_it() -> None:
    """Recorded as a failure, a resume would make the call again, and under another key."""

    async def scenario() -> None:
        sim, vault = Simulated(), _Flaky()
        sim.engine._services = msgspec.structs.replace(sim.services, secrets=Secrets(vault))  # pyright: ignore[reportPrivateUsage]
        workflow = await sim.define([TRIGGER, call("a"), call("b")], line("start", "a", "b"))
        state = await sim.ended(await sim.execute(workflow))
        assert state.status == "completed"
        assert len(sim.endpoint.calls) == 2
        assert vault.reads > 2
        await sim.close()

    run_virtually(scenario())
