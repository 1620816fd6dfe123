"""What `and`, `or` and `not` make of other conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from ..component import ConfigError, Json, NodeConfig
from .condition_core import CONDITIONS_MAX, Compiler, Condition, Family, Scope, Verdict


class LogicalGroupConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `logical_group`; `not` takes exactly one condition."""

    operator: Literal["and", "or", "not"]
    conditions: list[Json]


class _Group(Condition):
    """Conditions in their order; what comes after the one that decides is not evaluated."""

    def __init__(self, config: LogicalGroupConfig, path: str, compiler: Compiler) -> None:
        self._operator = config.operator
        where, count = f"{path}conditions", len(config.conditions)
        if not count:
            raise ConfigError({where: ["must hold at least one condition"]})
        if config.operator == "not" and count > 1:
            raise ConfigError({where: ["must hold exactly one condition, as 'not' takes one"]})
        if count > CONDITIONS_MAX:
            raise ConfigError({where: [f"holds more than {CONDITIONS_MAX} conditions"]})
        errors: dict[str, list[str]] = {}
        self._conditions: list[Condition] = []
        for index, spec in enumerate(config.conditions):
            try:
                self._conditions.append(compiler.nested(spec, f"{where}[{index}]"))
            except ConfigError as error:
                errors |= error.errors
            if compiler.is_full:
                break
        if errors:
            raise ConfigError(errors)

    def evaluate(self, scope: Scope) -> Verdict:
        """Stop at the first false one of an `and`, at the first true one of an `or`."""
        verdicts: list[Verdict] = []
        for condition in self._conditions:
            verdicts.append(condition.evaluate(scope))
            if verdicts[-1].result is (self._operator == "or"):
                break
        last = verdicts[-1].result
        result = not last if self._operator == "not" else last
        return _Grouped(result, self._operator, verdicts, len(self._conditions))


GROUP: Final = Family(LogicalGroupConfig, _Group)


class _Grouped(Verdict):
    """What came of a group, with the evaluation of each of its conditions."""

    def __init__(
        self, result: bool, operator: str, verdicts: Sequence[Verdict], total: int
    ) -> None:
        self.result = result
        self._operator, self._verdicts, self._total = operator, verdicts, total

    def to_json(self, size_max: int) -> dict[str, Json]:
        """Tell all of it; one that was not evaluated has the result null."""
        told: list[Json] = [verdict.to_json(size_max) for verdict in self._verdicts]
        skipped: list[Json] = [{"result": None}] * (self._total - len(told))
        return {"result": self.result, "operator": self._operator, "conditions": told + skipped}
