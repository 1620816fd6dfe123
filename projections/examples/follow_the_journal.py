"""Follows the journal and keeps its own position: each event exactly once, however often it dies.

REFOLD_TOKEN=… python follow_the_journal.py http://127.0.0.1:8080 events.db
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any


def follow(url: str, token: str, after: int) -> Iterator[tuple[int, Any]]:
    """Yield positions and events; no event where a heartbeat only moves the position on."""
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {token}"}
    query = f"{url}/journal/entries?hidden=false&after={after}"
    # A heartbeat comes every 15 seconds: longer silence is a broken connection.
    with urllib.request.urlopen(
        urllib.request.Request(query, headers=headers), timeout=40
    ) as lines:
        fields: dict[str, str] = {}
        for line in lines:
            name, _, fields[name] = line.decode().rstrip("\n").partition(": ")
            if line == b"\n":
                if "id" in fields:
                    yield int(fields["id"]), json.loads(fields.get("data", "null"))
                fields = {}


def main(url: str, file: str) -> None:
    """Keep what comes, and how far it came, in one transaction: that is what makes it once."""
    db = sqlite3.connect(file, isolation_level=None)
    # A power cut may undo the newest events, position included, and then they come again.
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE IF NOT EXISTS seen (position INTEGER PRIMARY KEY, type, leaf)")
    db.execute("CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY, position)")
    db.execute("INSERT OR IGNORE INTO place VALUES (1, 0)")
    while True:
        (after,) = db.execute("SELECT position FROM place").fetchone()
        try:
            for position, event in follow(url, os.environ["REFOLD_TOKEN"], after):
                db.execute("BEGIN")
                if event:
                    row = (position, event["type"], event["leaf"])
                    db.execute("INSERT INTO seen VALUES (?, ?, ?)", row)
                db.execute("UPDATE place SET position = ?", (position,))
                db.execute("COMMIT")
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 429:
                sys.exit(error.read().decode())
        # The service is away, or has closed the feed: it is not asked again at once.
        time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
