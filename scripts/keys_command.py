"""`refold keys`: show, change and retire the keys that sign checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from ..http.setting_types import SettingsError
from ..http.settings import Settings
from .settings_flags import takes_settings

Action = Literal["show", "rotate-checkpoint", "retire-checkpoint"]


@takes_settings(("data", "checkpoint_directory"))
def keys(
    settings: Settings,
    action: Annotated[
        Action,
        Parameter(
            help="show prints the public keys as they were last used; rotate-checkpoint makes a "
            "new key, which signs beside the old ones; retire-checkpoint ends that."
        ),
    ] = "show",
    /,
) -> int:
    """Change the key of checkpoints, with an overlap in which auditors learn the new one.

    The service takes the change up at its next start. Until the old keys are retired, each
    checkpoint has a signature of every key, so whoever trusts an old one can check the new one.
    """
    from ..journal.checkpoint_keys import KEY_FILE, load_keys, retire_keys, rotate_key
    from ..journal.checkpoints import PUBLIC_FILE

    directory = settings.checkpoint_directory or settings.data
    path = directory / KEY_FILE
    if not path.exists():
        raise SettingsError("data", f"There is no {KEY_FILE} in {directory}; the service makes it.")
    if action == "show":
        print((directory / PUBLIC_FILE).read_text(encoding="utf-8"), end="")
        return 0
    if action == "rotate-checkpoint":
        rotate_key(path)
    else:
        retire_keys(path)
    count = len(load_keys(path))
    print(f"{count} key{'s' if count > 1 else ''} in {path}; restart the service to sign with them")
    return 0
