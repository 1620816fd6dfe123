"""Operations of a `string_transform` that look for regular expressions (RE2)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec

from ..component import ConfigError, Context
from .captures import CapturePattern, Replacement
from .patterns import PatternFault
from .shaping import Deadline
from .string_operation import Apply, Bind, Operation, check_length


class RegexReplace(Operation, frozen=True, tag="regex_replace"):
    """Each match of `pattern` becomes `replacement`, in which `$1` and `${name}` are groups."""

    pattern: str
    replacement: str = ""
    ignore_case: bool = False
    first_only: bool = False

    def compile(self, field: str) -> Bind:
        """Compile the pattern and what takes the place of a match."""
        pattern = _pattern(self.pattern, self.ignore_case, field)
        replacement = Replacement(self.replacement, pattern, f"{field}.replacement")

        def bind(context: Context) -> Apply:
            fill = replacement.render(context)

            def apply(text: str, deadline: Deadline) -> str:
                raw, at, length = text.encode(), 0, 0
                made: list[bytes] = []
                for groups in pattern.find(raw, deadline):
                    start, end = groups[0]
                    made += (raw[at:start], fill(raw, groups))
                    length += len(made[-1]) + len(made[-2])
                    check_length(length // 4)
                    at = end
                    if self.first_only:
                        break
                return b"".join((*made, raw[at:])).decode()

            return apply

        return bind


class Extract(Operation, frozen=True, tag="extract"):
    """What a group of `pattern` matched; an empty text when there is no match."""

    pattern: str
    group: Annotated[int, msgspec.Meta(ge=0)] | str | None = None
    """Number or name; by default the first group, or the whole match if there are none."""
    ignore_case: bool = False

    def compile(self, field: str) -> Bind:
        """Compile the pattern and look for the group."""
        pattern, group = _group(self.pattern, self.ignore_case, self.group, field)

        def apply(text: str, deadline: Deadline) -> str:
            raw = text.encode()
            found = next(pattern.find(raw, deadline), None)
            return "" if found is None else raw[slice(*found[group])].decode()

        return lambda _: apply


class ExtractAll(Operation, frozen=True, tag="extract_all"):
    """What a group of `pattern` matched, each time: a list."""

    gives: ClassVar[Literal["text", "list"]] = "list"
    pattern: str
    group: Annotated[int, msgspec.Meta(ge=0)] | str | None = None
    ignore_case: bool = False

    def compile(self, field: str) -> Bind:
        """Compile the pattern and look for the group."""
        pattern, group = _group(self.pattern, self.ignore_case, self.group, field)

        def apply(text: str, deadline: Deadline) -> list[str]:
            raw = text.encode()
            return [raw[slice(*found[group])].decode() for found in pattern.find(raw, deadline)]

        return lambda _: apply


PatternEdit: TypeAlias = RegexReplace | Extract | ExtractAll


def _pattern(source: str, ignore_case: bool, field: str) -> CapturePattern:
    try:
        return CapturePattern(source, ignore_case=ignore_case)
    except PatternFault as fault:
        raise ConfigError({f"{field}.pattern": [str(fault)]}) from fault


def _group(
    source: str, ignore_case: bool, group: int | str | None, field: str
) -> tuple[CapturePattern, int]:
    pattern = _pattern(source, ignore_case, field)
    if group is None:
        return pattern, min(1, pattern.groups)
    try:
        return pattern, pattern.group(group)
    except PatternFault as fault:
        raise ConfigError({f"{field}.group": [str(fault)]}) from fault
