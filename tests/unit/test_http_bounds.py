"""The page says of each bound what the code says."""

from __future__ import annotations

from pathlib import Path

from refold.engine import lanes
from refold.engine.limits import Limits
from refold.engine.outbound import CONNECTIONS_MAX
from refold.http import feeds, protocol
from refold.http.assembly import BODIES_BYTES
from refold.http.settings import Settings
from refold.journal import append_queue
from refold.projections import projector

PAGE = Path(__file__).parents[2] / "http" / "README.md"


def row(name: str) -> str:
    """Return the bound of a row of the table."""
    rows = [line.split(" | ") for line in PAGE.read_text("utf-8").splitlines()]
    return next(cells[1] for cells in rows if cells[0] == f"| {name}")


def test_the_table_of_bounds_says_what_the_code_says() -> None:
    """A bound that was changed is changed there, too."""
    settings, limits = Settings(), Limits()
    wanted = {
        "connections of clients": [settings.max_connections],
        "requests that wait for a turn": [settings.max_waiting_requests_per_tenant],
        "bodies of requests that are being served": [BODIES_BYTES],
        "live tails, feeds and other streams": [settings.max_feeds_per_tenant],
        "accepted runs that wait for a place": [
            limits.waiting_runs_max,
            settings.max_waiting_runs_per_tenant,
        ],
        "appends that wait for the disk": [append_queue.QUEUE_MAX, append_queue.QUEUE_BYTES_MAX],
        "calls of nodes on the wire": [CONNECTIONS_MAX, CONNECTIONS_MAX // 4],
        "requests to subscribers on the wire": [CONNECTIONS_MAX, CONNECTIONS_MAX // 2],
        "events held for a subscription": [lanes.WAITING_MAX, lanes.LANE_MAX],
        "newest events held for all feeds": [feeds.RECENT_MAX],
        "events on their way to the views": [projector.QUEUED_MAX],
    }
    for name, numbers in wanted.items():
        for number in numbers:
            assert f"{number:,}" in row(name), (name, number)
    head = row("a request that is not whole")
    assert f"{protocol.HEAD_BYTES_MAX // 1024} KiB" in head
    assert f"`REQUEST_SECONDS_MAX` ({settings.request_seconds_max:g})" in head
