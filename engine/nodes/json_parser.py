"""The node that reads text as JSON: `json_parser`."""

from __future__ import annotations

from typing import ClassVar, Final

from ..component import (
    ConfigError,
    Context,
    Json,
    NodeConfig,
    NodeError,
    Outcome,
    PureNode,
    is_object,
)
from ..strict_json import InvalidJsonError, decode
from ..template_values import kind_of
from ..templates import Template, compile_json_text, compile_text, compile_value
from .shaping import ValuePath, check_result

SOURCE_LENGTH_MAX: Final = 1024 * 1024
"""The longest text that is read, in characters."""


class JsonParserConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `json_parser`."""

    source: str
    """The text, as a template. What is no text any more is taken as it is."""
    path: str = ""
    """What to pick from the value, such as `data.items[0]`; nothing means all of it."""
    default: Json = None
    """What takes the place of null where the path leads nowhere; templates too."""


class JsonParser(PureNode[JsonParserConfig]):
    """Reads JSON strictly: the output is an object as it is, any other value as `{"value": …}`."""

    component: ClassVar[str] = "json_parser"
    config_type = JsonParserConfig

    def __init__(self, config: JsonParserConfig) -> None:
        errors: dict[str, list[str]] = {}
        self._path: ValuePath | None = None
        try:
            self._source = _compile(config.source)
        except ConfigError as error:
            errors |= error.errors
        try:
            self._default = compile_value(config.default, "default")
        except ConfigError as error:
            errors |= error.errors
        try:
            self._path = ValuePath(config.path, "path") if config.path else None
        except ConfigError as error:
            errors |= error.errors
        if errors:
            raise ConfigError(errors)

    def run(self, context: Context) -> Outcome:
        """Read the text, and pick from it."""
        value = _read(self._source.render(context))
        if self._path is not None:
            value = self._path.follow(value)
        if value is None:
            value = self._default.render(context)
        check_result(value)
        return Outcome(value if is_object(value) else {"value": value})


def _compile(source: str) -> Template:
    if not source.strip():
        raise ConfigError({"source": ["is required"]})
    if "{{" not in source and "{%" not in source:
        _decode_on_save(source)
        return compile_text(source, "source")
    # In a document that is written out here, a value can't change what stands around it.
    is_document = source.lstrip()[:1] in ("{", "[") and source.lstrip()[:2] not in ("{{", "{%")
    make = compile_json_text if is_document else compile_text
    return make(source, "source", size_max=SOURCE_LENGTH_MAX)


def _decode_on_save(source: str) -> None:
    try:
        decode(source, "It")
    except InvalidJsonError as error:
        raise ConfigError({"source": [str(error)]}) from error


def _read(value: Json) -> Json:
    if value is None:
        raise NodeError("json_invalid", f"'source' is {kind_of(value)}, a text is needed")
    if not isinstance(value, str):
        return value
    if len(value) > SOURCE_LENGTH_MAX:
        message = f"'source' is longer than {SOURCE_LENGTH_MAX} characters"
        raise NodeError("json_invalid", message)
    try:
        return decode(value, "'source'")
    except InvalidJsonError as error:
        raise NodeError("json_invalid", str(error)) from error
