"""The engine: keeps every unfinished run either active, waiting for a place, or parked.

There is one way into activity, for new runs, woken ones and those found at a start: fold what is
durable and continue from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from ..journal import ids
from ..journal.actors import Pseudonyms
from ..journal.errors import ConflictError, JournalError, StoreClosedError, UnknownEventError
from ..journal.events import RunRequested
from ..projections.run_state import RunState, fold
from .admission import Admission, Place
from .caller import Caller
from .children import Children
from .copying import copy_cut, copy_rest
from .definition import Definition
from .errors import BusyError, EngineError, StateError, TooManyError
from .execution import Execution, Services
from .fault_text import fault_text
from .limits import Limits
from .log_context import REQUEST, RUN
from .memory import Memory, recall
from .rates import Rates
from .requests import Request
from .run_figures import FOLLOWED
from .run_requests import RunRequests, Started
from .runs import Runs
from .transcript import Snapshot, Transcript
from .watchers import Watch, Watchers
from .workflows import Workflows

RETRY_US: Final = 1_000_000
"""How long a run rests after an error that is not its own; twice as long after each further one."""
RETRY_US_MAX: Final = 60_000_000
_log = logging.getLogger("refold.engine")


class Engine:
    """Runs everything that is not finished."""

    def __init__(
        self,
        services: Services,
        workflows: Workflows,
        runs: Runs,
        requests: RunRequests,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._services = services
        self._workflows = workflows
        self._runs = runs
        self.children: Final = Children(
            services.journal, workflows, runs, requests, pseudonyms, services.limits, self
        )
        """The runs that other runs started."""
        self.limits: Final[Limits] = services.limits
        self.figures: Final = services.figures
        services.journal.subscribe(self.figures.follow, FOLLOWED)
        self._admission = Admission(services.limits)
        self._starts = Rates(services.limits.starts_per_second_per_workflow_max)
        self._active: dict[str, Execution] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._parked: dict[str, tuple[Place, Callable[[], None]]] = {}
        self._unfinished: set[str] = set()
        self._setbacks: Counter[str] = Counter()
        self._watchers = Watchers()
        self._paused: set[str] = set()
        self._requests: dict[str, list[Request]] = {}
        self._is_stopping = False

    @property
    def active_total(self) -> int:
        """How many runs are active."""
        return len(self._tasks)

    @property
    def waiting_total(self) -> int:
        """How many accepted runs wait for a place."""
        return self._admission.waiting_total

    @property
    def parked_total(self) -> int:
        """How many unfinished runs rest until a time, a person or a child."""
        return len(self._parked)

    @property
    def paused_total(self) -> int:
        """How many of them only people can carry on."""
        return len(self._paused)

    @property
    def unfinished_total(self) -> int:
        """How many accepted runs have not ended."""
        return len(self._unfinished)

    @property
    def watched_total(self) -> int:
        """How many runs somebody waits for."""
        return self._watchers.total

    async def recover(self) -> int:
        """Take up every unfinished run that the journal knows of; returns how many there are."""
        holds = [hold for hold in await self._services.journal.holds() if ids.is_run(hold.holder)]
        for hold in holds:
            if hold.holder not in self._unfinished:
                # Whose run it is becomes known when it is loaded; until then all share a queue.
                self._enter(Place(hold.holder, "", hold.resource))
        return len(holds)

    def refuse_when_full(self, tenant: str = "", workflow: str = "") -> None:
        """Refuse a new run before anything is written for it; "" is what is not known yet.

        Raises:
            BusyError: too many accepted runs are waiting already.
            TooManyError: too many of this tenant are, or the workflow is started too often.
        """
        if self._admission.is_full or self._is_stopping:
            raise BusyError("Too many runs are waiting; try again later.")
        if tenant and self._admission.is_full_for(tenant):
            raise TooManyError("Too many of your runs are waiting; try again later.")
        if workflow and self._starts.is_limited:
            wait_s = self._starts.take(f"{tenant}\n{workflow}", self._services.clock.now_us())
            if wait_s:
                raise TooManyError("This workflow is started too often; try again later.", wait_s)

    async def begin(self, started: Started) -> None:
        """Take up a run that was just accepted."""
        if started.repeated or started.run_id in self._unfinished:
            return
        first = started.events[0]
        facts = first.facts
        assert isinstance(facts, RunRequested), "a run's first event is run.requested"
        self._enter(Place(started.run_id, first.tenant, facts.workflow), started)

    def watch(self, run_id: str, *, until_paused: bool = False) -> Watch:
        """Return a future that is done when the run has ended (at once if it has).

        Its result is the run as it was committed, or None where that has to be read back. With
        `until_paused` it is also done, with None, as soon as only people can go on. Who waits no
        longer cancels it; a service that stops does, too.
        """
        is_over = run_id not in self._unfinished or (until_paused and run_id in self._paused)
        if not is_over and not self._is_stopping:
            return self._watchers.add(run_id, until_paused=until_paused)
        future: Watch = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    async def ask(self, caller: Caller, request: Request, run_id: str) -> None:
        """Ask a run to stop, or answer its form; returns once that is durable.

        Raises:
            NotFoundError: there is no such run.
            StateError: `run_already_finished`, `interaction_closed`.
            NodeNotFoundError, InvalidError: the answer fits no form.
            BusyError: the service is stopping.
            UnknownEventError: its events can't be read by this version.
        """
        loaded = await self._runs.find(caller.tenant, run_id)
        if run_id not in self._unfinished:
            # It ended just now, or it was accepted just now and is about to be begun.
            loaded = await self._runs.find(caller.tenant, run_id)
        if loaded.state.is_ended:
            raise _already_finished()
        if self._is_stopping:
            raise _stopping()
        self._unfinished.add(run_id)
        self._requests.setdefault(run_id, []).append(request)
        active = self._active.get(run_id)
        if active is not None:
            self._hand_over(run_id, active)
        elif run_id not in self._tasks:
            place = Place(run_id, loaded.state.tenant, loaded.state.origin.workflow)
            self._unpark(run_id)
            self._admission.force(place)
            self._activate(place)
        await request.accepted

    async def stop(self, seconds: float) -> None:
        """Begin nothing new, let calls on the wire finish within `seconds`, then let go."""
        self._is_stopping = True
        for _, cancel_timer in self._parked.values():
            cancel_timer()
        for execution in self._active.values():
            execution.halt()
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._watchers.cancel_all()
        for run_id in list(self._requests):
            self._refuse(run_id, _stopping())

    # Places

    def _enter(self, place: Place, started: Started | None = None) -> None:
        """Let a run in, now or as soon as there is a place for it."""
        self._unfinished.add(place.run_id)
        if not self._is_stopping and self._admission.ask(place):
            self._activate(place, started)

    def _activate(self, place: Place, started: Started | None = None) -> None:
        self._paused.discard(place.run_id)
        task = asyncio.create_task(self._carry(place, started), name=place.run_id)
        self._tasks[place.run_id] = task

    async def _carry(self, place: Place, started: Started | None) -> None:
        """Carry one run on until it ends or is parked, and give its place to the next."""
        run_id = place.run_id
        # The task was made by a request, or at the end of another run.
        RUN.set(run_id)
        REQUEST.set("")
        execution: Execution | None = None
        is_ended = False
        due: int | None = None
        undecidable: UnknownEventError | None = None
        try:
            if turn := self._services.turns.take(place.tenant):
                await turn
            execution = await self._prepare(run_id, started)
            # A resume brings thousands of events, and the run may go on for hours.
            started = None
            if execution is None:
                is_ended = True
            else:
                # Of a run found at a start, whose it is becomes known only here.
                place = Place(run_id, execution.state.tenant, place.workflow)
                REQUEST.set(execution.state.corr)
                self._active[run_id] = execution
                self._hand_over(run_id, execution)
                if self._is_stopping:
                    execution.halt()
                due = await execution.run()
                is_ended = execution.state.is_ended
                if is_ended:
                    self.figures.ended(execution.state)
            self._setbacks.pop(run_id, None)
        except StoreClosedError:
            _log.info("run %s: the journal is closed; it continues at the next start", run_id)
            due = self._rest_until(run_id)
        except UnknownEventError as error:
            # Only a newer version can decide; until one is started, this is nobody's turn.
            undecidable = error
            _log.error("run %s is left as it is: %s", run_id, error)
        except ConflictError as error:
            _log.warning("run %s: %s; it is read again", run_id, error)
            due = self._rest_until(run_id)
        except Exception as error:
            told = fault_text(error)
            _log.error("run %s could not be carried on; it is tried again: %s", run_id, told)
            due = self._rest_until(run_id)
        finally:
            self._leave(place, execution, due, undecidable, is_ended=is_ended)

    def _rest_until(self, run_id: str) -> int:
        """Return when to try again after an error, ever later."""
        self._setbacks[run_id] += 1
        rest = min(RETRY_US << min(self._setbacks[run_id] - 1, 16), RETRY_US_MAX)
        return self._services.clock.now_us() + rest

    def _leave(
        self,
        place: Place,
        execution: Execution | None,
        due: int | None,
        undecidable: UnknownEventError | None,
        *,
        is_ended: bool,
    ) -> None:
        run_id = place.run_id
        self._active.pop(run_id, None)
        self._tasks.pop(run_id, None)
        self._admission.leave(run_id)
        if execution is not None:
            untaken = execution.inbox.take_untaken()
            if untaken:
                self._requests.setdefault(run_id, []).extend(untaken)
        if is_ended:
            self._unfinished.discard(run_id)
            self._refuse(run_id, _already_finished())
            self._watchers.tell_end(run_id, execution.snapshot if execution else None)
            if execution is not None and execution.state.origin.parent_run:
                self._tell_parent(execution.state.origin.parent_run, run_id)
        elif self._is_stopping:
            self._refuse(run_id, _stopping())
        else:
            if undecidable is not None:
                self._refuse(run_id, undecidable)
            self._park(place, due)
            if execution is not None and execution.state.paused_at:
                self._paused.add(run_id)
                self._watchers.tell_pause(run_id)
        while not self._is_stopping and (admitted := self._admission.next_admitted()):
            self._activate(admitted)

    def _park(self, place: Place, due: int | None) -> None:
        """Let a run rest until a time, or (None) until somebody wakes it."""
        run_id = place.run_id
        if due is None and self._requests.get(run_id):
            # Something came in while it was leaving.
            self._enter(place)
            return
        cancel = _nothing_to_cancel
        if due is not None:
            cancel = self._services.timers.call_at(due, lambda: self._wake(run_id))
        self._parked[run_id] = place, cancel

    def _wake(self, run_id: str) -> None:
        """Let a parked run go on."""
        parked = self._unpark(run_id)
        if parked is not None:
            self._enter(parked)

    def _unpark(self, run_id: str) -> Place | None:
        place, cancel_timer = self._parked.pop(run_id, (None, _nothing_to_cancel))
        cancel_timer()
        return place

    def _tell_parent(self, parent_id: str, run_id: str) -> None:
        """Tell a run that a child of it has ended; one that is not active looks by itself."""
        parent = self._active.get(parent_id)
        if parent is not None:
            parent.inbox.child_ended(run_id)
        else:
            self._wake(parent_id)

    # One run

    async def _prepare(self, run_id: str, started: Started | None) -> Execution | None:
        """Make an execution of what is durable; None if the run has ended."""
        if started is not None:
            state = fold(run_id, started.events)
            if state.replayed + len(started.rest) >= state.origin.replayed_total:
                return await self._fresh(started, state)
        loaded = await self._runs.load(run_id)
        state = loaded.state
        if state.requested is None:
            return None
        if state.is_ended:
            self._tell_parent(state.origin.parent_run, run_id)
            return None
        definition = await self._definition(state)
        payload = await self._runs.payload(state)
        services = self._services
        transcript = Transcript(services.journal, services.clock, services.ids, state, None)
        await copy_cut(services.journal, transcript, services.ids)
        memory = await recall(services.journal, state)
        return Execution(services, self.children, transcript, definition, payload, memory)

    async def _fresh(self, started: Started, state: RunState) -> Execution:
        """Make the execution of a run that was just accepted, without reading it back."""
        bodies = {started.events[0].position: started.body}
        # A resumed run shows bodies of its original, which are read when it is shown.
        inherits = state.origin.kept != ""
        snapshot = None if inherits else Snapshot(list(started.events), bodies)
        services = self._services
        transcript = Transcript(services.journal, services.clock, services.ids, state, snapshot)
        await copy_rest(transcript, started.rest, services.ids)
        definition = await self._definition(state)
        memory = Memory({("", node): output for node, output in started.outputs.items()})
        return Execution(services, self.children, transcript, definition, started.payload, memory)

    async def _definition(self, state: RunState) -> Definition:
        request = state.origin
        workflow = await self._workflows.find(state.tenant, request.workflow, deleted_too=True)
        return await self._workflows.definition(workflow, request.workflow_version)

    def _hand_over(self, run_id: str, execution: Execution) -> None:
        for request in self._requests.pop(run_id, []):
            execution.inbox.put(request)

    def _refuse(self, run_id: str, error: EngineError | JournalError) -> None:
        """Answer the requests that nothing will come of."""
        for request in self._requests.pop(run_id, []):
            request.refuse(error)


def _already_finished() -> StateError:
    return StateError("run_already_finished", "The run has ended already.")


def _stopping() -> BusyError:
    return BusyError("The service is stopping.")


def _nothing_to_cancel() -> None:
    """Of a run that rests until somebody wakes it."""
