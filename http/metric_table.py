"""The table of metrics: what operators can watch, and where each figure stands.

Imported at the first `GET /metrics`, since who is not watched need not pay for it.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Final, get_args

from ..engine.nodes.catalogue import CATALOGUE as COMPONENTS
from ..journal.events import CATALOGUE as EVENTS
from ..journal.sqlite_file import JOURNAL_FILE
from ..projections.views_file import VIEWS_FILE
from . import wire
from .docs_page import ERROR_CODES
from .metric_types import Metric, Rows, Sampled, copied, counter, gauge, times
from .services import App

_VERSION: Final = version("refold")
_FILES: Final = {
    "journal": JOURNAL_FILE,
    "journal_log": f"{JOURNAL_FILE}-wal",
    "views": VIEWS_FILE,
    "views_log": f"{VIEWS_FILE}-wal",
}


def _requests(app: App) -> Rows:
    for route in app.requests.routes:
        for digit, figures in enumerate(route.by_class):
            if figures is not None:
                yield (route.method, route.template, f"{digit}xx"), copied(figures)


def _refusals(app: App) -> Rows:
    return [((code,), app.requests.refusals[code]) for code in ERROR_CODES]


def _origins(app: App) -> Rows:
    counted = app.engine.figures.requested
    return [((origin,), counted[origin]) for origin in get_args(wire.Origin)]


def _run_durations(app: App) -> Rows:
    return [(key, copied(made)) for key, made in app.engine.figures.durations.items()]


def _events(app: App) -> Rows:
    return [((facts.type,), app.journal.figures.events[facts]) for facts in EVENTS]


def _calls(app: App) -> Rows:
    found = app.engine.figures.calls.items()
    return [(key, copied(made)) for key, made in found if key[0] in COMPONENTS]


def _call_failures(app: App) -> Rows:
    found = app.engine.figures.call_failures.items()
    return [(key, count) for key, count in found if key[0] in COMPONENTS]


_HTTP: Final = (
    Metric(
        "refold_http_request_duration_seconds",
        "histogram",
        ("method", "route", "status"),
        "From a request to its answer, by route and class of status; of a stream to its beginning. "
        "`Prefer: wait` is in it. What is at no route counts as `none`.",
        _requests,
    ),
    Metric(
        "refold_http_refusals_total",
        "counter",
        ("code",),
        "Answers that were no success, by the code in their body.",
        _refusals,
    ),
    gauge(
        "refold_http_requests_in_progress",
        "Requests whose answer is being made, this one included.",
        lambda app: app.requests.open,
    ),
    gauge(
        "refold_http_streams_open",
        "Answers that are sent part by part just now: live tails and other feeds.",
        lambda app: app.requests.streams,
    ),
    gauge(
        "refold_http_requests_waiting",
        "Requests that wait for their turn among the tenants, their bodies unread.",
        lambda app: app.intake.waiting_total,
    ),
    gauge(
        "refold_http_body_bytes",
        "What the bodies of the requests that are being served have in bytes.",
        lambda app: app.intake.bytes_total,
    ),
    counter(
        "refold_http_disconnects_total",
        "Clients that were gone before their request was complete.",
        lambda app: app.requests.hung_up,
    ),
)
_RUNS: Final = (
    Metric(
        "refold_runs_requested_total",
        "counter",
        ("origin",),
        "Runs that were accepted, by origin.",
        _origins,
    ),
    times(
        "refold_run_start_delay_seconds",
        "From a run's first event to the moment at which it is begun: the wait for a place.",
        lambda app: app.engine.figures.start_delays,
    ),
    Metric(
        "refold_run_duration_seconds",
        "histogram",
        ("origin", "status"),
        "From a run's start to its end, by origin and end: `completed`, `failed`, `cancelled`, "
        "`run_timeout`. Its count is that of ended runs.",
        _run_durations,
    ),
    gauge(
        "refold_runs_active",
        "Runs that are carried out just now.",
        lambda app: app.engine.active_total,
    ),
    gauge(
        "refold_runs_active_limit",
        "How many may be (`MAX_ACTIVE_RUNS`).",
        lambda app: app.engine.limits.active_runs_max,
    ),
    gauge(
        "refold_runs_waiting",
        "Accepted runs that wait for a place.",
        lambda app: app.engine.waiting_total,
    ),
    gauge(
        "refold_runs_waiting_limit",
        "How many may wait before new ones are refused.",
        lambda app: app.engine.limits.waiting_runs_max,
    ),
    gauge(
        "refold_runs_parked",
        "Runs that rest until a timer, a person or another run wakes them.",
        lambda app: app.engine.parked_total,
    ),
    gauge(
        "refold_runs_awaiting_person",
        "Those of them that only people can carry on.",
        lambda app: app.engine.paused_total,
    ),
    gauge(
        "refold_runs_unfinished",
        "Accepted runs that have not ended.",
        lambda app: app.engine.unfinished_total,
    ),
    gauge(
        "refold_schedules_active",
        "Schedules that wait for their next time.",
        lambda app: app.scheduler.scheduled_total,
    ),
)
_CALLS: Final = (
    Metric(
        "refold_call_duration_seconds",
        "histogram",
        ("component", "outcome"),
        "Attempts of nodes that touch the world: `succeeded`, `failed`, or `cut_off` with their "
        "run or the service. Its count is that of attempts.",
        _calls,
    ),
    Metric(
        "refold_call_failures_total",
        "counter",
        ("component", "code"),
        "Those that failed, by code; statuses by their class, such as `http_5xx`.",
        _call_failures,
    ),
    gauge(
        "refold_calls_in_progress",
        "Attempts on the wire.",
        lambda app: app.engine.figures.calls_open,
    ),
    counter(
        "refold_calls_in_doubt_total",
        "Calls that are over, and of which nobody knows whether they had their effect.",
        lambda app: app.engine.figures.in_doubt,
    ),
)
_JOURNAL: Final = (
    Metric(
        "refold_journal_events_total",
        "counter",
        ("type",),
        "Events that were committed, by type.",
        _events,
    ),
    gauge(
        "refold_journal_position",
        "The newest durable position.",
        lambda app: app.journal.head,
    ),
    times(
        "refold_journal_append_duration_seconds",
        "From an append to its answer: the wait in the queue, and the commit.",
        lambda app: app.journal.figures.appends,
    ),
    times(
        "refold_journal_commit_duration_seconds",
        "A commit of all that waited. Its count is that of commits.",
        lambda app: app.journal.figures.groups,
    ),
    times(
        "refold_journal_sync_duration_seconds",
        "The part of a commit in which the disk makes it durable.",
        lambda app: app.journal.figures.syncs,
    ),
    counter(
        "refold_journal_commit_failures_total",
        "Commits that the disk refused; nothing of them was kept or acknowledged.",
        lambda app: app.journal.figures.groups_failed,
    ),
    gauge(
        "refold_journal_queue_appends",
        "Appends that wait for the writer, or are being committed.",
        lambda app: app.journal.queued_total,
    ),
    gauge(
        "refold_journal_queue_limit",
        "How many may be before new ones are refused.",
        lambda app: app.journal.queue.count_max,
    ),
    gauge(
        "refold_journal_queue_bytes",
        "What the bodies of these appends have in bytes.",
        lambda app: app.journal.queue.total_bytes,
    ),
    gauge(
        "refold_journal_queue_bytes_limit",
        "How many bytes of bodies may wait before new ones are refused.",
        lambda app: app.journal.queue.bytes_max,
    ),
    gauge(
        "refold_journal_writable",
        "1 while the disk takes commits, 0 while it does not.",
        lambda app: app.journal.is_writable,
    ),
)
_SUBSCRIPTIONS: Final = (
    Metric(
        "refold_subscriptions",
        "gauge",
        ("status",),
        "Subscriptions that are told of events, by status: `active`, `partly_parked`, `parked`; "
        "`interrupted` are those that begin anew after a fault.",
        lambda app: [((status,), n) for status, n in app.subscriptions.count.items()],
    ),
)
_PROJECTIONS: Final = (
    Metric(
        "refold_projection_position",
        "gauge",
        ("projection",),
        "The newest position that a view includes.",
        lambda app: [((p.name,), p.position) for p in app.views.status()],
    ),
    Metric(
        "refold_projection_lag_positions",
        "gauge",
        ("projection",),
        "How many positions it is behind the journal.",
        lambda app: [((p.name,), p.lag(app.journal.head)) for p in app.views.status()],
    ),
    Metric(
        "refold_projection_unmoved_seconds",
        "gauge",
        ("projection",),
        "How long ago it took an event. Where it lags too, it stands still.",
        lambda app: [((p.name,), p.unmoved_s) for p in app.views.status()],
    ),
    Metric(
        "refold_projection_up",
        "gauge",
        ("projection",),
        "1 while it follows the journal, 0 while it is stopped or can't be written.",
        lambda app: [((p.name,), not p.error) for p in app.views.status()],
    ),
    Metric(
        "refold_projection_differs",
        "gauge",
        ("projection",),
        "1 where a comparison found rows that are not as the journal says, until they are made "
        "anew.",
        lambda app: [((p.name,), p.is_doubted) for p in app.views.status()],
    ),
    Metric(
        "refold_projection_checked_position",
        "gauge",
        ("projection",),
        "The position at which its rows were last compared with the journal, 0 before.",
        lambda app: [
            ((p.name,), p.compared.found.position if p.compared else 0) for p in app.views.status()
        ],
    ),
)
METRICS: Final = (
    Metric(
        "refold_build_info",
        "gauge",
        ("version",),
        "Always 1, with the version that serves.",
        lambda _: [((_VERSION,), 1)],
    ),
    *_HTTP,
    *_RUNS,
    *_CALLS,
    *_JOURNAL,
    *_SUBSCRIPTIONS,
    *_PROJECTIONS,
)
"""What is read in memory, on the event loop's thread."""


def sample_disk(directory: Path) -> list[Sampled]:
    """Read what the disk says of a data directory; blocks for as long as the disk does."""
    disk = shutil.disk_usage(directory)
    return [
        Sampled(
            "refold_file_bytes",
            "gauge",
            ("file",),
            "Sizes of the files in the data directory; a `_log` is SQLite's write-ahead log.",
            [((kind,), _size(directory / name)) for kind, name in _FILES.items()],
        ),
        Sampled(
            "refold_disk_free_bytes",
            "gauge",
            (),
            "What is left on the disk of the data directory.",
            [((), disk.free)],
        ),
        Sampled("refold_disk_size_bytes", "gauge", (), "The size of it.", [((), disk.total)]),
    ]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        # A log is there only while it is needed.
        return 0
