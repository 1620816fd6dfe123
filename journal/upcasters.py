"""Reads events of every schema there ever was: old facts and bodies become those of today.

An upcaster leads from one schema of a type to the next, and a chain of them to the present one.
Nothing that is stored changes: entries, leaves and commitments stay those of the old schema.

Rules of an upcaster:

1. It is pure: the same old facts give the same new ones, on a server and on an auditor's laptop.
2. It knows what it is given alone: no other event, no clock, no setting.
3. It never changes once it is released, since folds of the past depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from .errors import CorruptStoreError, UnknownEventError
from .facts import Facts

Form = tuple[str, int]
"""An event's type and schema."""


class Upcaster(msgspec.Struct, frozen=True):
    """The way from one schema of a type to the next."""

    old: type[Facts]
    """The facts as they were released; the struct stays as it is for ever."""
    facts: Callable[[Any], Facts]
    """Makes the facts of the next schema of those of `old`."""
    body: Callable[[bytes], bytes] | None = None
    """Makes the body of the next schema, None where the body keeps its form."""


class Decoders:
    """Reads the facts and bodies of all known schemas as those of the present ones."""

    def __init__(self, present: Iterable[type[Facts]], upcasters: Sequence[Upcaster] = ()) -> None:
        """Build the chains once, so that the present schema costs what it costs without them.

        Raises:
            ValueError: two are of one schema, or a chain does not lead to a present struct; a
                programmer's mistake.
        """
        self._read: Final[dict[Form, Callable[[bytes | msgspec.Raw], Facts]]] = {}
        self._bodies: Final[dict[Form, Sequence[Callable[[bytes], bytes]]]] = {}
        self._newest: Final[dict[str, int]] = {}
        self.present: Final = frozenset(present)
        """The structs that all reading ends with."""
        steps = {(step.old.type, step.old.schema): step for step in upcasters}
        if len(steps) < len(upcasters):
            raise ValueError("two upcasters start from the same schema")
        for facts in self.present:
            if facts.type in self._newest:
                raise ValueError(f"two structs are the present form of {facts.type}")
            self._newest[facts.type] = facts.schema
            self._read[facts.type, facts.schema] = msgspec.json.Decoder(facts, strict=True).decode
        for (type_, schema), step in steps.items():
            newest = self._newest.get(type_, -1)
            chain = [steps.get((type_, number)) for number in range(schema, newest)]
            if not chain or None in chain:
                raise ValueError(f"no chain leads from {type_} of schema {schema} to the present")
            whole = [found for found in chain if found is not None]
            read = msgspec.json.Decoder(step.old, strict=True).decode
            self._read[type_, schema] = _chained(read, [found.facts for found in whole])
            self._bodies[type_, schema] = [found.body for found in whole if found.body]

    @property
    def forms(self) -> frozenset[Form]:
        """Every type and schema that can be read."""
        return frozenset(self._read)

    @property
    def rewrites_bodies(self) -> bool:
        """True where the schema of a body has to be looked at before it is read."""
        return any(self._bodies.values())

    def facts(self, type_: str, schema: int, facts: bytes | msgspec.Raw) -> Facts:
        """Read an event's facts.

        Raises:
            UnknownEventError: the type or schema is newer than this version.
        """
        read = self._read.get((type_, schema))
        if read is None:
            raise UnknownEventError(type_, schema, newest=self._newest.get(type_, 0))
        return read(facts)

    def body(self, form: Form, body: bytes, position: int) -> bytes:
        """Return a stored body in its present form; the bytes as they are if that is theirs.

        Raises:
            UnknownEventError: the type or schema is newer than this version.
            CorruptStoreError: a body of an old schema is not what its upcaster reads.
        """
        if form not in self._read:
            raise UnknownEventError(*form, newest=self._newest.get(form[0], 0), position=position)
        try:
            for step in self._bodies.get(form, ()):
                body = step(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CorruptStoreError(f"the body at position {position} is unreadable") from error
        return body


def _chained(
    read: Callable[[bytes | msgspec.Raw], Facts], steps: Sequence[Callable[[Any], Facts]]
) -> Callable[[bytes | msgspec.Raw], Facts]:
    def read_old(raw: bytes | msgspec.Raw) -> Facts:
        facts = read(raw)
        for step in steps:
            facts = step(facts)
        return facts

    return read_old
