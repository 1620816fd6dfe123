"""Compiles single forms, opens them and answers them."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.component import AnswerError, ConfigError, Outcome
from refold.engine.nodes.catalogue import compile_node
from refold.engine.nodes.form import Form


def form(*fields: dict[str, Any], **data: Any) -> Form:
    """Compile a form with these fields."""
    node = compile_node({"data": {"componentId": "form", "fields": fields, **data}}, "nodes[0]")
    assert isinstance(node, Form)
    return node


def answer(
    node: Form, values: dict[str, Any], action: str = "submit", **context: Any
) -> dict[str, Any]:
    """Open a form, answer it, and return the values that were kept."""
    outcome = node.answer(node.ask(context), action, values, "ada")
    assert isinstance(outcome, Outcome)
    kept: dict[str, Any] = outcome.output["values"]
    return kept


def refusal(node: Form, values: dict[str, Any], action: str = "submit") -> dict[str, list[str]]:
    """Open a form, answer it unfittingly, and return what is wrong with the answer."""
    with pytest.raises(AnswerError) as caught:
        node.answer(node.ask({}), action, values, "ada")
    return caught.value.errors


def faults(*fields: dict[str, Any], **data: Any) -> dict[str, list[str]]:
    """Return why a form can't be saved, by path inside its data."""
    with pytest.raises(ConfigError) as caught:
        form(*fields, **data)
    prefix = "nodes[0].data."
    assert all(path.startswith(prefix) for path in caught.value.errors)
    return {path.removeprefix(prefix): what for path, what in caught.value.errors.items()}
