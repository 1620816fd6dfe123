"""The conditions that may stand inside a node: what each `type` means.

`logical_group`, the cases of a `switch`, the elements of an `array_condition` and the visibility of
form fields hold conditions of these types, with the fields of the node of the same name:
`{"type": "number", "left": "{{ trigger.amount }}", "operator": "greater_than", "right": 100}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .array_condition import ARRAY
from .condition_core import Compiler, Family
from .date_condition import DATE
from .logical_group import GROUP
from .number_conditions import BOOLEAN, NUMBER
from .text_conditions import TEXT

_TYPES: Final[dict[str, Family]] = {
    "string": TEXT,
    "number": NUMBER,
    "boolean": BOOLEAN,
    "date": DATE,
    "array": ARRAY,
    "group": GROUP,
}
_NODES: Final[dict[str, Family]] = {
    "logical_group" if name == "group" else f"{name}_condition": family
    for name, family in _TYPES.items()
}
FAMILIES: Final[Mapping[str, Family]] = {**_TYPES, **_NODES}
"""Each `type` of a condition; the name of the node stands for it as well."""


def new_compiler() -> Compiler:
    """Return what compiles the conditions of one node."""
    return Compiler(FAMILIES)
