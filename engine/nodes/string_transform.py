"""The node that takes text through a pipeline of operations: `string_transform`."""

from __future__ import annotations

from typing import Any, ClassVar, Final, TypeAlias

from ..component import (
    ConfigError,
    Context,
    Json,
    NodeConfig,
    NodeError,
    Outcome,
    PureNode,
    is_list,
    is_object,
)
from ..template_values import kind_of, to_text
from ..templates import compile_value
from .shaping import Deadline, check_result
from .string_codes import CodeEdit
from .string_edits import TextEdit
from .string_operation import (
    ITEMS_MAX,
    TEXT_LENGTH_MAX,
    Apply,
    Bind,
    OperationFault,
)
from .string_patterns import PatternEdit

OPERATIONS_MAX: Final = 50

AnyOperation: TypeAlias = TextEdit | PatternEdit | CodeEdit


class StringTransformConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `string_transform`."""

    source: Json
    """A template of a text, or of a list of texts."""
    operations: list[AnyOperation]


class _Step:
    """One compiled operation: on a list, what is made for text is done to each item."""

    __slots__ = ("_bind", "_each", "_name", "gives_list")

    def __init__(self, operation: AnyOperation, field: str, is_list_: bool | None) -> None:
        """`is_list_` says what comes in; null when only the run will show."""
        takes_list = operation.takes == "list"
        self._name = f"{field} ('{operation.__struct_config__.tag}')"
        if takes_list and is_list_ is False:
            raise ConfigError({field: ["needs a list, as 'split' or 'extract_all' gives"]})
        if operation.gives == "list" and is_list_:
            raise ConfigError({field: ["would make a list of lists: 'join' or pick an item first"]})
        self._each = not takes_list
        self._bind: Bind = operation.compile(field)
        self.gives_list: bool | None = (
            operation.gives == "list" or (None if is_list_ is None else is_list_)
            if not takes_list
            else False
        )

    def apply(self, value: str | list[str], context: Context, deadline: Deadline) -> Any:
        try:
            return self._apply(value, self._bind(context), deadline)
        except OperationFault as fault:
            raise NodeError("transform_failed", f"'{self._name}' {fault}") from fault
        except UnicodeError as error:
            message = f"'{self._name}' can't be done on a text that is not valid Unicode"
            raise NodeError("transform_failed", message) from error

    def _apply(self, value: str | list[str], apply: Apply, deadline: Deadline) -> Any:
        if isinstance(value, str):
            if not self._each:
                raise OperationFault("needs a list")
            return self._checked(apply(value, deadline))
        if not self._each:
            return self._checked(apply(value, deadline))
        left = TEXT_LENGTH_MAX
        made: list[Any] = []
        for item in value:
            deadline.check()
            done = apply(item, deadline)
            if not isinstance(done, str):
                raise OperationFault("would make a list of lists")
            left -= len(done)
            if left < 0:
                raise _too_long()
            made.append(done)
        return made

    def _checked(self, value: str | list[str]) -> str | list[str]:
        length = len(value) if isinstance(value, str) else sum(map(len, value))
        if length > TEXT_LENGTH_MAX:
            raise _too_long()
        return value


class StringTransform(PureNode[StringTransformConfig]):
    """Transforms text: the output is `{"text"}`, or `{"items", "count"}` for a list."""

    component: ClassVar[str] = "string_transform"
    config_type = StringTransformConfig

    def __init__(self, config: StringTransformConfig) -> None:
        errors: dict[str, list[str]] = {}
        if len(config.operations) > OPERATIONS_MAX:
            raise ConfigError({"operations": [f"has more than {OPERATIONS_MAX} operations"]})
        # A text around a template is text; a single expression may give either.
        form: bool | None = None
        try:
            self._source = compile_value(config.source, "source")
            if self._source.is_static:
                form = is_list(_take(config.source))
        except ConfigError as error:
            errors |= error.errors
        except NodeError as error:
            errors["source"] = [error.message]
        self._steps: list[_Step] = []
        for index, operation in enumerate(config.operations):
            try:
                step = _Step(operation, f"operations[{index}]", form)
            except ConfigError as error:
                errors |= error.errors
                form = None
            else:
                self._steps.append(step)
                form = step.gives_list
        if errors:
            raise ConfigError(errors)

    def run(self, context: Context) -> Outcome:
        """Do all operations, one after the other."""
        deadline = Deadline()
        value = _take(self._source.render(context))
        for step in self._steps:
            value = step.apply(value, context, deadline)
        check_result(value)
        if isinstance(value, str):
            return Outcome({"text": value})
        return Outcome({"items": value, "count": len(value)})


def _take(value: Json) -> str | list[str]:
    """Take a text or a list of texts; null is empty text, numbers and booleans are written out."""
    if is_list(value):
        if len(value) > ITEMS_MAX:
            raise NodeError("transform_limit", f"'source' has more than {ITEMS_MAX} items")
        return [_take_text(item, f"'source[{index}]'") for index, item in enumerate(value)]
    return _take_text(value, "'source'")


def _take_text(value: Json, name: str) -> str:
    if is_list(value) or is_object(value):
        raise NodeError("type_mismatch", f"{name} is {kind_of(value)}, a text is needed")
    text = to_text(value)
    if len(text) > TEXT_LENGTH_MAX:
        message = f"{name} is longer than {TEXT_LENGTH_MAX} characters"
        raise NodeError("transform_limit", message)
    return text


def _too_long() -> NodeError:
    message = f"Transform stopped: it makes more than {TEXT_LENGTH_MAX} characters"
    return NodeError("transform_limit", message)
