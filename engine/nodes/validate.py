"""The node that checks a value by a JSON Schema: `validate`."""

from __future__ import annotations

from typing import ClassVar

from ..component import ConfigError, Context, Json, NodeConfig, Outcome, PureNode
from ..json_schemas import JsonSchema
from .shaping import check_result, compile_source


class ValidateConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `validate`."""

    source: Json
    """A path or template of the value, or any JSON with templates."""
    schema: Json
    """JSON Schema, draft 2020-12 unless its `$schema` says otherwise."""


class Validate(PureNode[ValidateConfig]):
    """Leaves by `success` or `failure`; the output is `{"valid", "errors", "value"}`."""

    component: ClassVar[str] = "validate"
    config_type = ValidateConfig
    handles = ("success", "failure")

    def __init__(self, config: ValidateConfig) -> None:
        errors: dict[str, list[str]] = {}
        try:
            self._source = compile_source(config.source, "source")
        except ConfigError as error:
            errors |= error.errors
        try:
            self._schema = JsonSchema(config.schema, "schema")
        except ConfigError as error:
            errors |= error.errors
        if errors:
            raise ConfigError(errors)

    def run(self, context: Context) -> Outcome:
        """Check; the value stands in the output, so that the branches need not know its source."""
        value = check_result(self._source.render(context))
        faults = self._schema.check(value)
        errors = [{"path": fault.path, "message": fault.message} for fault in faults]
        output = {"valid": not errors, "errors": errors, "value": value}
        return Outcome(output, "failure" if errors else "success")
