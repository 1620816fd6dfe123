"""The `switch` node: leaves by the handle of the first case that applies."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from ..component import ConfigError, Context, Json, NodeConfig, Outcome, PureNode
from ..templates import Template, compile_value
from .condition_core import ABSENT, Compiler, Condition, Scope
from .condition_language import new_compiler
from .operands import is_equal

DEFAULT_HANDLE: Final = "default"
CASES_MAX: Final = 100
HANDLE_LENGTH_MAX: Final = 64


class Case(msgspec.Struct, frozen=True):
    """One way out: its handle, and what leads to it, `equals` or `when`."""

    handle: str
    equals: Json = ABSENT
    """The value that the switch's own must be equal to; templates allowed."""
    when: Json = ABSENT
    """A condition, as inside a `logical_group`."""


class SwitchConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `switch`; the cases are tried in their order."""

    value: Json = ABSENT
    """What the cases with `equals` are compared with."""
    cases: tuple[Case, ...]


class Switch(PureNode[SwitchConfig]):
    """Chooses by equality of JSON values or by conditions; `default` when no case applies.

    Output: `{"value": …, "matched": <handle>, "case": <index, or null for the default>}`, and
    `evaluation` where the case was chosen by its condition.
    """

    component: ClassVar[str] = "switch"
    config_type = SwitchConfig

    def __init__(self, config: SwitchConfig) -> None:
        errors = _check_handles(config.cases)
        self._value: Template | None = None
        self._cases: list[Template | Condition] = []
        compiler = new_compiler()
        try:
            if config.value is not ABSENT:
                self._value = compile_value(config.value, "value")
            elif any(
                case.equals is not ABSENT and not _has_condition(case) for case in config.cases
            ):
                errors["value"] = ["is required, since a case has 'equals'"]
        except ConfigError as error:
            errors |= error.errors
        for index, case in enumerate(config.cases):
            try:
                self._cases.append(_compile_case(case, f"cases[{index}]", compiler))
            except ConfigError as error:
                errors |= error.errors
            if compiler.is_full:
                break
        if errors:
            raise ConfigError(errors)
        self._shown_max = compiler.shown_max
        self.handles = (*(case.handle for case in config.cases), DEFAULT_HANDLE)

    def run(self, context: Context) -> Outcome:
        """Try the cases in order; those after the one that applies are not evaluated."""
        value = None if self._value is None else self._value.render(context)
        scope = Scope(context)
        for index, case in enumerate(self._cases):
            handle = self.handles[index]
            output: dict[str, Json] = {"value": value, "matched": handle, "case": index}
            if isinstance(case, Condition):
                verdict = case.evaluate(scope)
                if verdict.result:
                    evaluation = verdict.to_json(self._shown_max)
                    return Outcome({**output, "evaluation": evaluation}, handle)
            else:
                scope.check_time()
                if is_equal(value, case.render(context)):
                    return Outcome(output, handle)
        output = {"value": value, "matched": DEFAULT_HANDLE, "case": None}
        return Outcome(output, DEFAULT_HANDLE)


def _compile_case(case: Case, path: str, compiler: Compiler) -> Template | Condition:
    if not _has_condition(case):
        if case.equals is ABSENT:
            raise ConfigError({path: ["needs 'equals' or 'when'"]})
        return compile_value(case.equals, f"{path}.equals")
    if case.equals is not ABSENT and case.equals is not None:
        raise ConfigError({f"{path}.equals": ["can't be combined with 'when'"]})
    return compiler.nested(case.when, f"{path}.when")


def _has_condition(case: Case) -> bool:
    return case.when is not ABSENT and case.when is not None


def check_handle(handle: str, reserved: tuple[str, ...], seen: set[str]) -> str:
    """Say what is wrong with a handle that an author chose; empty when nothing is."""
    if not handle.strip():
        return "must not be empty"
    if len(handle) > HANDLE_LENGTH_MAX:
        return f"is longer than {HANDLE_LENGTH_MAX} characters"
    if handle in reserved:
        return f"must not be '{handle}', which has a meaning of its own"
    if handle in seen:
        return f"repeats the handle '{handle}' of an earlier case"
    return ""


def _check_handles(cases: tuple[Case, ...]) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    if len(cases) > CASES_MAX:
        errors["cases"] = [f"has more than {CASES_MAX} cases"]
    seen: set[str] = set()
    for index, case in enumerate(cases):
        fault = check_handle(case.handle, (DEFAULT_HANDLE, "error"), seen)
        if fault:
            errors[f"cases[{index}].handle"] = [fault]
        seen.add(case.handle)
    return errors
