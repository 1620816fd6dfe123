"""A loaded service whose disk refuses this and that, and what it must be like when it is mended."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from tests.support.fault_shim import (
    EVER,
    GROWING,
    OPEN,
    READ,
    RENAME,
    SYNC,
    TRUNCATE,
    UNLINK,
    WRITE,
    Shim,
)
from tests.support.kill_trial import Trial, trial
from tests.support.service import Service

KINDS: Final = (
    (WRITE, "journal.db-wal"),
    (SYNC, "journal.db-wal"),
    (READ, "journal.db"),
    (WRITE | TRUNCATE | SYNC, "journal.db"),
    (WRITE, "views.db"),
    (READ, "views.db"),
    (OPEN | TRUNCATE | WRITE | SYNC, "views.db"),
    (WRITE, "tree/"),
    (READ, "tree/"),
    (OPEN, "checkpoint.note"),
    (WRITE, "checkpoint.note"),
    (SYNC, "checkpoint.note"),
    (RENAME | UNLINK, "checkpoint.note"),
    (GROWING, ""),
    (GROWING | SYNC, ""),
    (OPEN, ""),
    (READ, ""),
    (SYNC, ""),
    (WRITE, ""),
)
"""Which calls fail, of which files; a full disk and a dead one are among them."""
FAULT_SECONDS_MAX: Final = 2.0
"""How long the disk is left alone until it has refused something: some files change seldom."""
READY_SECONDS_MAX: Final = 30.0


@contextmanager
def io_trial(scratch: Path, seed: int) -> Generator[tuple[Trial, Shim]]:
    """Conduct a trial on a disk that can be told to fail."""
    disk = scratch / "disk"
    disk.mkdir()
    shim = Shim(disk, scratch / "shim")
    with closing(shim), trial(disk / "data", seed) as made:
        made.service.environ.update(shim.environment())
        made.begin()
        yield made, shim


def break_disk(shim: Shim, choice: random.Random, pause: threading.Event) -> str:
    """Let the disk refuse something, mend it, and say what it was; it counts its faults itself."""
    operations, path = choice.choice(KINDS)
    error = choice.choice((errno.EIO, errno.ENOSPC))
    times = choice.choice((1, 2, 5, EVER))
    before = shim.faults
    after, half = choice.randrange(6), choice.random() < 0.5
    shim.fail(operations, error, path, after=after, times=times, half=half)
    for _ in range(int(FAULT_SECONDS_MAX / 0.02)):
        if shim.faults > before:
            break
        pause.wait(0.02)
    pause.wait(choice.random() * 0.3)
    shim.mend()
    return f"operations {operations} on {path or 'any file'}: {errno.errorcode[error]}"


def is_mended(service: Service, pause: threading.Event) -> bool:
    """Wait until the service says of itself that all is well, without a restart."""
    client = service.client()
    try:
        for _ in range(int(READY_SECONDS_MAX / 0.05)):
            reply = client.get("/readyz")
            if reply.status == 200 and reply.json["signing"] == "signing":
                return True
            pause.wait(0.05)
        return False
    finally:
        client.close()
