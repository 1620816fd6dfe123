"""Shows figures: tables, and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from .figure import Figure
from .service import machine


def print_table(figures: Sequence[Figure], title: str) -> None:
    """Print a line for each figure, with its floor and ratio where it has them."""
    from ..tables import console, plain_table

    shown = console()
    for work in dict.fromkeys(figure.work for figure in figures):
        rows = [_row(figure) for figure in figures if figure.work == work]
        headings = ("measured", "value", "unit", "floor", "times", "at most", "the floor is")
        shown.print(plain_table(work, headings, rows))
    shown.print(title)
    shown.print(", ".join(f"{name} {value}" for name, value in machine().items()))


def _row(figure: Figure) -> tuple[str, ...]:
    ratio, floor = figure.ratio, figure.floor
    missed = " !" if figure.is_kept is False else ""
    return (
        figure.name,
        number(figure.value),
        figure.unit,
        "" if floor is None else number(floor),
        "" if ratio is None else f"{ratio:.2f}",
        _limit(figure) + missed,
        figure.floor_name,
    )


def _limit(figure: Figure) -> str:
    if figure.limit is None:
        return ""
    if figure.floor is None and figure.better == "more":
        return f"(least {figure.limit:,.4g})"
    return f"{figure.limit:,.4g}"


def as_json(figures: Sequence[Figure], **more: Any) -> str:
    """Return figures and the machine that they were measured on."""
    rows = [msgspec.to_builtins(figure) | {"ratio": figure.ratio} for figure in figures]
    return json.dumps({"figures": rows, "machine": machine(), **more}, indent=2)


def number(value: float) -> str:
    """Return a figure with as many digits as it deserves."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
