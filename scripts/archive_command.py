"""`refold archive`: seal old runs into signed segments, and let their bodies leave the database."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..http.setting_types import SettingsError
from ..http.settings import Settings
from .settings_flags import takes_settings
from .steps_bar import steps_bar

_DAY_SECONDS = 86_400
_UNITS = {"look": "runs", "release": "bodies", "scrub": "segments", "compact": "files"}


@takes_settings(("data", "checkpoint_directory"))
def archive(
    settings: Settings,
    *,
    to: Annotated[
        Path | None,
        Parameter(help="Folder of the segments; `segments` in the data directory if not given."),
    ] = None,
    before: Annotated[
        str, Parameter(help="Runs that ended before this date or time (UTC).", show_default=False)
    ] = "",
    older_than: Annotated[
        int | None, Parameter(help="Runs that ended more than so many days ago.")
    ] = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Say what would be archived, and change nothing.")
    ] = False,
    scrub: Annotated[
        bool,
        Parameter(
            negative="",
            help="Remove from the segments what the journal says is erased, and archive nothing.",
        ),
    ] = False,
) -> int:
    """Move the bodies of old runs out of the database into signed, verified segments.

    The service of the data directory has to be stopped. Archived runs are still listed, with
    every entry, status and time; a body then reads as the segment that holds it. A run stays
    while a younger rerun or resume needs it. The command can be killed at any moment: given
    again, it completes what it had begun. At the end the database file is rewritten, for which the
    disk needs twice the room of what is left in it.
    """
    from ..journal import archive as archiving
    from ..journal.segment_verifier import DIRECTORY

    folder = to or settings.data / DIRECTORY
    if scrub:
        with steps_bar(_UNITS) as tell:
            went = archiving.scrub(settings.data, folder, tell, settings.checkpoint_directory)
        print(f"{went} erased bodies removed from the segments in {folder}")
        return 0
    before_us = _before(before, older_than)
    if dry_run:
        with steps_bar(_UNITS) as tell:
            plan = archiving.plan(settings.data, before_us, tell)
        print(f"{plan.runs} runs with {plan.bodies} bodies, {plan.size} bytes, would go")
        print(f"into {plan.segments} segments in {folder}")
        return 0
    with steps_bar(_UNITS) as tell:
        made = archiving.archive(
            settings.data, folder, before_us, tell, settings.checkpoint_directory
        )
    print(f"{made.runs} runs archived: {made.bodies} bodies, {made.size} bytes")
    for name in made.names:
        print(f"{folder / name}")
    return 0


def _before(before: str, older_than: int | None) -> int:
    """Return the time, in microseconds, that runs must have ended before.

    A day at least lies between: until then a repeated request is given its first answer again.
    """
    now = time.time()
    if bool(before) == (older_than is not None):
        raise SettingsError("archive", "give either --before DATE or --older-than DAYS.")
    if older_than is not None:
        if not 1 <= older_than <= 36_500:
            raise SettingsError("archive", "--older-than: from 1 to 36500 days.")
        return int((now - older_than * _DAY_SECONDS) * 1_000_000)
    try:
        at = datetime.fromisoformat(before)
    except ValueError:
        raise SettingsError(
            "archive", "--before: a date such as 2025-10-31, or a date with a time."
        ) from None
    seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if not 0 <= seconds <= now - _DAY_SECONDS:
        raise SettingsError("archive", "--before: a time that is at least a day ago.")
    return int(seconds * 1_000_000)
