"""Writes metrics in the text formats of Prometheus and of OpenMetrics 1.0.

The formats themselves, and the figures of the process, are `prometheus_client`'s. Imported at the
first `GET /metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final, cast

from prometheus_client import GC_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry
from prometheus_client import exposition as plain
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from .metric_types import Durations, Sampled

PLAIN: Final = "text/plain"
OPENMETRICS: Final = "application/openmetrics-text"
_openmetrics: Final = cast("Callable[[CollectorRegistry], bytes]", openmetrics.generate_latest)
"""The library says no types here."""


class _Samples(Collector):
    """Hands over what was read."""

    def __init__(self, samples: Iterable[Sampled]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Family]:
        """Return everything in the library's terms."""
        return map(_family, self._samples)


def write(samples: Iterable[Sampled], accept: str) -> tuple[bytes, str]:
    """Return the text of these metrics and those of the process, and its media type.

    `accept` is the request's header. The client library can read it too, but puts what it finds
    there into the answer.
    """
    registry = CollectorRegistry()
    registry.register(_Samples(list(samples)))
    registry.register(PROCESS_COLLECTOR)
    registry.register(GC_COLLECTOR)
    if prefers_openmetrics(accept):
        return _openmetrics(registry), openmetrics.CONTENT_TYPE_LATEST
    return plain.generate_latest(registry), plain.CONTENT_TYPE_PLAIN_0_0_4


def prefers_openmetrics(accept: str) -> bool:
    """Tell whether a client would rather have OpenMetrics 1.0 than the plain format."""
    wanted = {PLAIN: 0.0, OPENMETRICS: 0.0}
    for offer in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in offer.split(";"))
        given = dict(p.split("=", 1) for p in parameters if "=" in p)
        if kind == OPENMETRICS and given.get("version", "1.0.0") != "1.0.0":
            continue
        if kind in wanted:
            wanted[kind] = max(wanted[kind], _quality(given.get("q", "1")))
    return wanted[OPENMETRICS] > 0 and wanted[OPENMETRICS] >= wanted[PLAIN]


def _quality(text: str) -> float:
    """Read a weight of RFC 9110; what is none counts as 0."""
    whole, _, rest = text.partition(".")
    is_number = whole in ("0", "1") and len(rest) <= 3 and (rest or "0").isdecimal()
    return min(float(text), 1.0) if is_number and text.isascii() else 0.0


def _family(sampled: Sampled) -> Family:
    name, words, labels = sampled.name, sampled.help, sampled.labels
    if sampled.kind == "histogram":
        made = HistogramMetricFamily(name, words, labels=labels)
        for values, durations in sampled.rows:
            assert isinstance(durations, Durations), "a histogram's value"
            bounds = [*map(str, durations.bounds), "+Inf"]
            buckets = list(zip(bounds, accumulate(durations.counts), strict=True))
            made.add_metric(values, buckets, durations.total)
        return made
    kind = CounterMetricFamily if sampled.kind == "counter" else GaugeMetricFamily
    family = kind(name, words, labels=labels)
    for values, value in sampled.rows:
        assert not isinstance(value, Durations), "a plain number"
        family.add_metric(values, value)
    return family
