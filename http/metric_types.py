"""What a metric is: its name, kind, labels and words, and where its values are read.

A label's value is one of a closed set that stands in the code: a route's template, a status, an
origin, an event's type, a component, a code, a projection, a status of a subscription. No id, no
tenant, no text of anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

from ..journal.figures import Histogram
from .services import App


class Durations(msgspec.Struct, frozen=True):
    """A copy of a histogram."""

    bounds: Sequence[float]
    counts: Sequence[int]
    """How many fell into each bucket, those beyond the last bound at the end."""
    total: float


Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Value: TypeAlias = float | Durations
Row: TypeAlias = tuple[tuple[str, ...], Value]
"""The values of the labels, and the value itself."""
Rows: TypeAlias = Iterable[Row]


class Metric(msgspec.Struct, frozen=True):
    """One metric."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    read: Callable[[App], Rows]


class Sampled(msgspec.Struct, frozen=True):
    """A metric with its values of one moment."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    rows: Sequence[Row]


def sample(metrics: Iterable[Metric], app: App) -> list[Sampled]:
    """Read metrics, on the event loop's thread."""
    return [Sampled(m.name, m.kind, m.labels, m.help, list(m.read(app))) for m in metrics]


def gauge(name: str, words: str, read: Callable[[App], float]) -> Metric:
    """Return a metric that goes up and down, without labels."""
    return Metric(name, "gauge", (), words, lambda app: [((), read(app))])


def counter(name: str, words: str, read: Callable[[App], float]) -> Metric:
    """Return a metric that goes up only, without labels."""
    return Metric(name, "counter", (), words, lambda app: [((), read(app))])


def times(name: str, words: str, read: Callable[[App], Histogram]) -> Metric:
    """Return a histogram without labels."""
    return Metric(name, "histogram", (), words, lambda app: [((), copied(read(app)))])


def copied(figures: Histogram) -> Durations:
    """Copy a histogram."""
    return Durations(figures.bounds, figures.counts, figures.total)
