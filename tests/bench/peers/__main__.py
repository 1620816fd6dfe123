"""Compares systems: python -m tests.bench.peers [NAME…] [--rounds 3] [--seconds 5] [--home DIR]

Rounds are interleaved, so that each round has every system on the same machine, and medians are
shown. What is not installed (README.md says how) is left out by name.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from refold.scripts.bench.clients import CLIENTS, drive
from refold.scripts.bench.service import machine
from tests.bench.peers.chart import draw
from tests.bench.peers.libraries import Dbos, DbosPostgres, Eventsourcing, Prefect, Temporal
from tests.bench.peers.peer import MissingPeerError, Peer, Running, ask, running
from tests.bench.peers.servers import N8n, Refold, Restate

PEERS: Final[tuple[Peer, ...]] = (
    Refold(),
    Restate(),
    Eventsourcing(),
    Dbos(),
    DbosPostgres(),
    Temporal(),
    N8n(),
    Prefect(),
)
READERS: Final = 8
ONE_BY_ONE: Final = 30
COLUMNS: Final = {
    "runs/s": "W1c runs/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_ms": "CPU ms/run",
    "one_ms": "W2 p50 ms",
    "reads/s": "W4 reads/s",
    "ready_s": "W8 start s",
    "idle_mb": "idle MB",
    "peak_mb": "loaded MB",
}


def measure(target: Running, seconds: int) -> dict[str, float]:
    """Return what one system does in one round."""
    idle = target.rss_mb()
    times: list[float] = []
    until = time.monotonic() + seconds
    while len(times) < ONE_BY_ONE and time.monotonic() < until:
        began = time.perf_counter()
        ask(target.port, target.run)
        times.append(1000 * (time.perf_counter() - began))
    drive(target.port, target.run, 1)
    before = target.cpu_s()
    load = drive(target.port, target.run, seconds)
    made = load.answers - load.refused
    found = {
        "runs/s": load.per_second,
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
        "cpu_ms": 1000 * (target.cpu_s() - before) / max(1, made),
        "refused": float(load.refused),
        "one_ms": statistics.median(times),
        "ready_s": target.ready_s,
        "idle_mb": idle,
        "peak_mb": target.rss_mb(),
    }
    if target.read is not None:
        reads = drive(target.read_port, target.read, max(2, seconds // 2), READERS)
        found["reads/s"] = reads.per_second
    return found


def compared(
    peers: list[Peer], home: Path, rounds: int, seconds: int
) -> dict[str, list[dict[str, float]]]:
    """Measure each system once a round; one that can't be started is told of and left out."""
    figures: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        for peer in peers:
            with tempfile.TemporaryDirectory(prefix="peers-") as directory:
                # A database server may run as somebody else.
                Path(directory).chmod(0o755)
                try:
                    with running(peer, home, Path(directory, "data")) as target:
                        figures[peer.name].append(measure(target, seconds))
                except OSError as error:
                    print(f"round {number + 1}: {peer.name}: {error}", file=sys.stderr)
    return {name: found for name, found in figures.items() if found}


def main() -> int:
    """Compare the systems that were asked for, all by default."""
    parser = argparse.ArgumentParser(description="Compares systems that execute workflows.")
    parser.add_argument("names", nargs="*", help=", ".join(peer.name for peer in PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("PEERS_HOME", "peers")))
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--chart", type=Path, help="also draw them as a PNG here")
    asked = parser.parse_args()
    home = asked.home.resolve()
    peers: list[Peer] = []
    versions: dict[str, str] = {}
    for peer in PEERS:
        if asked.names and peer.name not in asked.names:
            continue
        try:
            versions[peer.name] = peer.version(home)
            peers.append(peer)
        except MissingPeerError as error:
            print(f"{peer.name} is left out: {error}", file=sys.stderr)
    figures = compared(peers, home, asked.rounds, asked.seconds)
    medians = {name: _medians(rounds) for name, rounds in figures.items()}
    _print(medians, versions, {peer.name: peer.durability for peer in peers}, asked)
    if asked.json:
        shown = {"medians": medians, "rounds": figures, "versions": versions, "machine": machine()}
        asked.json.write_text(json.dumps(shown, indent=2))
    if asked.chart:
        draw({name: found["runs/s"] for name, found in medians.items()}, asked.chart)
    return 0


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(made[key] for made in rounds) for key in rounds[0]}


def _print(
    medians: dict[str, dict[str, float]],
    versions: dict[str, str],
    durability: dict[str, str],
    asked: Any,
) -> None:
    print(
        f"{CLIENTS} clients that each wait for the end of a run of 5 steps; {asked.rounds} "
        f"interleaved rounds of {asked.seconds} s, medians. {machine()}\n"
    )
    print("| system | version | " + " | ".join(COLUMNS.values()) + " |")
    print("| --- | --- |" + " ---: |" * len(COLUMNS))
    for name, found in medians.items():
        shown = [f"{found[key]:.3g}" if key in found else "–" for key in COLUMNS]
        print(f"| {name} | {versions[name]} | " + " | ".join(shown) + " |")
    print()
    for name in medians:
        print(f"- {name}: {durability[name]}; refused {medians[name]['refused']:.0f}")


if __name__ == "__main__":
    sys.exit(main())
