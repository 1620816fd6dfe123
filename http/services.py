"""What the routes work with: one object, wired once at the start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from ..engine.authoring import Authoring
from ..engine.authorizations import Authorizations
from ..engine.caller import Caller
from ..engine.engine import Engine
from ..engine.errors import NotFoundError
from ..engine.fan_out import FanOut
from ..engine.forgetting import Forgetting
from ..engine.node_trials import NodeTrials
from ..engine.requests import Request
from ..engine.runs import Runs
from ..engine.scheduler import Scheduler
from ..engine.starts import Starts
from ..engine.subscriptions import Subscriptions
from ..engine.vault import Vault
from ..engine.workflows import WorkflowBody, Workflows
from ..journal.actors import Pseudonyms
from ..journal.errors import StoreFailedError
from ..journal.journal import LATEST
from ..journal.sqlite_store import SqliteJournal
from ..projections.views import Views
from ..projections.workflow_state import WorkflowState, WorkflowVersion
from . import rendering, wire
from .feeds import Feeds
from .finished_runs import FinishedRuns
from .intake import Intake
from .key_rotation import KeyService
from .proofs import Proofs
from .request_figures import RequestFigures

WEBHOOK_PATH = "/workflows/webhooks/"
MASKED_TOKEN = "whsec_***"
DAY_US = 24 * 3600 * 1_000_000


class App(msgspec.Struct, frozen=True, kw_only=True):
    """The rooms below, as the routes see them."""

    journal: SqliteJournal
    views: Views
    workflows: Workflows
    authoring: Authoring
    runs: Runs
    starts: Starts
    fan_out: FanOut
    forgetting: Forgetting
    engine: Engine
    node_trials: NodeTrials
    scheduler: Scheduler
    pseudonyms: Pseudonyms
    vault: Vault
    authorizations: Authorizations
    subscriptions: Subscriptions
    keys: KeyService
    proofs: Proofs
    feeds: Feeds
    finished: FinishedRuns
    intake: Intake
    requests: RequestFigures = msgspec.field(default_factory=RequestFigures)
    data: Path
    """The data directory."""
    run_retention_days: int = 0
    """How long ended runs stay in lists; 0 for ever."""
    public_url: str
    body_bytes_max: int
    began_at: int
    """The journal's newest position when this process began: what is older, others have done."""
    stopping: asyncio.Future[None]
    """Done when the service is asked to stop: whoever waits for a run answers then."""

    async def hidden_until(self, at: int) -> int:
        """Return the position until which a run must have ended to be in no list any more.

        Lists are of position `at`, so it is judged by the time of that position, not by now.
        """
        if not self.run_retention_days:
            return 0
        (newest,) = await self.journal.read_all(at - 1, 1)
        return await self.journal.position_at(newest.at - self.run_retention_days * DAY_US - 1) or 0

    async def ask(self, caller: Caller, request: Request, run_id: str) -> None:
        """Hand a request to a run (see `Engine.ask`), unless it would wait for the disk there.

        Raises:
            StoreFailedError: the disk takes no commits now.
        """
        if not self.journal.is_writable:
            raise StoreFailedError("the journal takes no commits at the moment")
        await self.engine.ask(caller, request, run_id)

    def webhook_url(
        self, state: WorkflowState, body: WorkflowBody | None, *, in_clear: bool
    ) -> str | None:
        """Return a version's webhook address; the token is masked unless `in_clear`."""
        if body is None or not body.webhook_token:
            return None
        token = self.workflows.token(state.workflow_id, body) if in_clear else MASKED_TOKEN
        return f"{self.public_url}{WEBHOOK_PATH}{token}"

    async def workflow(
        self,
        state: WorkflowState,
        version: WorkflowVersion,
        *,
        in_clear: bool,
        whole: bool = True,
        at: int = LATEST,
    ) -> wire.Workflow:
        """Show a version of a workflow; `state` is of position `at`, by default of the newest."""
        body = await self.workflows.find_body(state, version.number)
        url = self.webhook_url(state, body, in_clear=in_clear)
        grant = await self.authorization(state, body, at=at)
        return rendering.workflow(state, version, body, url, grant, whole=whole)

    async def authorization(
        self, state: WorkflowState, body: WorkflowBody | None, *, at: int = LATEST
    ) -> wire.Authorization | None:
        """Show the grant that a version names, as it is or was; None once it is deleted."""
        named = body.workflow.authorization_id if body else None
        if named is None:
            return None
        try:
            grant = await self.authorizations.find(state.tenant, named, at=at)
        except NotFoundError:
            return None
        bodies = await self.authorizations.read_bodies([grant.body_at])
        found = bodies.get(grant.body_at)
        return rendering.authorization(named, grant.status, grant.created_at, found)

    async def bodies(self, positions: list[int]) -> dict[int, bytes]:
        """Read bodies as plain bytes; an erased one is missing, for an archived one is a note."""
        found = await self.journal.read_bodies(positions)
        bodies = {position: body.data for position, body in found.items()}
        missing = [position for position in positions if position and position not in bodies]
        if missing:
            for position, name in (await self.journal.read_segments(missing)).items():
                bodies[position] = rendering.Archived.in_segment(name)
        return bodies
