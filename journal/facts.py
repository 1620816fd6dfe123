"""What all facts of events have in common: strings and integers, hashed as they stand."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

INTEGER_MAX: Final = 2**53 - 1
"""The largest integer of an entry: what every JSON reader keeps exact."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """The base of all events."""

    type: ClassVar[str]
    schema: ClassVar[int] = 1
