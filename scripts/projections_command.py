"""`refold projections`: list the projections, how far each is, and the digest of its rows."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ..http.settings import Settings
from .settings_flags import takes_settings

_DIFFERENT = 1


@takes_settings(("data", "projection", "search"))
def projections(
    settings: Settings,
    *names: Annotated[str, Parameter(help="Projections; all by default.")],
    verify: Annotated[
        bool,
        Parameter(
            negative="",
            help="Fold the journal again, apart, and compare: exit code 1 if any rows differ.",
        ),
    ] = False,
) -> int:
    """List name, version, position, lag and digest of each projection.

    It reads the files, so it works while the service runs and while it does not. A digest depends
    on the journal alone: equal positions have equal digests, on any machine.
    """
    from ..projections.built_in import BUILT_IN
    from ..projections.checking import listed
    from ..projections.loading import find
    from ..projections.search_projections import references
    from .tables import console, plain_table
    from .verify_projections import told, verify_projections

    named = [*settings.projection, *references(settings.search)]
    known = [*BUILT_IN, *(made.projection for made in find(named))]
    if verify:
        found = verify_projections(settings.data, names, known)
        for checked in found:
            print(told(checked))
        return 0 if all(checked.is_equal for checked in found) else _DIFFERENT
    rows = [
        (row.name, str(row.version), str(row.position), str(row.lag), row.digest[:16] or "-")
        for row in listed(settings.data, names, projections=known)
    ]
    columns = ("name", "version", "position", "lag", "digest")
    console().print(plain_table("Projections", columns, rows))
    return 0
