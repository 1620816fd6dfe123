"""Copies of a service's journal that were changed or erased from, and commands that read them."""

from __future__ import annotations

import asyncio
import base64
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from refold.engine.erasure import Erasures
from refold.journal.clock import IdSource, SystemClock
from refold.journal.journal import Commit, Metadata
from refold.journal.sqlite_file import open_reader
from refold.journal.sqlite_store import open_journal

from .service import Service


def command(name: str, *arguments: str, data: Path) -> list[str]:
    """Return the words of a command on a data directory."""
    program = str(Path(sys.executable).with_name("refold"))
    return [program, name, *arguments, "--data", str(data)]


def clean_environ() -> dict[str, str]:
    """Return the environment without settings of Refold."""
    return {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}


def refold(name: str, *arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with its output piped."""
    return subprocess.run(
        command(name, *arguments, data=data),
        env=clean_environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def changed_copy(service: Service, where: Path, *statements: tuple[str, Any]) -> Path:
    """Copy the journal and change it as no program of ours would, if there are statements."""
    where.mkdir(exist_ok=True)
    with (
        closing(open_reader(service.data / "journal.db")) as source,
        closing(sqlite3.connect(where / "journal.db", isolation_level=None)) as copy,
    ):
        source.backup(copy)
        triggers = copy.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers if statements else ():
            copy.execute(f"DROP TRIGGER {name}")
        for statement, parameters in statements:
            copy.execute(statement, parameters)
    return where


def erase(service: Service, where: Path, at: int) -> None:
    """Erase the body at a position of a copy of a service's journal."""
    key = base64.b64decode((service.data / "vault_key").read_bytes())
    asyncio.run(_erase(where, key, at))


async def _erase(data: Path, key: bytes, at: int) -> None:
    clock = SystemClock()
    async with open_journal(data, key, clock) as journal:
        (event,) = await journal.read_all(at - 1, 1)
        meta = Metadata(event.tenant, "", "")
        await Erasures(journal, IdSource(clock)).append(
            lambda: Commit([]), [at], target=event.stream, reason="asked", meta=meta
        )
