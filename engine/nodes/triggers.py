"""The trigger nodes: they check the payload of a run and make its first output.

The output is the payload with `trigger_type` and `run_id` beside its fields; those two names are
the service's own, so that a payload can't pretend to be another run.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..cloud_events import TEXT_LENGTH_MAX, TYPE_LENGTH_MAX
from ..component import ConfigError, Json, NodeConfig, Outcome, TriggerNode
from ..schedule import Overlap, ScheduleError, check_zone
from ..signatures import SignatureConfig, check_signature_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonschema_rs import ValidationError, Validator

FAULTS_MAX: Final = 20
"""How many faults of one payload are told."""
_FAULT_LENGTH_MAX = 300
_SCHEDULE_NAMES: Final = ("scheduled_at", "missed")


class TriggerConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of every trigger."""

    input_schema: dict[str, Any] | None = None
    """JSON Schema of the payload, draft 2020-12 unless `$schema` says otherwise."""


class WebhookTriggerConfig(TriggerConfig, frozen=True, kw_only=True):
    """The `data` of a `webhook_trigger`."""

    signature: SignatureConfig | None = None
    """How calls must be signed; without it, the address alone is the secret."""


class EventTriggerConfig(TriggerConfig, frozen=True, kw_only=True):
    """The `data` of an `event_trigger`."""

    event_type: str
    """The type of the events that start a run; `*` at the end stands for anything."""
    source: str = ""
    """Where they must come from, with `*` as above; "" for anywhere."""


class ScheduleTriggerConfig(TriggerConfig, frozen=True, kw_only=True):
    """The `data` of a `schedule_trigger`."""

    timezone: str = "UTC"
    """The IANA time zone of the workflow's schedule."""
    catch_up: bool = False
    """Whether each firing that was missed is made up for; else one stands for all."""
    overlap: Overlap = "allow"
    """What happens when the schedule comes due while a run that it started goes on."""
    payload: dict[str, Any] | None = None
    """What each run gets beside the times."""


class _Trigger(TriggerNode[TriggerConfig]):
    """What the triggers share, which is most of them."""

    config_type: ClassVar[type[NodeConfig]] = TriggerConfig

    def __init__(self, config: TriggerConfig) -> None:
        schema = config.input_schema
        self._validator = None if schema is None else _compile_schema(schema)

    def check_payload(self, payload: dict[str, Json]) -> list[str]:
        """Name each fault with its place, such as `payload.user.id: is a required property`."""
        if self._validator is None:
            return []
        faults = self._validator.iter_errors(payload)
        return [_describe(fault) for fault in islice(faults, FAULTS_MAX)]

    def start(self, payload: dict[str, Json], trigger_type: str, run_id: str) -> Outcome:
        """Make the run's first output."""
        return Outcome({**payload, "trigger_type": trigger_type, "run_id": run_id})


class ManualTrigger(_Trigger):
    """Starts a run that a client executes."""

    component: ClassVar[str] = "manual_trigger"


class WebhookTrigger(_Trigger):
    """Starts a run for each call of the workflow's webhook URL."""

    component: ClassVar[str] = "webhook_trigger"
    config_type = WebhookTriggerConfig

    def __init__(self, config: WebhookTriggerConfig) -> None:
        super().__init__(config)
        self.signature = config.signature
        if self.signature is not None and (errors := check_signature_config(self.signature)):
            raise ConfigError(errors)


class SyncRequestTrigger(_Trigger):
    """Starts a run for a caller who waits for its result."""

    component: ClassVar[str] = "sync_request_trigger"


class WorkflowTrigger(_Trigger):
    """Starts a run that a node of another workflow asks for."""

    component: ClassVar[str] = "workflow_trigger"


class EventTrigger(_Trigger):
    """Starts a run for each event of a type; the payload is the event."""

    component: ClassVar[str] = "event_trigger"
    config_type = EventTriggerConfig

    def __init__(self, config: EventTriggerConfig) -> None:
        super().__init__(config)
        errors: dict[str, list[str]] = {}
        if not config.event_type:
            errors["event_type"] = ["must not be empty"]
        for name, pattern in (("event_type", config.event_type), ("source", config.source)):
            if "*" in pattern[:-1]:
                errors[name] = ["may hold '*' only as its last character"]
        if len(config.event_type) > TYPE_LENGTH_MAX:
            errors["event_type"] = [f"has more than {TYPE_LENGTH_MAX} characters"]
        if len(config.source) > TEXT_LENGTH_MAX:
            errors["source"] = [f"has more than {TEXT_LENGTH_MAX} characters"]
        if errors:
            raise ConfigError(errors)
        self.event_type = config.event_type
        self._source = config.source

    def accepts(self, event_type: str, source: str) -> bool:
        """Say whether an event of this type and source starts a run."""
        from_there = not self._source or _fits(self._source, source)
        return from_there and _fits(self.event_type, event_type)


class ScheduleTrigger(_Trigger):
    """Starts a run when the workflow's schedule comes due.

    A client who executes it gets the same fields, with no `scheduled_at`.
    """

    component: ClassVar[str] = "schedule_trigger"
    config_type = ScheduleTriggerConfig

    def __init__(self, config: ScheduleTriggerConfig) -> None:
        super().__init__(config)
        self.timezone = config.timezone
        self.catch_up = config.catch_up
        self.overlap: Overlap = config.overlap
        self.payload: dict[str, Json] = config.payload or {}
        errors: dict[str, list[str]] = {}
        try:
            check_zone(config.timezone)
        except ScheduleError as error:
            errors["timezone"] = [error.fault]
        for name in _SCHEDULE_NAMES:
            if name in self.payload:
                errors[f"payload.{name}"] = ["is set by each firing"]
        if errors:
            raise ConfigError(errors)

    def check_payload(self, payload: dict[str, Json]) -> list[str]:
        """Check what is not the service's own: the fixed payload and what a client sent."""
        given = {name: value for name, value in payload.items() if name not in _SCHEDULE_NAMES}
        return super().check_payload({**self.payload, **given})

    def start(self, payload: dict[str, Json], trigger_type: str, run_id: str) -> Outcome:
        """Make the run's first output."""
        times = {"scheduled_at": None, "missed": 0}
        return super().start({**times, **self.payload, **payload}, trigger_type, run_id)


def _fits(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _compile_schema(schema: dict[str, Any]) -> Validator:
    # Imported here because most workflows have no schema, and idle memory is counted.
    from jsonschema_rs import RegexOptions, ValidationError, validator_for

    try:
        # The regular expressions run in linear time, which excludes look-around. A payload's
        # values stand nowhere in the messages, since those reach logs.
        return validator_for(
            schema,
            retriever=_refuse_reference,
            pattern_options=RegexOptions(),
            mask="value",
        )
    except ValidationError as error:
        where = "input_schema" + _dotted(error.instance_path)
        raise ConfigError({where: [_shorten(error.message)]}) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError({"input_schema": [_shorten(str(error))]}) from error


def _refuse_reference(uri: str) -> Json:
    raise ValueError("references to other documents are not followed")


def _describe(fault: ValidationError) -> str:
    from jsonschema_rs import ValidationErrorKind

    path = "payload" + _dotted(fault.instance_path)
    message = fault.message
    if isinstance(fault.kind, ValidationErrorKind.Required):
        path, message = f"{path}.{fault.kind.property}", "is a required property"
    return f"{path}: {_shorten(message)}"


def _dotted(path: Sequence[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def _shorten(text: str) -> str:
    line = text.split("\n", 1)[0]
    return line if len(line) <= _FAULT_LENGTH_MAX else line[: _FAULT_LENGTH_MAX - 1] + "…"
