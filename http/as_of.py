"""At which position a GET is answered: the journal's head, or the moment that `as_of` names."""

from __future__ import annotations

import re
from typing import Final

from .call import Call
from .errors import parameter_invalid
from .services import App
from .times import from_wire

NAME: Final = "as_of"
HEADER: Final = "X-Refold-Position"
_FORM: Final = re.compile(r"([pv])([1-9][0-9]{0,15})")
_FORMS: Final = "must be p<position>, a time such as 2025-10-31T12:00:00Z, or of a run v<version>"


async def position_of(app: App, call: Call) -> int:
    """Return the position that the whole answer is to be of.

    Without `as_of` it is the head as it is now, so everything that was disclosed so far is in
    the answer, and nothing that is committed while it is made.

    Raises:
        RequestError: 422, `as_of` names no moment of the past.
        NotFoundError: it names a version of a run that there is not.
    """
    text = call.query.get(NAME)
    if text is None:
        return app.journal.head
    found = _FORM.fullmatch(text)
    if found is None:
        return await _of_time(app, text)
    number = int(found[2])
    if found[1] == "v":
        return await _of_version(app, call, number)
    if number > app.journal.head:
        raise parameter_invalid(NAME, "is a position that the journal has not reached")
    return number


def refuse_as_of(call: Call) -> None:
    """Refuse to answer of the present where somebody asks of the past.

    Raises:
        RequestError: 422, there is an `as_of`.
    """
    if NAME in call.query:
        raise parameter_invalid(NAME, "can't be asked of this path")


async def _of_version(app: App, call: Call, version: int) -> int:
    run_id = call.params.get("runId")
    if run_id is None or "otherRunId" in call.params:
        raise parameter_invalid(NAME, "can be a version only where one run is asked for")
    position = await app.runs.position_of(call.principal.tenant, run_id, version)
    if not 1 <= position <= app.journal.head:
        raise parameter_invalid(NAME, "is a version that the run has not reached")
    return position


async def _of_time(app: App, text: str) -> int:
    try:
        at_us = from_wire(text)
    except (ValueError, OverflowError):
        raise parameter_invalid(NAME, _FORMS) from None
    position = await app.journal.position_at(at_us)
    if position is None:
        raise parameter_invalid(NAME, "is a time that has not come yet")
    if position == 0:
        raise parameter_invalid(NAME, "is a time before the journal began")
    return position
