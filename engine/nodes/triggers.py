"""The trigger nodes: they check the payload of a run and make its first output.

The output is the payload with `trigger_type` and `run_id` beside its fields; those two names are
the service's own, so that a payload can't pretend to be another run.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..component import ConfigError, Json, NodeConfig, Outcome, TriggerNode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonschema_rs import ValidationError, Validator

FAULTS_MAX: Final = 20
"""How many faults of one payload are told."""
_FAULT_LENGTH_MAX = 300


class TriggerConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of every trigger."""

    input_schema: dict[str, Any] | None = None
    """JSON Schema of the payload, draft 2020-12 unless `$schema` says otherwise."""


class _Trigger(TriggerNode[TriggerConfig]):
    """What the triggers share, which is all but the name."""

    config_type = TriggerConfig

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
