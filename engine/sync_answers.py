"""What the caller of a synchronous workflow is answered, once its run has completed.

Pure. A `text_transform` with `is_response` that succeeded answers for the run, the one that
settled last where several did; else the result of the run is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..projections.node_state import NodeState
from . import strict_json
from .component import Json, is_object
from .definition import Definition
from .nodes.transforms import TextTransform
from .results import final_nodes, result_of


def answering_nodes(definition: Definition, nodes: Mapping[str, NodeState]) -> list[str]:
    """Return the nodes whose outputs make the answer."""
    responses = [
        node
        for node in definition.graph.nodes
        if _is_response(definition, node) and node in nodes and nodes[node].phase == "succeeded"
    ]
    if responses:
        return [max(responses, key=lambda node: nodes[node].body_at)]
    return final_nodes(definition.graph, nodes)


def answer_of(definition: Definition, nodes: Sequence[str], outputs: Mapping[str, Json]) -> Json:
    """Make the answer of the outputs of the answering nodes.

    Of a response it is what its template came to, without the `text` or `value` that other nodes
    find it under; a text that is JSON answers as that JSON.
    """
    if len(nodes) == 1 and _is_response(definition, nodes[0]):
        step = definition.steps[nodes[0]].run
        assert isinstance(step, TextTransform), "only these are responses"
        output = outputs[nodes[0]]
        return output if step.is_object else _unwrapped(output)
    return result_of(nodes, outputs)


def _is_response(definition: Definition, node: str) -> bool:
    step = definition.steps[node].run
    return isinstance(step, TextTransform) and step.is_response


def _unwrapped(output: Json) -> Json:
    if not is_object(output) or len(output) != 1:
        return output
    if isinstance(text := output.get("text"), str):
        try:
            return strict_json.decode(text)
        except strict_json.InvalidJsonError:
            return text
    return output.get("value", output)
