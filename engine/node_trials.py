"""Tries out one node on a context that somebody made up; nothing of it is journaled.

A pure node runs and a node with an effect has its effect, with real secrets, by the same egress
rules and limits as in a run. What waits, asks a person, starts another run or runs a body says
what it would do, and does nothing.

A context may hold a `vault` of its own, whose items are then ordinary values. Without one the
tenant's vault is behind it, and what came back is searched for its secrets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from .calls import EffectCall, Result, encode_result, timed_out, unexpected
from .component import (
    ChildNode,
    EffectNode,
    FormNode,
    IteratorNode,
    Json,
    NodeError,
    Outcome,
    TriggerNode,
    WaitNode,
    is_object,
)
from .definition import Definition, DefinitionError, Step, compile_definition
from .errors import BusyError
from .execution import Services
from .nodes.catalogue import CATALOGUE, component_of
from .policy import SECOND_US
from .secret_search import SecretSearch, masked_result
from .secrets import ROOT, MaskedVault, RevealingVault

TRIALS_MAX: Final = 64
"""How many trials may be under way at a time."""
TRIGGER_TYPE: Final = "test"
_NO_RUN: Final = "test"
_NODE_ID: Final = "node"
_TRIGGER: Final = {"id": "trigger", "data": {"componentId": "manual_trigger"}}


class Trial(msgspec.Struct, frozen=True):
    """What came of a node; `output` is JSON as a run would have recorded it."""

    status: Literal["success", "error"]
    output: bytes
    handle: str


class _Asked(msgspec.Struct, frozen=True):
    """What somebody wants to try out."""

    tenant: str
    step: Step
    context: Mapping[str, Json]
    authorization_id: str


class NodeTrials:
    """Tries out nodes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._open = 0

    def compile(self, raw: dict[str, Json]) -> Step:
        """Compile a node, or say what is wrong with it by paths such as `node.data.url`.

        Raises:
            DefinitionError: it can't run.
        """
        kind = CATALOGUE.get(component_of(raw) or "")
        is_trigger = kind is not None and issubclass(kind, TriggerNode)
        node = raw if raw.get("id") is not None else {**raw, "id": _NODE_ID}
        nodes = [node] if is_trigger else [_TRIGGER, node]
        try:
            definition: Definition = compile_definition(
                nodes, [], nodes_max=self._services.limits.nodes_max
            )
        except DefinitionError as error:
            prefix = f"nodes[{len(nodes) - 1}]"
            raise DefinitionError(
                {_moved(path, prefix): faults for path, faults in error.errors.items()}
            ) from error
        return definition.steps[node["id"]]

    async def run(
        self, tenant: str, step: Step, context: Mapping[str, Json], authorization_id: str
    ) -> Trial:
        """Try out a node that was compiled; `authorization_id` is as in a workflow, "" for none.

        Raises:
            BusyError: too many are under way.
        """
        if self._open >= TRIALS_MAX:
            raise BusyError("Too many nodes are being tried out; try again later.")
        self._open += 1
        try:
            result = await self._result(_Asked(tenant, step, context, authorization_id))
        finally:
            self._open -= 1
        body, result = encode_result(result, 1, self._services.limits.output_bytes_max)
        if isinstance(result, Outcome):
            return Trial("success", body, result.handle)
        return Trial("error", body, "")

    async def _result(self, trial: _Asked) -> Result:
        step = trial.step
        shown = {ROOT: MaskedVault(), **trial.context}
        try:
            if isinstance(step.run, EffectNode):
                # What is recorded is rendered first here too, so that its faults show the same.
                step.run.prepare(shown)
                return await self._perform(trial)
            return self._outcome(step, shown)
        except NodeError as error:
            return error
        except Exception as error:
            return unexpected(_NO_RUN, step.node, error)

    def _outcome(self, step: Step, context: dict[str, Json]) -> Outcome:
        """Return the outcome of a pure node, and of others what they would do.

        Raises:
            NodeError: it fails.
        """
        node = step.run
        if isinstance(node, TriggerNode):
            return _start(node, context)
        if isinstance(node, WaitNode):
            seconds = node.duration_us(context) / SECOND_US
            limit = self._services.limits.delay_seconds_max
            if seconds > limit:
                message = f"Node '{step.node}' would wait {seconds:g} s; the limit is {limit:g} s."
                raise NodeError("delay_invalid", message)
            return Outcome({"waits_seconds": seconds})
        if isinstance(node, FormNode):
            return Outcome({"form": node.ask(context)})
        if isinstance(node, ChildNode):
            wanted = node.request(context)
            return Outcome(
                {
                    "workflow_id": wanted.workflow_id,
                    "input": wanted.payload,
                    "wait": wanted.waits,
                }
            )
        if isinstance(node, IteratorNode):
            plan = node.plan(context)
            return Outcome({"item_count": len(plan.items), "concurrency": plan.concurrency})
        assert not isinstance(node, EffectNode), "effects are performed"
        return node.run(context)

    async def _perform(self, trial: _Asked) -> Result:
        node, policy = trial.step.run, trial.step.policy
        assert isinstance(node, EffectNode)
        services = self._services
        seconds_max = services.limits.node_seconds_max
        limit = min(policy.timeout or seconds_max, seconds_max)
        call = EffectCall(
            f"test:{services.ids.new()}",
            limit,
            services.outbound,
            services.mailer,
            services.authorizations,
            trial.tenant,
            trial.authorization_id,
        )
        result: Result
        search: SecretSearch | None = None
        try:
            async with asyncio.timeout(limit):
                vault = RevealingVault(await services.secrets.open(trial.tenant))
                try:
                    result = await node.perform({ROOT: vault, **trial.context}, call)
                finally:
                    search = await services.secrets.search(trial.tenant, vault)
        except TimeoutError:
            result = timed_out(trial.step.node, limit)
        except NodeError as error:
            result = error
        return masked_result(result, search)


def _start(node: TriggerNode[Any], context: Mapping[str, Json]) -> Outcome:
    payload = context.get("payload")
    if not is_object(payload):
        payload = {}
    faults = node.check_payload(payload)
    if faults:
        raise NodeError("payload_invalid", "; ".join(faults))
    return node.start(payload, TRIGGER_TYPE, _NO_RUN)


def _moved(path: str, prefix: str) -> str:
    return f"node{path.removeprefix(prefix)}" if path.startswith(prefix) else path
