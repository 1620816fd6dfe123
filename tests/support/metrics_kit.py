"""Reads what `/metrics` answers with the parsers of `prometheus_client`, as a scraper would."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, cast

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.support.service import Client, Reply

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Key = tuple[str, frozenset[tuple[str, str]]]
_parse_openmetrics = cast(
    "Callable[[str], Iterable[Any]]", openmetrics.text_string_to_metric_families
)
"""The library says no types here."""


class Scraped:
    """The samples of one answer."""

    def __init__(self, reply: Reply) -> None:
        assert reply.status == 200, reply.body
        self.text = reply.body.decode()
        self.media = reply.headers["content-type"]
        parse = (
            _parse_openmetrics if "openmetrics" in self.media else text_string_to_metric_families
        )
        self.kinds: dict[str, str] = {}
        self.samples: dict[Key, float] = {}
        for family in parse(self.text):
            self.kinds[family.name] = family.type
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.samples, "no series is told twice"
                self.samples[key] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        """Return a sample; one that is not there fails."""
        return self.samples[name, frozenset(labels.items())]

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the samples of a name that are not 0, by their labels in alphabetical order."""
        return {
            tuple(value for _, value in sorted(labels)): value
            for (named, labels), value in self.samples.items()
            if named == name and value
        }

    def label_values(self) -> set[str]:
        """Return every value of every label."""
        return {value for _, labels in self.samples for _, value in labels}


def scraped(client: Client, **headers: str) -> Scraped:
    """Ask for the metrics."""
    return Scraped(client.get("/metrics", **headers))


def scraped_once(client: Client, holds: Callable[[Scraped], bool], seconds: float = 30) -> Scraped:
    """Ask for the metrics until something holds, since what is watched goes on by itself."""
    give_up = time.monotonic() + seconds
    while not holds(found := scraped(client)):
        assert time.monotonic() < give_up, found.text
        time.sleep(0.01)
    return found
