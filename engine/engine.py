"""The engine: keeps every unfinished run either active, waiting for a place, or parked.

There is one way into activity, for new runs, woken ones and those found at a start: fold what is
durable and continue from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..journal.errors import ConflictError, StoreClosedError
from ..projections.run_state import SETTLED, RunState, fold
from .admission import Admission, Place
from .caller import Caller
from .copying import copy_cut
from .errors import BusyError, StateError
from .execution import Execution, Services, StopRequest
from .runs import Runs
from .starts import Started
from .transcript import Snapshot, Transcript
from .workflows import Workflows

RETRY_US: Final = 1_000_000
"""How long a run rests after an error that is not its own."""
_log = logging.getLogger("refold.engine")


class Engine:
    """Runs everything that is not finished."""

    def __init__(self, services: Services, workflows: Workflows, runs: Runs) -> None:
        self._services = services
        self._workflows = workflows
        self._runs = runs
        self._admission = Admission(services.limits)
        self._active: dict[str, Execution] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._parked: dict[str, Callable[[], None]] = {}
        self._unfinished: set[str] = set()
        self._fresh: dict[str, Execution] = {}
        self._watchers: dict[str, list[asyncio.Future[Snapshot | None]]] = {}
        self._stop_requests: dict[str, list[StopRequest]] = {}
        self._is_stopping = False

    @property
    def active_total(self) -> int:
        """How many runs are active."""
        return len(self._tasks)

    @property
    def waiting_total(self) -> int:
        """How many accepted runs wait for a place."""
        return self._admission.waiting_total

    async def recover(self) -> int:
        """Take up every unfinished run that the journal knows of; returns how many there are."""
        holds = await self._services.journal.holds()
        for hold in holds:
            if hold.holder not in self._unfinished:
                # Whose run it is becomes known when it is loaded; until then all share a queue.
                self._enter(Place(hold.holder, "", hold.resource))
        return len(holds)

    def refuse_when_full(self) -> None:
        """Refuse a new run before anything is written for it.

        Raises:
            BusyError: too many accepted runs are waiting already.
        """
        if self._admission.is_full or self._is_stopping:
            raise BusyError("Too many runs are waiting; try again later.")

    async def begin(self, started: Started) -> None:
        """Take up a run that was just accepted."""
        if started.repeated or started.run_id in self._unfinished:
            return
        state = fold(started.run_id, started.events)
        request = state.origin
        if state.replayed >= request.replayed_total:
            workflow = await self._workflows.find(
                state.tenant, request.workflow, deleted_too=True
            )
            definition = await self._workflows.definition(workflow, request.workflow_version)
            bodies = {started.events[0].position: started.body}
            # A resumed run shows bodies of its original, which are read when it is shown.
            snapshot = None if request.kept else Snapshot(list(started.events), bodies)
            services = self._services
            transcript = Transcript(
                services.journal, services.clock, services.ids, state, snapshot
            )
            self._fresh[started.run_id] = Execution(
                services, transcript, definition, started.payload, started.outputs
            )
        self._enter(Place(started.run_id, state.tenant, request.workflow))

    def watch(self, run_id: str) -> asyncio.Future[Snapshot | None]:
        """Return a future that is done when the run has ended (at once if it has).

        Its result is the run as it was committed, or None where that has to be read back.
        """
        future: asyncio.Future[Snapshot | None] = asyncio.get_running_loop().create_future()
        if run_id in self._unfinished:
            self._watchers.setdefault(run_id, []).append(future)
        else:
            future.set_result(None)
        return future

    async def cancel(self, caller: Caller, request: StopRequest, run_id: str) -> None:
        """Ask a run to stop; returns once the request is durable.

        Raises:
            NotFoundError: there is no such run.
            StateError: `run_already_finished`.
        """
        loaded = await self._runs.find(caller.tenant, run_id)
        if loaded.state.is_ended or run_id not in self._unfinished:
            raise StateError("run_already_finished", "The run has ended already.")
        self._stop_requests.setdefault(run_id, []).append(request)
        active = self._active.get(run_id)
        if active is not None:
            self._hand_over(run_id, active)
        elif run_id not in self._tasks:
            self._admission.forget(run_id)
            place = Place(run_id, loaded.state.tenant, loaded.state.origin.workflow)
            self._unpark(run_id)
            self._admission.force(place)
            self._activate(place)
        try:
            await request.accepted
        except asyncio.CancelledError:
            if request.accepted.cancelled():
                raise StateError(
                    "run_already_finished", "The run has ended already."
                ) from None
            raise

    async def stop(self, seconds: float) -> None:
        """Begin nothing new, let calls on the wire finish within `seconds`, then let go."""
        self._is_stopping = True
        for cancel_timer in self._parked.values():
            cancel_timer()
        for execution in self._active.values():
            execution.halt()
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.cancel()

    # Places

    def _enter(self, place: Place) -> None:
        self._unfinished.add(place.run_id)
        if not self._is_stopping and self._admission.ask(place):
            self._activate(place)

    def _activate(self, place: Place) -> None:
        task = asyncio.create_task(self._carry(place), name=place.run_id)
        self._tasks[place.run_id] = task

    async def _carry(self, place: Place) -> None:
        """Carry one run on until it ends or is parked, and give its place to the next."""
        run_id = place.run_id
        due = 0
        ended = False
        try:
            execution = self._fresh.pop(run_id, None) or await self._load(run_id)
            if execution is None:
                ended = True
            else:
                self._active[run_id] = execution
                self._hand_over(run_id, execution)
                due = await execution.run()
                ended = execution.state.is_ended
                if ended:
                    self._tell_watchers(run_id, execution.snapshot)
        except StoreClosedError:
            _log.info("run %s: the journal is closed; it continues at the next start", run_id)
        except ConflictError as error:
            _log.warning("run %s: %s; it is read again", run_id, error)
            due = self._services.clock.now_us() + RETRY_US
        except Exception:
            _log.exception("run %s could not be carried on; it is tried again", run_id)
            due = self._services.clock.now_us() + RETRY_US
        finally:
            self._leave(place, due, ended=ended)

    def _leave(self, place: Place, due: int, *, ended: bool) -> None:
        run_id = place.run_id
        self._active.pop(run_id, None)
        self._tasks.pop(run_id, None)
        self._admission.leave(run_id)
        for request in self._stop_requests.pop(run_id, []) if ended else ():
            request.accepted.cancel()
        if ended:
            self._unfinished.discard(run_id)
            self._tell_watchers(run_id, None)
        elif not self._is_stopping:
            self._park(place, due)
        while not self._is_stopping and (admitted := self._admission.next_admitted()):
            self._activate(admitted)

    def _park(self, place: Place, due: int) -> None:
        def wake() -> None:
            self._parked.pop(place.run_id, None)
            self._enter(place)

        if self._stop_requests.get(place.run_id):
            due = 0
        self._parked[place.run_id] = self._services.timers.call_at(due, wake)

    def _unpark(self, run_id: str) -> None:
        cancel_timer = self._parked.pop(run_id, None)
        if cancel_timer is not None:
            cancel_timer()

    # One run

    async def _load(self, run_id: str) -> Execution | None:
        """Make an execution of what is durable; None if the run has ended."""
        loaded = await self._runs.load(run_id)
        state = loaded.state
        if state.requested is None or state.is_ended:
            return None
        request = state.origin
        workflow = await self._workflows.find(state.tenant, request.workflow, deleted_too=True)
        definition = await self._workflows.definition(workflow, request.workflow_version)
        payload = await self._runs.payload(state)
        services = self._services
        transcript = Transcript(services.journal, services.clock, services.ids, state, None)
        await copy_cut(services.journal, transcript, services.ids)
        execution = Execution(
            services, transcript, definition, payload, await self._outputs(state)
        )
        execution.message = await self._message(state)
        return execution

    async def _outputs(self, state: RunState) -> dict[str, Any]:
        positions = {n.node: n.body_at for n in state.nodes.values() if n.phase in SETTLED}
        bodies = await self._services.journal.read_bodies(list(positions.values()))
        return {
            node: msgspec.json.decode(bodies[position].data)
            for node, position in positions.items()
        }

    async def _message(self, state: RunState) -> str:
        """Read the error message of a run that was ending when it was interrupted."""
        if state.ending is None or not state.ending.body_at:
            return ""
        bodies = await self._services.journal.read_bodies([state.ending.body_at])
        body = msgspec.json.decode(bodies[state.ending.body_at].data)
        error = body.get("error")
        return str(error["message"] if isinstance(error, dict) else body.get("message", ""))

    def _hand_over(self, run_id: str, execution: Execution) -> None:
        for request in self._stop_requests.pop(run_id, []):
            execution.request_stop(request)

    def _tell_watchers(self, run_id: str, snapshot: Snapshot | None) -> None:
        for watcher in self._watchers.pop(run_id, []):
            if not watcher.done():
                watcher.set_result(snapshot)
