"""What operators watch: the metrics of the service, in the formats of Prometheus."""

from __future__ import annotations

import asyncio
from pathlib import Path

from .call import Answer, Call
from .metric_types import Sampled, sample
from .services import App


async def metrics(app: App, call: Call) -> Answer:
    """Return every metric: plain text, or OpenMetrics 1.0 where `Accept` prefers it.

    Everything is counted from the start of the process on, over all tenants together. Who may
    read it is a setting (`METRICS`).
    """
    from . import metric_table

    samples = sample(metric_table.METRICS, app)
    accept = call.header(b"accept") or ""
    body, media = await asyncio.to_thread(_write, samples, app.data, accept)
    return Answer(200, body, ((b"content-type", media.encode()),))


def _write(samples: list[Sampled], data: Path, accept: str) -> tuple[bytes, str]:
    """Add what the disk says, and write all of it, beside the event loop."""
    from . import metric_table, metric_text

    return metric_text.write([*samples, *metric_table.sample_disk(data)], accept)
