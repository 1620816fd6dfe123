"""`refold export`: write the journal into a file of another format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..http.setting_types import SettingsError
from ..http.settings import Settings
from .settings_flags import takes_settings

FormatName = Literal["ndjson", "cloudevents", "ocel-json", "ocel-sqlite", "xes", "otlp", "parquet"]
_INTERRUPTED = 130
"""What a shell expects of a program that ended by an interrupt."""


@takes_settings(("data",))
def export(
    settings: Settings,
    format_: Annotated[
        FormatName,
        Parameter(
            name="format",
            help="ndjson (the complete copy, to verify and to rebuild from), cloudevents, "
            "ocel-json, ocel-sqlite and xes (for process mining), otlp (OpenTelemetry traces), "
            "parquet (needs the extra).",
        ),
    ],
    /,
    *,
    to: Annotated[Path, Parameter(help="The file to write.")],
    from_: Annotated[
        int, Parameter(name="--from", help="The first position, for runs: of their last event.")
    ] = 1,
    up_to: Annotated[
        int | None, Parameter(help="The last position; the newest if not given.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        Parameter(help="A signed checkpoint: export what it covers, and put it into NDJSON."),
    ] = None,
    run: Annotated[str, Parameter(help="Only this run.", show_default=False)] = "",
    workflow: Annotated[
        str, Parameter(help="Only this workflow and its runs.", show_default=False)
    ] = "",
    tenant: Annotated[str, Parameter(help="Only this tenant.", show_default=False)] = "",
    without_bodies: Annotated[
        bool, Parameter(negative="", help="Leave out payloads, inputs, outputs and error texts.")
    ] = False,
    force: Annotated[bool, Parameter(negative="", help="Replace the file if it exists.")] = False,
) -> int:
    """Write events of the journal into a file, also while the service runs.

    Two exports up to the same position or checkpoint are the same bytes, except for erasures. The
    file appears when it is complete; until then FILE.part grows beside it, and the same command,
    given again after an interruption, goes on where that ends (ocel and parquet begin anew).
    """
    from ..projections.exports.export import export as export_to
    from ..projections.exports.plan import Selection
    from .progress_bar import progress_bar

    _check_range(from_, up_to, checkpoint)
    selection = Selection(from_, run, workflow, tenant, not without_bodies)
    try:
        with progress_bar("export", "events") as report:
            done = export_to(
                settings.data,
                format_,
                to,
                selection,
                up_to,
                checkpoint=checkpoint,
                force=force,
                report=report,
            )
    except KeyboardInterrupt:
        print(
            "refold: the export was interrupted; give the same command again to complete it",
            file=sys.stderr,
        )
        return _INTERRUPTED
    erased = f", {done.erased} with erased bodies" if done.erased else ""
    taken_up = f", {done.taken_up} of them before an interruption" if done.taken_up else ""
    print(f"{done.events} events up to position {done.up_to}{erased}{taken_up}")
    print(f"{done.size} bytes in {done.file}")
    print(f"sha256 {done.digest}")
    return 0


def _check_range(first: int, last: int | None, checkpoint: Path | None) -> None:
    for flag, position in (("--from", first), ("--up-to", last)):
        if position is not None and position < 1:
            raise SettingsError("export", f"{flag}: positions begin at 1, not at {position}.")
    if checkpoint is not None and last is not None:
        raise SettingsError("export", "--up-to and --checkpoint exclude each other; keep one.")
