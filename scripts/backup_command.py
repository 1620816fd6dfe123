"""`refold backup`: copy the journal while it is served, and prove the copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..http.settings import Settings
from .settings_flags import takes_settings
from .steps_bar import steps_bar


@takes_settings(("data", "checkpoint_directory"))
def backup(
    settings: Settings,
    to: Annotated[Path, Parameter(help="The folder to make; it must not be there, or be empty.")],
    /,
    *,
    keys_to: Annotated[
        Path | None,
        Parameter(help="A second folder, for the keys; without it no key leaves the service."),
    ] = None,
    segments: Annotated[
        Path | None,
        Parameter(help="Folder of the segments; `segments` in the data directory if not given."),
    ] = None,
) -> int:
    """Back the journal up, beside the running service or without it.

    The copy is one moment of the journal: every event that was acknowledged before is in it. It is
    verified entry by entry before it appears under its name. Views and the tree are left out, since
    they are made from the journal. The keys are left out too: whoever has them and the backup has
    every secret in the vault, so keep them apart. --keys-to writes those that the service keeps
    in its data directory (those that come from settings are yours to keep).
    """
    from importlib.metadata import version

    from ..http.keys import JWT_SECRET_NAME, OLD_VAULT_KEYS_NAME, VAULT_KEY_NAME
    from ..journal.backup import back_up
    from ..journal.checkpoint_keys import KEY_FILE

    kept_in = settings.checkpoint_directory or settings.data
    names = (VAULT_KEY_NAME, OLD_VAULT_KEYS_NAME, JWT_SECRET_NAME)
    keys = [*(settings.data / name for name in names), kept_in / KEY_FILE]
    with steps_bar({"verify": "entries", "digest": "files"}) as tell:
        made = back_up(
            settings.data,
            to,
            refold=version("refold"),
            tell=tell,
            kept_in=kept_in,
            segments=segments,
            keys=keys,
            keys_to=keys_to,
        )
    print(f"{to}: {made.position} events, verified")
    if keys_to is not None:
        print(f"{keys_to}: the keys; keep them away from the backup")
    return 0
