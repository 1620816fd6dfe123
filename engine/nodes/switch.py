"""The `switch` node: leaves by the handle of the first case that equals its value."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from ..component import ConfigError, Context, Json, NodeConfig, Outcome, PureNode
from ..templates import Template, compile_value
from .operands import is_equal

DEFAULT_HANDLE: Final = "default"
CASES_MAX: Final = 100
HANDLE_LENGTH_MAX: Final = 64


class Case(msgspec.Struct, frozen=True):
    """One way out: its handle, and the value that leads to it (templates allowed)."""

    handle: str
    equals: Json


class SwitchConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `switch`; the cases are tried in their order."""

    value: Json
    cases: tuple[Case, ...]


class Switch(PureNode[SwitchConfig]):
    """Chooses by equality of JSON values; the handle is `default` when no case fits.

    Output: `{"value": …, "matched": <handle>, "case": <index, or null for the default>}`.
    """

    component: ClassVar[str] = "switch"
    config_type = SwitchConfig

    def __init__(self, config: SwitchConfig) -> None:
        errors = _check_handles(config.cases)
        templates = [("value", config.value)]
        templates += [(f"cases[{i}].equals", case.equals) for i, case in enumerate(config.cases)]
        compiled: list[Template] = []
        for path, value in templates:
            try:
                compiled.append(compile_value(value, path))
            except ConfigError as error:
                errors |= error.errors
        if errors:
            raise ConfigError(errors)
        self._value, *self._cases = compiled
        self.handles = (*(case.handle for case in config.cases), DEFAULT_HANDLE)

    def run(self, context: Context) -> Outcome:
        """Try the cases in order."""
        value = self._value.render(context)
        for index, case in enumerate(self._cases):
            if is_equal(value, case.render(context)):
                handle = self.handles[index]
                return Outcome({"value": value, "matched": handle, "case": index}, handle)
        output = {"value": value, "matched": DEFAULT_HANDLE, "case": None}
        return Outcome(output, DEFAULT_HANDLE)


def _check_handles(cases: tuple[Case, ...]) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    if len(cases) > CASES_MAX:
        errors["cases"] = [f"has more than {CASES_MAX} cases"]
    seen: set[str] = set()
    for index, case in enumerate(cases):
        fault = ""
        if not case.handle.strip():
            fault = "must not be empty"
        elif len(case.handle) > HANDLE_LENGTH_MAX:
            fault = f"is longer than {HANDLE_LENGTH_MAX} characters"
        elif case.handle in (DEFAULT_HANDLE, "error"):
            fault = f"must not be '{case.handle}', which has a meaning of its own"
        elif case.handle in seen:
            fault = f"repeats the handle '{case.handle}' of an earlier case"
        if fault:
            errors[f"cases[{index}].handle"] = [fault]
        seen.add(case.handle)
    return errors
