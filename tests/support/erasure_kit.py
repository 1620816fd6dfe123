"""What tests of erasure share: asking for one, and looking for what it left in files."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from .service import Client, Reply

ERASED = {"erased": True}
WINDOW = 16
"""How many bytes in a row of what was erased are a leak."""


def ask(client: Client, **named: Any) -> Reply:
    """Ask for an erasure."""
    return client.post("/journal/erasures", named)


def erase(client: Client, **named: Any) -> dict[str, Any]:
    """Erase what is named and return the answer."""
    reply = ask(client, **named)
    assert reply.status == 200, reply.body
    found: dict[str, Any] = reply.json
    return found


def canary(size: int) -> str:
    """Return random text, of which every window is found nowhere else."""
    return os.urandom(size // 2).hex()


def traces(directory: Path, *canaries: str) -> dict[str, int]:
    """Return how many windows of canaries each file of a directory holds; clean ones are left out.

    Inside the service's own process this would drop SQLite's locks: it is for other processes.
    """
    windows = {
        text[at : at + WINDOW].encode() for text in canaries for at in range(len(text) - WINDOW + 1)
    }
    found: dict[str, int] = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        data = path.read_bytes()
        # Aligned looks would miss what was cut: every place of the file is one.
        total = sum(data[at : at + WINDOW] in windows for at in range(len(data) - WINDOW + 1))
        if total:
            found[str(path.relative_to(directory))] = total
    return found


def erasures_told(data: Path) -> int:
    """Count the erasures that are durable, read from the file past the service."""
    with closing(sqlite3.connect(f"file:{data / 'journal.db'}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM erasure").fetchone()[0])


def asked_beside(client: Client, **named: Any) -> tuple[threading.Thread, list[Reply]]:
    """Ask for an erasure on a thread; its answer comes into the list."""
    replies: list[Reply] = []

    def call() -> None:
        try:
            replies.append(ask(client, **named))
        except OSError:
            # The service was killed.
            return

    thread = threading.Thread(target=call)
    thread.start()
    return thread, replies
