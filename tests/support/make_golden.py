"""Makes a golden journal of the present catalogue, once; or says anew what the folds make of all.

python -m tests.support.make_golden NAME        a new directory; an existing one is refused
python -m tests.support.make_golden --folded    after a fold has changed on purpose
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from refold.journal import ids
from refold.journal.envelope import source
from refold.journal.journal import Commit, Metadata, NewEvent, StreamWrite
from refold.journal.sqlite_file import JOURNAL_FILE
from tests.support import golden
from tests.support.golden_history import history
from tests.support.journal_kit import START_US, FakeClock, opened, raw

_ENTRIES = "SELECT entry FROM event ORDER BY position"
_BODIES = (
    "SELECT position, salt, data FROM body "
    "WHERE position NOT IN (SELECT position FROM erasure) "
    "AND position NOT IN (SELECT position FROM archive) ORDER BY position"
)


def make(directory: Path) -> None:
    """Write the history through the real journal and keep its bytes.

    Raises:
        FileExistsError: there is such a directory; what is golden is never made again.
    """
    directory.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(_play(Path(scratch)))
        with raw(Path(scratch) / JOURNAL_FILE) as connection:
            entries = [bytes(row[0]) for row in connection.execute(_ENTRIES)]
            bodies = [
                {"position": position, "salt": salt.hex(), "body": data.decode()}
                for position, salt, data in connection.execute(_BODIES)
            ]
    (directory / golden.ENTRIES).write_bytes(b"".join(entry + b"\n" for entry in entries))
    lines = "".join(json.dumps(body, ensure_ascii=False) + "\n" for body in bodies)
    (directory / golden.BODIES).write_bytes(lines.encode())
    with (directory.parent / golden.SUMS).open("a", encoding="ascii") as out:
        for name, digest in golden.frozen(directory).items():
            out.write(f"{digest}  {name}\n")
    tell(directory)


def tell(directory: Path) -> None:
    """Write what today's folds make of a golden journal."""
    text = json.dumps(golden.everything(directory), indent=1, ensure_ascii=False)
    (directory / golden.FOLDED).write_text(text + "\n", encoding="utf-8")


async def _play(directory: Path) -> None:
    clock = FakeClock(START_US)
    async with opened(directory, clock) as journal:
        made = list(await journal.read_all())
        versions = Counter({ids.SYS: 1})
        for number, step in enumerate(history(), 1):
            clock.time_us += 1000
            new = NewEvent(f"{number:026}", step.facts, step.body)
            if step.replays:
                copied = made[step.replays]
                new = NewEvent(
                    new.id,
                    step.facts,
                    None,
                    None,
                    source(copied),
                    copied.payload,
                    copied.body_at,
                )
            tenant = "" if step.archives else "acme"
            meta = Metadata(tenant=tenant, actor="a1" * 32, corr="request-1", cause=made[-1].id)
            write = StreamWrite(step.stream, versions[step.stream], [new], meta)
            erased = [made[step.erases].position] if step.erases else []
            archived = [made[step.archives].position] if step.archives else []
            versions[step.stream] += 1
            whole = Commit([write], erased=erased, archived=archived)
            made.extend((await journal.append(whole)).events)


def main() -> int:
    """Do what the arguments say."""
    (what,) = sys.argv[1:]
    if what == "--folded":
        for directory in golden.directories():
            tell(directory)
        return 0
    try:
        make(golden.GOLDEN / what)
    except FileExistsError:
        sys.stderr.write(f"{what} exists: golden files are never made again, take another name\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
