"""Items whose secret is sealed: how the vault and the stored grants keep one, and lose it.

An item is a stream. Each version of its secret is two events in one commit:

    <what it is>   body: who, what, and the ciphertext          (`vault.defined`, …)
    key.wrapped    body: its data key under the service key, and nothing else

A new version, or the end of the item, erases the body of the `key.wrapped` before it in the same
commit; from then on that ciphertext can't be decrypted by anybody. How to use this file:

    made = await sealed.define(stream=…, version=0, item_version=1, text=secret,
                               event=lambda ciphertext: NewEvent(…), meta=…, request=…)
    text = await sealed.open(stream, item_version, ciphertext, key_at)
    await sealed.define(…, version=n, item_version=2, replaces=[key_at])
    await sealed.delete(stream=…, version=n, event=NewEvent(…Deleted), meta=…, keys=[key_at])

`key_at` is where the newest `key.wrapped` of the stream stands (`newest_key(events).position`).
When the service key changes, a `key.wrapped` with the same `item_version` is appended to the
stream: folds take the newest, and versions of the stream move on by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..journal import events as e
from ..journal.clock import IdSource
from ..journal.envelope import Recorded
from ..journal.journal import (
    Appended,
    Commit,
    Journal,
    Metadata,
    NewEvent,
    RequestKey,
    StreamWrite,
)
from .erasure import Erasures
from .keyring import Keyring, SecretUnreadableError


def newest_key(events: Iterable[Recorded]) -> Recorded | None:
    """Return the newest `key.wrapped` of an item's events."""
    found = None
    for event in events:
        if isinstance(event.facts, e.KeyWrapped):
            found = event
    return found


class SealedItems:
    """Keeps secrets in streams of their own."""

    def __init__(
        self, journal: Journal, ids: IdSource, keyring: Keyring, erasures: Erasures
    ) -> None:
        self._journal = journal
        self._ids = ids
        self._keyring = keyring
        self._erasures = erasures

    @property
    def keyring(self) -> Keyring:
        """The keys that secrets are sealed and opened with."""
        return self._keyring

    async def define(
        self,
        *,
        stream: str,
        version: int,
        item_version: int,
        text: str,
        event: Callable[[str], NewEvent],
        meta: Metadata,
        request: RequestKey | None = None,
        unused: Sequence[str] = (),
        replaces: Sequence[int] = (),
    ) -> Appended:
        """Append a new secret of an item, erasing the keys of those that it replaces.

        `version` is the version that the stream is at, `item_version` counts the item's secrets
        from 1, `event` makes the defining event around the ciphertext.

        Raises:
            ConflictError: the stream is at another version; read it and decide anew.
            JournalError: see `Journal.append`.
        """

        def build() -> Commit:
            # Sealed and queued without a pause in between: what is sealed under a service key
            # stands in the journal before the `key.rotated` that comes after it.
            sealed = self._keyring.seal(stream, item_version, text)
            events = [event(sealed.ciphertext), self._wrapped(item_version, sealed.wrapped)]
            write = StreamWrite(stream, version, events, meta)
            return Commit([write], request=request, unused=unused)

        if not replaces:
            return await self._journal.append(build())
        return await self._erase(build, replaces, stream, "replaced", meta)

    async def delete(
        self,
        *,
        stream: str,
        version: int,
        event: NewEvent,
        meta: Metadata,
        keys: Sequence[int],
        unused: Sequence[str] = (),
    ) -> Appended:
        """Append the end of an item and erase its keys, in one commit.

        Raises:
            ConflictError: the stream is at another version; read it and decide anew.
            ResourceInUseError: something of `unused` is held.
            JournalError: see `Journal.append`.
        """
        commit = Commit([StreamWrite(stream, version, [event], meta)], unused=unused)
        return await self._erase(lambda: commit, keys, stream, "deleted", meta)

    async def open(
        self, stream: str, item_version: int, ciphertext: str, key_at: int
    ) -> str | None:
        """Decrypt a secret; None if its key was erased.

        Raises:
            SecretUnreadableError: it was sealed under a service key that is not here.
        """
        bodies = await self._journal.read_bodies([key_at])
        if key_at not in bodies:
            return None
        wrapped = bodies[key_at].data.decode("ascii", "replace")
        return self._keyring.open(stream, item_version, ciphertext, wrapped)

    async def rewrap(self, stream: str, key_at: int, version: int, meta: Metadata) -> bool:
        """Put an item's data key under the newest service key and erase the old wrapping.

        `key_at` is where the `key.wrapped` stands, `version` what the stream is at. Returns
        False where there is nothing to do: the key is gone, or is under that key already.

        Raises:
            SecretUnreadableError: no key here opens it.
            ConflictError: the stream is at another version; look again.
            JournalError: see `Journal.append`.
        """
        bodies = await self._journal.read_bodies([key_at])
        events = await self._journal.read_all(key_at - 1, 1)
        facts = events[0].facts
        if key_at not in bodies or not isinstance(facts, e.KeyWrapped):
            return False
        if facts.key_id == self._keyring.key_id:
            return False
        wrapped = bodies[key_at].data.decode("ascii", "replace")

        def build() -> Commit:
            again = self._keyring.rewrap(stream, facts.item_version, wrapped)
            event = self._wrapped(facts.item_version, again)
            return Commit([StreamWrite(stream, version, [event], meta)])

        await self._erase(build, [key_at], stream, "key rotated", meta)
        return True

    def _wrapped(self, item_version: int, wrapped: str) -> NewEvent:
        facts = e.KeyWrapped(item_version=item_version, key_id=self._keyring.key_id)
        return NewEvent(self._ids.new(), facts, wrapped.encode())

    async def _erase(
        self,
        build: Callable[[], Commit],
        keys: Sequence[int],
        stream: str,
        reason: str,
        meta: Metadata,
    ) -> Appended:
        return await self._erasures.append(build, keys, target=stream, reason=reason, meta=meta)


__all__ = ["SealedItems", "SecretUnreadableError", "newest_key"]
