"""The spans that a journal's runs become: what hangs on what, and ids that stay."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from refold.journal import events as e
from refold.projections.exports import spans
from refold.projections.exports.export import export
from refold.projections.exports.plan import Selection
from refold.projections.exports.source import Head
from refold.projections.exports.spans import RunSpans, Span, root_of
from tests.support import export_kit as kit
from tests.support import run_events as made

RUN = "fl_run_a"


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, kit.Lives]:
    """A directory with the journal of everything."""
    directory = tmp_path_factory.mktemp("formats")
    return directory, asyncio.run(kit.write_rich(directory))


@pytest.fixture(scope="module")
def traces(rich: tuple[Path, kit.Lives]) -> list[dict[str, Any]]:
    """The spans of that journal, as JSON."""
    file = rich[0] / "traces.jsonl"
    export(rich[0], "otlp", file, Selection())
    lines = [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
    return [span for li in lines for span in li["resourceSpans"][0]["scopeSpans"][0]["spans"]]


def named(traces: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the one span of a name."""
    (found,) = [span for span in traces if span["name"] == name]
    return found


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    """Return a span's attributes by their keys."""
    return {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}


def span_of(traces: list[dict[str, Any]], run: str) -> dict[str, Any]:
    """Return a run's own span."""
    return next(
        span
        for span in traces
        if span["name"].startswith("run ") and attributes(span)["refold.run"] == run
    )


def test_a_node_in_an_iterator_hangs_on_its_item_also_where_two_items_have_one_path(
    traces: list[dict[str, Any]],
) -> None:
    """Which iterator a node stands in, the definition says where the events do not."""
    for side in ("left", "right"):
        inner, item = named(traces, f"text_transform in_{side}"), named(traces, f"item {side}")
        assert inner["parentSpanId"] == item["spanId"]
        assert item["parentSpanId"] == named(traces, f"iterator {side}")["spanId"]
    assert named(traces, "item right")["status"] == {"code": 2}
    assert "status" not in named(traces, "item left")


def test_a_run_that_another_one_started_is_in_its_trace_under_the_call(
    rich: tuple[Path, kit.Lives], traces: list[dict[str, Any]]
) -> None:
    """One trace tells the whole story."""
    lives = rich[1]
    parent = span_of(traces, lives.parent)
    for child, node, ended in (
        (lives.child, "sub", "completed"),
        (lives.loose, "let", "requested"),
    ):
        run = span_of(traces, child)
        call = next(s for s in traces if attributes(s).get("refold.child") == child)
        assert run["traceId"] == call["traceId"] == parent["traceId"]
        assert run["parentSpanId"] == call["spanId"]
        assert call["parentSpanId"] == named(traces, f"trigger_workflow {node}")["spanId"]
        assert attributes(call)["refold.status"] == ended
        assert call["kind"] == spans.CLIENT
    assert "parentSpanId" not in parent
    assert parent["kind"] == spans.SERVER


def test_a_resumed_run_links_to_its_original_and_repeats_no_span_of_it(
    rich: tuple[Path, kit.Lives], traces: list[dict[str, Any]]
) -> None:
    """What was replayed took its time in the original."""
    lives = rich[1]
    original, resumed = span_of(traces, lives.failed), span_of(traces, lives.resumed)
    (link,) = resumed["links"]
    assert (link["traceId"], link["spanId"]) == (original["traceId"], original["spanId"])
    assert resumed["traceId"] != original["traceId"]
    of_resumed = [s["name"] for s in traces if s["traceId"] == resumed["traceId"]]
    assert of_resumed == ["text_transform ship", f"run {kit.WORKFLOW}"]
    assert attributes(resumed)["enduser.pseudo.id"] == kit.ACTOR


def test_each_attempt_is_a_span_with_its_error_its_time_and_its_message(
    rich: tuple[Path, kit.Lives], traces: list[dict[str, Any]]
) -> None:
    """A retried call is two spans side by side."""
    run = span_of(traces, rich[1].failed)
    first, second = [s for s in traces if s["name"] == "webhook ship"]
    for number, span in enumerate((first, second), start=1):
        assert span["parentSpanId"] == run["spanId"]
        assert attributes(span)["refold.attempt"] == str(number)
        assert attributes(span)["error.type"] == "http_503"
        assert span["kind"] == spans.CLIENT
        assert span["status"]["code"] == 2
        assert int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]) == 10**9
    assert run["status"] == {"code": 2, "message": "no"}
    erased = attributes(trigger(traces, run))
    assert erased["refold.body_erased"] is True
    asked = named(traces, "form ask")
    moments = [moment["name"] for moment in asked["events"]]
    assert moments == ["interaction.requested", "interaction.submitted"]
    assert asked["status"] == {"code": 2, "message": "stopped"}


def trigger(traces: list[dict[str, Any]], run: dict[str, Any]) -> dict[str, Any]:
    """Return the span of a run's trigger."""
    return next(
        s
        for s in traces
        if s["name"] == "manual_trigger t" and s.get("parentSpanId") == run["spanId"]
    )


class NoPast:
    """Knows no other run and no definition."""

    def root(self, run: str) -> str:
        """Return the run itself."""
        return run

    def owner(self, workflow: str, version: int, node: str) -> str:
        """Return no iterator."""
        del workflow, version, node
        return ""


def folded(*facts: e.Facts) -> list[Span]:
    """Fold a run's events to spans."""
    run, found = RunSpans(RUN, NoPast()), list[Span]()
    for at, one in enumerate((made.requested_facts(), made.RUN_STARTED, *facts), start=100):
        raw = msgspec.Raw(b"{}")
        head = Head("", at, "", "", raw, f"e{at}", "j", "", 1, "", RUN, "acme", one.type, at)
        found += run.spans_of(head, one)
    return found


def test_an_attempt_that_a_crash_cut_off_and_that_went_on_is_one_span() -> None:
    """The recovery is a moment of it."""
    (span,) = folded(made.started("n", at=10), made.started("n", at=15), made.succeeded("n"))
    assert (span.started_at, span.ended_at) == (10, 20)
    assert [(moment.name, moment.at) for moment in span.moments] == [("recovered", 15)]


def test_what_is_still_open_when_its_run_ends_ends_with_it() -> None:
    """A span without an end would never be seen."""
    began = e.IterationStarted(iteration="0", node="each", started_at=12)
    inner = e.IterationStarted(iteration="0.3", node="deep", started_at=13)
    asked = e.ChildRequested(
        child="fl_run_b", iteration="", node="sub", waits=1, workflow="fl_w", workflow_version=1
    )
    found = folded(
        made.started("each"),
        began,
        inner,
        made.started("sub"),
        asked,
        made.interrupted("sub"),
        e.RunCancelled(code="cancelled"),
    )
    names = [span.name for span in found]
    assert names == ["webhook sub", "call fl_w", "item each", "item deep", "run fl_w"]
    assert all(span.is_error for span in found if span.name != "call fl_w")
    by_name = {span.name: span for span in found}
    assert by_name["item each"].parent == spans.attempt_span(RUN, "", "each", 1)
    assert by_name["item deep"].parent == spans.attempt_span(RUN, "0", "deep", 1)


def test_spans_of_two_places_never_share_an_id() -> None:
    """A node's name may hold what parts the rest."""
    ids = [
        spans.attempt_span("r", "0", "a", 1),
        spans.attempt_span("r", "", "0/1/a", 1),
        spans.attempt_span("r", "", "a", 1),
        spans.attempt_span("r", "0", "a", 2),
        spans.item_span("r", "0", "a"),
        spans.call_span("r"),
        spans.run_span("r"),
    ]
    assert len(set(ids)) == len(ids)
    assert {len(id_) for id_ in ids} == {spans.SPAN_BYTES}
    assert spans.run_span("fl_run_a").hex() == "da152c4f33fc1dd9", "ids are a storage format"


def test_a_circle_of_parents_ends() -> None:
    """A journal that was edited must not keep an export for ever."""
    circle = made.requested_facts(parent_run=RUN)
    assert root_of(RUN, lambda _: circle, 50) == RUN
    assert root_of(RUN, lambda _: None, 50) == RUN
