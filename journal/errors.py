"""The journal's errors, sorted by who must act.

JournalError
├── ConflictError           the caller: read the stream again and decide anew
├── ResourceInUseError      the caller: something still holds what should be free
├── RequestReusedError      the caller: an idempotency key came back with another request
├── BodyErasedError         the caller: what it has read to decide by is erased by now
├── InvalidCommitError      the programmer: no entry can be made of this
├── OverloadedError         a retry, later: the queue is full
├── StoreClosedError        a retry, elsewhere: this process is stopping
└── StoreError              the operator
    ├── StoreFailedError        the disk refused a commit; nothing of it was kept
    ├── StoreOwnedError         another process owns the journal
    ├── ForeignStoreError       the file is not a journal, or not one this version reads
    ├── CorruptStoreError       the journal's bytes contradict themselves
    ├── WrongKeyError           the service key is not the one the journal was made with
    └── UnknownEventError       an event of a type or schema that this version doesn't know
"""

from __future__ import annotations

from typing import ClassVar, Final

_SHOWN: Final = 64
"""How much of a type's name is shown: it was read, so it may be anything."""


class JournalError(Exception):
    """The root: everything the journal refuses or fails at."""

    code: ClassVar[str] = "journal_error"


class ConflictError(JournalError):
    """A stream is not at the version that the commit expected."""

    code = "conflict"

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(f"stream {stream} is at version {actual}, not at {expected}")
        self.stream = stream
        self.expected = expected
        self.actual = actual


class ResourceInUseError(JournalError):
    """A commit demanded that nothing holds a resource, and something does."""

    code = "resource_in_use"

    def __init__(self, resource: str, holder: str) -> None:
        super().__init__(f"{resource} is in use by {holder}")
        self.resource = resource
        self.holder = holder


class RequestReusedError(JournalError):
    """An idempotency key was used before, within its life, for another request."""

    code = "idempotency_key_reused"

    def __init__(self, key: str) -> None:
        super().__init__(f"idempotency key {key} was used for another request")
        self.key = key


class BodyErasedError(JournalError):
    """A commit relies on a body that was erased since it was read, or never was there."""

    code = "body_erased"

    def __init__(self, position: int) -> None:
        super().__init__(f"position {position} holds no body any more")
        self.position = position


class InvalidCommitError(JournalError):
    """A commit that no entry can be made of, such as a number past 2^53 or half a surrogate."""

    code = "invalid_commit"


class OverloadedError(JournalError):
    """The queue of appends is full; nothing was written."""

    code = "overloaded"


class StoreClosedError(JournalError):
    """The journal is closed or closing; nothing was written."""

    code = "closed"


class StoreError(JournalError):
    """Something that only an operator can mend."""

    code = "store_error"


class StoreFailedError(StoreError):
    """The disk refused a commit; nothing of it was kept."""

    code = "store_failed"


class StoreOwnedError(StoreError):
    """Another process owns the journal."""

    code = "store_owned"


class ForeignStoreError(StoreError):
    """The file is not a journal, or not one that this version can read."""

    code = "foreign_store"


class CorruptStoreError(StoreError):
    """The journal's bytes contradict themselves."""

    code = "corrupt_store"


class WrongKeyError(StoreError):
    """The service key is not the one that the journal was made with."""

    code = "wrong_key"


class UnknownEventError(StoreError):
    """An event of a type or schema that this version doesn't know."""

    code = "unknown_event"

    def __init__(self, type_: str, schema: int, *, newest: int = 0, position: int = 0) -> None:
        """`newest` is the newest schema of the type that is known, 0 for an unknown type."""
        where = f"the event at position {position} is newer than this version: " if position else ""
        known = f"schemas up to {newest} are" if newest else "nor any of that type"
        super().__init__(
            f"{where}no event {type_[:_SHOWN]!r} of schema {schema} is known ({known}); "
            "upgrade Refold to go on, nothing was skipped"
        )
        self.type = type_
        self.schema = schema
        self.newest = newest
        self.position = position
        """Where it stands in the journal, 0 where that is not known."""
