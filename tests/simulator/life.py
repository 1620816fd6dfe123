"""One life of a simulated service: from its start on what is durable to its kill or its end.

Everything above the disk is the service's own, wired by its own composition root: journal rules,
views, vault, engine, scheduler, routes, authentication. Below it stand the simulated store and
loop, and where it calls out, an endpoint outside of the world.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, cast

import msgspec

from refold.engine.egress import EgressRules
from refold.engine.mailer import Mailer
from refold.engine.outbound import OutboundClient
from refold.http import assembly
from refold.http.app import Application
from refold.http.auth import Authenticator
from refold.http.auth_keys import AuthSettings
from refold.http.authorization_parts import open_authorizations
from refold.http.endpoints import served_endpoints
from refold.http.keys import VaultKeys
from refold.http.services import App
from refold.http.settings import Settings
from refold.http.subscription_parts import open_subscriptions
from refold.http.vault_parts import open_vault
from refold.journal.clock import IdSource
from refold.journal.sqlite_identity import created
from tests.simulator.disk import Disk
from tests.simulator.loop import LoopClock, SimulatedLoop
from tests.simulator.outside import Outside, SimulatedSession
from tests.simulator.proofs import MemoryFile, open_proofs
from tests.simulator.store import SimulatedStore
from tests.simulator.views import SimulatedViews, ViewsFile

JOURNAL_ID = "01k8wd4nj8-simulated"
SERVICE_KEY = b"k" * 32
SECRET = "a secret for simulations that is long enough"
QUEUES = (4, 16, 256)
"""How many appends may wait, in one life or the other: with few, clients are refused."""
START_US = 1_761_912_000_000_000
SETTINGS = Settings(
    data=Path("/nonexistent"),
    egress_allow=("endpoint.test",),
    run_seconds_max=100_000,
    node_seconds_max=500,
    # What waits for a processor here waits for the machine of the test, not for a template.
    template_seconds_max=60,
)


class Remains(msgspec.Struct):
    """What outlives a process."""

    disk: Disk
    views: ViewsFile
    note: MemoryFile


class Life(msgspec.Struct):
    """A service that serves."""

    app: App
    store: SimulatedStore
    views: SimulatedViews
    web: Application


class SimulatedOutbound(OutboundClient):
    """The outgoing client with all its guards, whose connections lead to the simulated outside."""

    def __init__(self, outside: Outside, **options: Any) -> None:
        rules = EgressRules.parse(",".join(SETTINGS.egress_allow))
        super().__init__(rules, resolve=outside.resolve, **options)
        self._outside = outside

    def _make_session(self) -> Any:
        return SimulatedSession(self._outside, self._rules)


def told_through(outside: Outside, rules: EgressRules, **options: Any) -> SimulatedOutbound:
    """Make the client that subscribers are told by, in the place of the one with sockets."""
    del rules
    return SimulatedOutbound(outside, **options)


@asynccontextmanager
async def lived(
    loop: SimulatedLoop, remains: Remains, outside: Outside, dice: Random
) -> AsyncGenerator[Life]:
    """Start a service on what is there, and stop it as SIGTERM does when the context ends."""
    clock = LoopClock(loop, START_US)
    ids = IdSource(clock)
    settings = SETTINGS
    store = SimulatedStore(JOURNAL_ID, clock, remains.disk, dice, dice.choice(QUEUES))
    mailer = Mailer(None, clock)
    assembly.bound_nodes(settings, clock)
    journal = cast("Any", store)
    keys = VaultKeys(SERVICE_KEY, (), is_own=False)
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        if not store.head:
            await store.append(created(JOURNAL_ID, SERVICE_KEY, ids))
        proofs = await stack.enter_async_context(open_proofs(loop, store, ids, remains.note))
        views = SimulatedViews(loop, store, remains.views, dice)
        stack.callback(views.projector.stop)
        stack.callback(store.subscribe(views.projector.offer))
        views.projector.start()
        secrets = await stack.enter_async_context(
            open_vault(settings.data, keys, store, views, ids, clock)
        )
        grants = await stack.enter_async_context(
            open_authorizations(settings, store, secrets, ids, clock)
        )
        subscriptions = await stack.enter_async_context(
            open_subscriptions(settings, store, views, secrets, ids, clock)
        )
        outbound = SimulatedOutbound(outside)
        stack.push_async_callback(outbound.close)
        opened = assembly.Opened(
            clock=clock,
            ids=ids,
            journal=journal,
            views=views,
            secrets=secrets,
            grants=grants,
            subscriptions=subscriptions,
            proofs=proofs,
            outbound=outbound,
        )
        app = assembly.wired(settings, "http://refold.test", opened, mailer)
        now_s = _seconds(clock)
        authenticator = Authenticator(AuthSettings(secret=SECRET), clock=now_s, monotonic=now_s)
        web = Application(app, authenticator, ids, served_endpoints(settings.metrics), {})
        await app.engine.recover()
        app.scheduler.start()
        app.subscriptions.start()
        try:
            yield Life(app, store, views, web)
        finally:
            if not app.stopping.done():
                app.stopping.set_result(None)
            await app.scheduler.stop(settings.shutdown_seconds_max)
            async with asyncio.TaskGroup() as group:
                group.create_task(app.engine.stop(settings.shutdown_seconds_max))
                group.create_task(app.subscriptions.stop(settings.shutdown_seconds_max))


def _seconds(clock: LoopClock) -> Any:
    return lambda: clock.now_us() / 1e6
