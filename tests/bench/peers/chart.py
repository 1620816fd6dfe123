"""Draws the comparison: a bar a system, as a PNG."""

# matplotlib types its keyword arguments only in part.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from refold.scripts.bench.report import number


def draw(rates: dict[str, float], path: Path) -> None:
    """Draw completed runs a second of each system, on a logarithmic scale."""
    names = sorted(rates, key=lambda name: rates[name])
    canvas = Figure(figsize=(8, 0.45 * len(names) + 1.2), layout="constrained")
    axes = canvas.subplots()
    bars = axes.barh(names, [rates[name] for name in names])
    axes.bar_label(bars, [number(rates[name]) for name in names], padding=3)
    axes.set_xscale("log")
    axes.set_xlabel("completed runs a second, 5 steps each, 64 clients that wait (logarithmic)")
    axes.margins(x=0.1)
    canvas.savefig(path, dpi=120)
