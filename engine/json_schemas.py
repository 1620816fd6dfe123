"""JSON Schema that can't be turned against the service (jsonschema-rs underneath).

1. Patterns run in linear time, which excludes look-around and back-references.
2. `$ref` leads to a place in the same schema (`#/$defs/name`); nothing is fetched.
3. A schema whose parts are applied over and over (each reference twice, some levels deep) would
   take for ever on a small value. So the work of a check is counted before it is done.
4. Messages say where and what, and never hold the value, which may be long or confidential.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .component import ConfigError, Json, NodeError, is_object
from .schema_work import SchemaFault, SchemaWork

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

FAULTS_MAX: Final = 50
"""How many faults of one value are told."""
FAULTS_WORK_MAX: Final = 200_000
"""The work up to which all faults are looked for; beyond it only the first is told."""
SCHEMA_SIZE_MAX: Final = 64 * 1024
"""The longest schema, in bytes of JSON."""
_MESSAGE_LENGTH_MAX: Final = 300
_PATTERN_SIZE_MAX: Final = 1024 * 1024


class SchemaError(msgspec.Struct, frozen=True):
    """One fault of a value."""

    path: str
    """Such as `user.tags[0]`; empty for the value as a whole."""
    message: str


class JsonSchema:
    """A compiled schema, draft 2020-12 unless its `$schema` says otherwise."""

    __slots__ = ("_validator", "_work")

    def __init__(self, schema: Json, field: str) -> None:
        """Compile; raise `ConfigError` with a path that begins with `field`."""
        if not isinstance(schema, bool) and not is_object(schema):
            raise ConfigError({field: ["must be an object, or true or false"]})
        # Imported here because most workflows have no schema, and idle memory is counted.
        from jsonschema_rs import RegexOptions, ValidationError, validator_for

        try:
            if len(msgspec.json.encode(schema)) > SCHEMA_SIZE_MAX:
                raise ConfigError({field: [f"is longer than {SCHEMA_SIZE_MAX} bytes"]})
            self._work = SchemaWork(schema)
            self._validator: Any = validator_for(
                schema,
                retriever=_refuse_reference,
                pattern_options=RegexOptions(size_limit=_PATTERN_SIZE_MAX),
                validate_formats=True,
                mask="value",
            )
        except SchemaFault as fault:
            raise ConfigError({f"{field}{fault.where}": [fault.message]}) from fault
        except ValidationError as error:
            where = f"{field}{_dotted(error.instance_path)}"
            raise ConfigError({where: [_shorten(error.message)]}) from error
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError({field: [_shorten(str(error))]}) from error

    def check(self, value: Json) -> list[SchemaError]:
        """List what is wrong with a value, sorted by place; empty when it is valid.

        Raises `NodeError` with code `schema_limit` when the check would take too long.
        """
        work = self._work.of(value)
        if self._validator.is_valid(value):
            return []
        # All faults are collected before the first is told, so there may not be very many.
        if work > FAULTS_WORK_MAX:
            return [self._first(value)]
        told = (_fault(error) for error in islice(self._validator.iter_errors(value), FAULTS_MAX))
        # A part that is applied by several ways says the same thing each time.
        return sorted(dict.fromkeys(told), key=lambda fault: fault.path)

    def _first(self, value: Json) -> SchemaError:
        from jsonschema_rs import ValidationError

        try:
            self._validator.validate(value)
        except ValidationError as error:
            return _fault(error)
        raise NodeError("schema_limit", "The schema gives no clear answer for the value")


def _refuse_reference(uri: str) -> Json:
    raise ValueError("references to other documents are not followed")


def _fault(error: ValidationError) -> SchemaError:
    from jsonschema_rs import ValidationErrorKind

    path, message = _dotted(error.instance_path), error.message
    if isinstance(error.kind, ValidationErrorKind.Required):
        path, message = f"{path}.{error.kind.property}", "is required"
    return SchemaError(_shorten(path.removeprefix(".")), _shorten(message))


def _dotted(path: Sequence[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def _shorten(text: str) -> str:
    line = text.split("\n", 1)[0]
    return line if len(line) <= _MESSAGE_LENGTH_MAX else line[: _MESSAGE_LENGTH_MAX - 1] + "…"
