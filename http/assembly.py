"""The composition root: opens a data directory and wires the rooms together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import msgspec

from ..engine.authoring import Authoring
from ..engine.authorizations import Authorizations
from ..engine.calls import Secrets
from ..engine.egress import EgressRules
from ..engine.engine import Engine
from ..engine.execution import Services
from ..engine.fan_out import FanOut
from ..engine.forgetting import Forgetting
from ..engine.limits import Limits
from ..engine.mailer import Mailer
from ..engine.node_trials import NodeTrials
from ..engine.nodes.control import Delay
from ..engine.nodes.grouping import Iterator
from ..engine.outbound import OutboundClient
from ..engine.run_requests import RunRequests
from ..engine.runs import Runs
from ..engine.scheduler import Scheduler, SchedulerParts
from ..engine.starts import Starts
from ..engine.subscriptions import Subscriptions
from ..engine.template_values import RenderLimit
from ..engine.timers import LoopTimers
from ..engine.wall_clock import WallClock
from ..engine.workflows import Workflows
from ..journal.clock import IdSource, SystemClock
from ..journal.journal import Journal
from ..journal.sqlite_file import JOURNAL_FILE
from ..journal.sqlite_store import SqliteJournal, open_journal
from ..projections.loading import find
from ..projections.search_projections import references
from ..projections.views import Views, open_views
from .authorization_parts import open_authorizations
from .feeds import Feeds
from .finished_runs import FinishedRuns
from .intake import Intake, IntakeLimits
from .keys import vault_keys
from .mail_settings import mail_server
from .proofs import Proofs, open_proofs
from .services import App
from .settings import Settings
from .subscription_parts import open_subscriptions
from .vault_parts import VaultParts, open_vault

BODIES_BYTES: Final = 64 * 1024 * 1024
"""What request bodies may take of memory at a time, unless single ones are allowed to be huge."""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What is opened for a service's life and closed after it."""

    clock: SystemClock
    ids: IdSource
    journal: SqliteJournal
    views: Views
    secrets: VaultParts
    grants: Authorizations
    subscriptions: Subscriptions
    proofs: Proofs
    outbound: OutboundClient


@asynccontextmanager
async def assemble(
    settings: Settings, public_url: str
) -> AsyncGenerator[tuple[App, IdSource], None]:
    """Open the journal and the views of a data directory and wire the engine to them."""
    mailer = Mailer(mail_server(settings), clock := SystemClock())
    bound_nodes(settings, clock)
    async with _open(settings, clock) as opened:
        yield wired(settings, public_url, opened, mailer), opened.ids


@asynccontextmanager
async def _open(settings: Settings, clock: SystemClock) -> AsyncGenerator[Opened]:
    keys, ids = vault_keys(settings), IdSource(clock)
    async with (
        open_journal(
            settings.data,
            keys.primary,
            clock,
            older_keys=keys.older,
            batch_max=settings.batch_max,
        ) as journal,
        # Right after the journal, so that it closes last and signs what the others write then.
        open_proofs(settings, journal, ids) as proofs,
        _open_views(settings, journal) as views,
        open_vault(settings.data, keys, journal, views, ids, clock) as secrets,
        open_authorizations(settings, journal, secrets, ids, clock) as grants,
        open_subscriptions(settings, journal, views, secrets, ids, clock) as subscriptions,
    ):
        outbound = OutboundClient(
            EgressRules.parse(",".join(settings.egress_allow)),
            max_response_bytes=settings.response_bytes_max,
        )
        try:
            yield Opened(
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
        finally:
            await outbound.close()


def wired(settings: Settings, public_url: str, opened: Opened, mailer: Mailer) -> App:
    """Make the engine and all that the routes work with."""
    clock, ids, journal, views = opened.clock, opened.ids, opened.journal, opened.views
    secrets, grants, limits = opened.secrets, opened.grants, _limits(settings)
    pseudonyms, sealer, timers = secrets.pseudonyms, secrets.sealer, LoopTimers(clock)
    workflows = Workflows(journal, sealer)
    runs, requests = Runs(journal, workflows), RunRequests(ids, pseudonyms)
    lent = Secrets(secrets.vault)
    services = Services(journal, clock, ids, timers, opened.outbound, limits, lent, mailer, grants)
    engine = Engine(services, workflows, runs, requests, pseudonyms)
    scheduling = SchedulerParts(
        journal, clock, ids, timers, pseudonyms, workflows, requests, engine, views.scheduled
    )
    return App(
        journal=journal,
        views=views,
        workflows=workflows,
        authoring=Authoring(journal, clock, ids, pseudonyms, sealer, limits, workflows, grants),
        runs=runs,
        starts=Starts(journal, ids, requests, workflows, runs),
        fan_out=FanOut(journal, views, requests, workflows),
        forgetting=Forgetting(journal, secrets.erasures, runs, workflows, views, pseudonyms),
        engine=engine,
        node_trials=NodeTrials(services),
        scheduler=Scheduler(scheduling),
        pseudonyms=pseudonyms,
        vault=secrets.vault,
        authorizations=grants,
        subscriptions=opened.subscriptions,
        keys=secrets.keys,
        proofs=opened.proofs,
        intake=Intake(services.turns, _intake_limits(settings)),
        feeds=Feeds(journal, settings.max_feeds_per_tenant, settings.feed_stall_seconds_max),
        finished=FinishedRuns(journal),
        data=settings.data,
        run_retention_days=settings.run_retention_days,
        public_url=public_url,
        body_bytes_max=settings.body_bytes_max,
        began_at=journal.head,
        stopping=asyncio.get_running_loop().create_future(),
    )


def bound_nodes(settings: Settings, clock: SystemClock) -> None:
    """Give nodes and templates their clock and the limits that are the same for all."""
    WallClock.source = clock
    Delay.seconds_max = settings.delay_seconds_max
    Iterator.items_max = settings.iterator_items_max
    RenderLimit.seconds_max = settings.template_seconds_max


def _open_views(settings: Settings, journal: Journal) -> AbstractAsyncContextManager[Views]:
    """Open the views, with the searches and developers' projections that are wanted."""
    file = settings.data / JOURNAL_FILE
    named = [*settings.projection, *references(settings.search)]
    return open_views(
        settings.data,
        journal,
        file,
        loaded=find(named),
        check_seconds=settings.projection_check_seconds,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        run_seconds_max=settings.run_seconds_max,
        node_seconds_max=settings.node_seconds_max,
        delay_seconds_max=settings.delay_seconds_max,
        nodes_max=settings.nodes_max,
        iterator_depth_max=settings.iterator_depth_max,
        subworkflow_depth_max=settings.subworkflow_depth_max,
        output_bytes_max=settings.output_bytes_max,
        active_runs_max=settings.max_active_runs,
        active_runs_per_tenant_max=settings.max_active_runs_per_tenant,
        active_runs_per_workflow_max=settings.max_active_runs_per_workflow,
        waiting_runs_per_tenant_max=settings.max_waiting_runs_per_tenant,
        starts_per_second_per_workflow_max=settings.max_starts_per_second_per_workflow,
    )


def _intake_limits(settings: Settings) -> IntakeLimits:
    return IntakeLimits(
        # Four tenants may flood until a fifth is refused.
        waiting_max=4 * settings.max_waiting_requests_per_tenant,
        waiting_per_tenant_max=settings.max_waiting_requests_per_tenant,
        requests_per_second=settings.max_requests_per_second_per_tenant,
        body_bytes_max=max(BODIES_BYTES, 4 * settings.body_bytes_max),
        streams_max=settings.max_connections,
    )
