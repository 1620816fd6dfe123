"""What a workflow says about its schedule, checked when it is saved.

The type and the value are fields of the workflow; time zone, `catch_up`, `overlap` and the payload
are options of its `schedule_trigger`. With another trigger the schedule has the defaults.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from .component import Json, TriggerNode
from .definition import Definition, DefinitionError
from .graph import Errors
from .nodes.triggers import ScheduleTrigger
from .schedule import Schedule, ScheduleError, moment_text, parse_schedule
from .workflows import WorkflowText

NO_SCHEDULE: Final = (None, "manual")
"""The types of a workflow that does not start by itself."""


class Planned(msgspec.Struct, frozen=True):
    """The facts of a version that are about its schedule."""

    schedule: str = ""
    next_at: int = 0


def check_schedule(type_: Any, value: Any) -> Errors:
    """Say what is wrong with a workflow's `schedule_type` and `schedule_value`.

    What isn't even text is left to whoever reads the fields.
    """
    if not all(part is None or isinstance(part, str) for part in (type_, value)):
        return {}
    try:
        _read(type_, value)
    except ScheduleError as error:
        return {error.field: [error.fault]}
    return {}


def schedule_of(text: WorkflowText, definition: Definition) -> Schedule | None:
    """Return a workflow's schedule with the options of its trigger, None without one.

    Raises:
        DefinitionError: it can't be read, or each of its runs would break the trigger's schema.
    """
    try:
        made = _read(text.schedule_type, text.schedule_value)
    except ScheduleError as error:
        raise DefinitionError({error.field: [error.fault]}) from error
    if made is None:
        return None
    trigger = definition.trigger
    if isinstance(trigger, ScheduleTrigger):
        made = msgspec.structs.replace(
            made,
            timezone=trigger.timezone,
            catch_up=trigger.catch_up,
            overlap=trigger.overlap,
        )
    # Nobody would be there to read the refusal when it comes due, so it is refused here.
    faults = trigger.check_payload(scheduled_payload(trigger, 0, 0))
    if faults:
        index = definition.graph.nodes.index(definition.graph.trigger)
        where = f"nodes[{index}].data.input_schema"
        raise DefinitionError({where: [f"refuses a scheduled run: {fault}" for fault in faults]})
    return made


def plan(schedule: Schedule | None, now_us: int, before: Planned, *, is_active: bool) -> Planned:
    """Say when a version that is saved now fires first.

    What comes due at the same times as before stays in its rhythm, and what is due already and
    not yet fired is not lost.
    """
    if schedule is None:
        return Planned()
    if not is_active:
        return Planned(schedule.text, 0)
    next_at = before.next_at
    if not next_at or not _same_times(schedule, before.schedule):
        next_at = schedule.next_after(now_us) or 0
    return Planned(schedule.text, next_at)


def scheduled_payload(trigger: TriggerNode[Any], due_us: int, missed: int) -> dict[str, Json]:
    """Make the trigger payload of a scheduled run."""
    fixed = trigger.payload if isinstance(trigger, ScheduleTrigger) else {}
    return {**fixed, "scheduled_at": moment_text(due_us), "missed": missed}


def _read(type_: Any, value: Any) -> Schedule | None:
    if type_ in NO_SCHEDULE:
        if value is not None:
            raise ScheduleError("schedule_value", "must be null without a schedule_type")
        return None
    if value is None:
        raise ScheduleError("schedule_value", f"is required for the schedule_type '{type_}'")
    return parse_schedule(type_, value)


def _same_times(schedule: Schedule, before: str) -> bool:
    # A zone that this machine no longer knows is no reason to refuse another schedule.
    return bool(before) and schedule.has_times_of(msgspec.json.decode(before, type=Schedule))
