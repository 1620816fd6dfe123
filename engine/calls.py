"""The calls of one run that are on the wire: begun once their starts are durable, then awaited.

A call is planned while its start is only noted, and begins when the caller says that the start
is on disk. Its result waits here until the run takes it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from ..journal.errors import StoreFailedError
from ..projections.node_state import Place
from .component import EffectNode, Json, NodeError, Outcome
from .definition import Step
from .fault_text import fault_text
from .outbound import OutboundResponse
from .places import Places
from .run_figures import CUT_OFF, RunFigures
from .secret_search import SecretSearch, SecretSearches, masked_result
from .secret_source import SecretSource, SecretsUnavailableError, TenantSecrets
from .secrets import ROOT, RevealingVault

Result = Outcome | NodeError
MESSAGE_LENGTH_MAX: Final = 2000
SECRETS_RETRY_SECONDS: Final = 0.2
_log = logging.getLogger("refold.engine")


class Outbound(Protocol):
    """What sends a request and returns the answer (see `OutboundClient`)."""

    async def request(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        timeout_s: float,
        /,
    ) -> OutboundResponse:
        """Send one request; raise `OutboundError` where no answer came."""
        ...


class EffectCall(msgspec.Struct, frozen=True):
    """What an effect node is lent while it performs (see `Call`)."""

    effect_key: str
    timeout_s: float
    outbound: Outbound
    mailer: Any
    authorizations: Any
    tenant: str
    authorization_id: str


class Secrets:
    """The secrets that calls are given, and the search for them in what comes back."""

    def __init__(self, source: SecretSource) -> None:
        self._source = source
        self._searches = SecretSearches()

    async def open(self, tenant: str) -> TenantSecrets:
        """Return a tenant's secrets; it may be a while until they can be listed."""
        while True:
            try:
                return await self._source.secrets(tenant)
            except (SecretsUnavailableError, StoreFailedError):
                # A disk that fails for a moment must not become a failure of the node: of a call
                # that was made, the outcome is known, and would be lost.
                await asyncio.sleep(SECRETS_RETRY_SECONDS)

    async def search(self, tenant: str, vault: RevealingVault) -> SecretSearch | None:
        """Return the search for what a call was given and for all that the tenant has by now."""
        return self._searches.of(tenant, await self.open(tenant), vault.revealed)


class PlannedCall(msgspec.Struct, frozen=True):
    """A call whose start is noted."""

    place: Place
    step: Step
    effect_key: str
    context: dict[str, Json]


class Calls:
    """Plans, begins and ends the calls of one run."""

    def __init__(
        self,
        run_id: str,
        tenant: str,
        secrets: Secrets,
        lend: Callable[[str, float], EffectCall],
        seconds_max: float,
        figures: RunFigures,
        places: Places,
    ) -> None:
        """`lend` makes what a node gets, of its effect key and its time limit in seconds.

        A call that waits for one of the `places` has not begun: its time limit does not run.
        """
        self._places = places
        self._run_id = run_id
        self._tenant = tenant
        self._secrets = secrets
        self._lend = lend
        self._seconds_max = seconds_max
        self._figures = figures
        self.wake: Callable[[], None] = _nobody_waits
        """Called whenever there is a result to take."""
        self._planned: list[PlannedCall] = []
        self._tasks: dict[Place, asyncio.Task[None]] = {}
        self._results: list[tuple[Place, Result]] = []

    @property
    def any_open(self) -> bool:
        """True while a call is on the wire or has a result that nobody took."""
        return bool(self._tasks)

    def plan(self, call: PlannedCall) -> None:
        """Keep a call for `begin`."""
        self._planned.append(call)

    def begin(self) -> None:
        """Let the planned calls begin, whose starts are durable now."""
        for call in self._planned:
            self._tasks[call.place] = asyncio.create_task(
                self._perform(call), name=f"{self._run_id}:{call.step.node}"
            )
        self._planned.clear()

    def take(self) -> list[tuple[Place, Result]]:
        """Return the results that came since, in the order in which they came."""
        results, self._results = self._results, []
        # A call that was cut off may still bring a result, of which nobody wants to hear.
        return [
            (place, result) for place, result in results if self._tasks.pop(place, None) is not None
        ]

    def cut_off(self) -> list[Place]:
        """End the calls that have no result yet and return their places."""
        finished = {place for place, _ in self._results}
        late = [place for place in self._tasks if place not in finished]
        for place in late:
            self._tasks.pop(place).cancel()
        return late

    def abandon(self) -> None:
        """End everything, whatever came of it."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def _perform(self, call: PlannedCall) -> None:
        figures, began, code = self._figures, time.perf_counter(), CUT_OFF
        figures.calls_open += 1
        try:
            result = await self._result_of(call)
            code = "" if isinstance(result, Outcome) else result.code
        finally:
            figures.calls_open -= 1
            figures.called(call.step.component, code, time.perf_counter() - began)
        self._results.append((call.place, result))
        self.wake()

    async def _result_of(self, call: PlannedCall) -> Result:
        step = call.step
        node = step.run
        assert isinstance(node, EffectNode)
        limit = min(step.policy.timeout or self._seconds_max, self._seconds_max)
        result: Result
        search: SecretSearch | None = None
        try:
            async with self._places.place(self._tenant), asyncio.timeout(limit):
                vault = RevealingVault(await self._secrets.open(self._tenant))
                context = {**call.context, ROOT: vault}
                try:
                    result = await node.perform(context, self._lend(call.effect_key, limit))
                finally:
                    search = await self._secrets.search(self._tenant, vault)
        except TimeoutError:
            result = timed_out(step.node, limit)
        except NodeError as error:
            result = error
        except Exception as error:
            result = unexpected(self._run_id, step.node, error)
        return masked_result(result, search)


def _nobody_waits() -> None:
    """Nothing to wake yet."""


def timed_out(node: str, seconds: float | None, more: str = "") -> NodeError:
    """Make the failure of a node whose time is over; `more` ends the sentence."""
    return NodeError("timeout", f"Node '{node}' timed out after {seconds:g} s{more}.")


def unexpected(run_id: str, node: str, error: Exception) -> NodeError:
    """Make a failure of a fault of ours, so that one node can't hold its run for ever."""
    _log.error("run %s: node %s failed unexpectedly: %s", run_id, node, fault_text(error))
    kind = type(error).__name__
    return NodeError("internal_error", f"Node '{node}' failed unexpectedly ({kind}).")


def encode_result(result: Result, attempt: int, bytes_max: int) -> tuple[bytes, Result]:
    """Encode what is recorded of a result, and return the result that this then is.

    An output beyond the limit, or one that is no JSON, is a failure; of a failure that is too
    large, what was received is left out rather than the failure itself.
    """
    if isinstance(result, Outcome):
        body = _encode(result.output)
        if body is None:
            result = NodeError("output_invalid", "The output can't be written as JSON.")
        elif len(body) <= bytes_max:
            return body, result
        else:
            result = NodeError(
                "output_too_large",
                f"The output has {len(body)} bytes; the limit is {bytes_max}.",
            )
    result = NodeError(result.code, _plain(result.message), result.received)
    error = {"code": result.code, "message": result.message, "attempt": attempt}
    body = _encode({"error": error} | result.received | {"error": error})
    if body is None or len(body) > bytes_max:
        body = _encode({"error": error, "truncated": True})
    assert body is not None, "an error's code and message are plain text"
    return body, result


def _plain(text: str) -> str:
    """Return text of bounded length that can be written as UTF-8."""
    return text[:MESSAGE_LENGTH_MAX].encode("utf-8", "replace").decode()


def _encode(value: Any) -> bytes | None:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # Half a surrogate pair, an integer beyond 64 bits, nesting without end.
        return None
