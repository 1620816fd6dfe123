"""Makes what was made, renamed and removed in a directory durable."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Sync a directory itself.

    Raises:
        OSError: the disk refuses.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Make a directory and those above it that are missing, so that a power cut leaves them.

    One that is there may have been made right before a crash, so its own name is synced too.
    Its parent may be one that this process is not allowed to read: then somebody else made it.

    Raises:
        OSError: the disk refuses, or something else has the name.
    """
    missing = [at for at in (path, *path.parents) if not at.exists()]
    for made in reversed(missing):
        made.mkdir(mode=mode if made == path else 0o777, exist_ok=True)
        sync_directory(made.parent)
    if not missing:
        path.mkdir(exist_ok=True)
        with suppress(PermissionError):
            sync_directory(path.absolute().parent)
