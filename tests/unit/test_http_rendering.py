"""How folded state and stored bytes become the objects of the contract."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from refold.http import rendering
from refold.journal import events as e
from refold.projections.run_state import LogEntry, RunState

REQUESTED = e.RunRequested(
    chosen_node="",
    depth=0,
    idempotency_digest="",
    idempotency_key="",
    idempotency_scope="",
    in_doubt="",
    kept="",
    origin="execute",
    original_run="",
    original_version=0,
    parent_iteration="",
    parent_node="",
    parent_run="",
    payload_run="",
    replayed_total=0,
    trigger_type="manual",
    workflow="fl_1",
    workflow_version=1,
)
PAYLOAD = b'{"by":"me","payload":{"b":1.0,"a":[]}}'


def _shown(output: bytes | None, **state: Any) -> Any:
    entry = LogEntry("0" * 26, "a", "text_transform", "success", 3, 2, 1, "", "", 7, 7)
    run = RunState("fl_run_1", requested=REQUESTED, log=[entry], **state)
    bodies = {1: PAYLOAD, **({} if output is None else {7: output})}
    return msgspec.json.encode(rendering.run(run, bodies, 1, logs=True)).decode()


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (b'{"a":1.0,"b":{}}', '{"a":1.0,"b":{}}'),
        (b"7", '{"value":7}'),
        (b'"{"', '{"value":"{"}'),
        (b"[1,{}]", '{"value":[1,{}]}'),
        (b"null", '{"value":null}'),
        (None, '{"erased":true}'),
    ],
)
def test_an_output_is_always_an_object(output: bytes | None, shown: str) -> None:
    """An object keeps its very bytes, anything else is wrapped, what was erased says so."""
    assert f'"output":{shown},' in _shown(output)


def test_a_payload_keeps_its_bytes() -> None:
    """The order of keys and the form of numbers are the client's."""
    assert '"trigger_payload":{"b":1.0,"a":[]},' in _shown(b"{}")


def test_a_duration_is_never_negative() -> None:
    """Clocks step back; a run that never started took no time."""
    assert json.loads(_shown(b"{}", started_at=9, ended_at=5))["duration_in_seconds"] == 0
    assert json.loads(_shown(b"{}", ended_at=5))["duration_in_seconds"] == 0
    assert json.loads(_shown(b"{}", started_at=5))["duration_in_seconds"] is None
    shown = json.loads(_shown(b"{}", started_at=1_000_000, ended_at=3_500_000))
    assert shown["duration_in_seconds"] == 2.5


def test_an_erased_message_is_told_from_none() -> None:
    """A failed run always says something; a completed one never does."""
    assert json.loads(_shown(b"{}", status="failed", message_at=9))["error_message"] == "(erased)"
    assert json.loads(_shown(b"{}", status="completed"))["error_message"] is None


@pytest.mark.parametrize(
    ("path", "shown"), [("", None), ("0", [0]), ("3.0", [3, 0]), ("10.2.7", [10, 2, 7])]
)
def test_a_path_inside_iterators_is_an_array_of_numbers(path: str, shown: list[int] | None) -> None:
    """The outermost index first; null outside of iterators."""
    entry = LogEntry("0" * 26, "a", "text_transform", "success", 3, 2, 1, path, "", 7, 7)
    run = RunState("fl_run_1", requested=REQUESTED, log=[entry])
    made = json.loads(msgspec.json.encode(rendering.run(run, {1: PAYLOAD}, 1, logs=True)))
    assert made["logs"][0]["iteration"] == shown
