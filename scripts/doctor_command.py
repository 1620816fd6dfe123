"""`refold doctor`: look at everything that a service needs, a line each."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ..http.settings import Settings
from .settings_flags import takes_settings

WARNED, FAILED = 10, 20


@takes_settings()
def doctor(
    settings: Settings,
    *,
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", help="Print the findings as JSON.")
    ] = False,
) -> int:
    """Check versions, directory, disk, journal, clock, keys, tree, views and egress; only reads.

    Exit code 0: all is well. 10: something should be seen to. 20: something has to be done before
    the service can be relied on. It works while the service runs and while it does not; give it
    the settings of the service. The newest events are checked; `refold verify` checks all.
    """
    import msgspec

    from .doctor_checks import examined
    from .tables import plain

    findings = list(examined(settings))
    states = {finding.state for finding in findings}
    code = FAILED if "fail" in states else WARNED if "warn" in states else 0
    if as_json:
        print(msgspec.json.encode({"code": code, "findings": findings}).decode())
        return code
    for finding in findings:
        remedy = f" -> {plain(finding.remedy)}" if finding.remedy else ""
        print(f"{finding.state:<5}{finding.name:<12} {plain(finding.found)}{remedy}")
    return code
