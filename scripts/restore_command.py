"""`refold restore`: make a data directory of a backup, which goes on as a new generation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..http.setting_types import SettingsError
from .steps_bar import steps_bar

GENERATION_MAX = 1_000_000


def restore(
    backup: Annotated[Path, Parameter(help="The folder that `refold backup` made.")],
    to: Annotated[Path, Parameter(help="The data directory to make; not there, or empty.")],
    /,
    *,
    keys: Annotated[
        Path | None, Parameter(help="The folder of the keys that `refold backup --keys-to` made.")
    ] = None,
    generation: Annotated[
        int | None,
        Parameter(help="Go on as this generation, if the next one was taken by another restoring."),
    ] = None,
) -> int:
    """Make a data directory of a backup, after checking every file and every entry of it.

    What came after the backup is not in it, and the original may have signed it: so the journal
    goes on as a new generation, which `journal.restored` says and every checkpoint shows. Never
    let both go on: each would call the world for the same runs. Runs that were unfinished carry on
    from the backup; a call made after it is repeated, with the same idempotency key. What was
    erased after the backup has to be erased again.
    """
    from ..http.keys import JWT_SECRET_NAME, OLD_VAULT_KEYS_NAME, VAULT_KEY_NAME
    from ..journal import backup as backups
    from ..journal.checkpoint_keys import KEY_FILE

    if generation is not None and not 2 <= generation <= GENERATION_MAX:
        raise SettingsError("generation", f"--generation: from 2 to {GENERATION_MAX}.")
    names = (VAULT_KEY_NAME, OLD_VAULT_KEYS_NAME, JWT_SECRET_NAME, KEY_FILE)
    with steps_bar({"copy": "files", "verify": "entries"}) as tell:
        made = backups.restore(
            backup, to, tell=tell, keys_from=keys, key_names=names, generation=generation or 0
        )
    print(f"{to}: {made.position} events; {made.sentence}")
    print(f"It goes on as generation {made.generation}.")
    if not (to / VAULT_KEY_NAME).exists():
        print(f"Without keys: set REFOLD_VAULT_KEY, or put {VAULT_KEY_NAME} there, before serving.")
    return 0
