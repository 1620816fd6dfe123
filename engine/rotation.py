"""The change of the service key: what it opens, and how it is done while the service serves.

Rules of this file:

1. Actors, hashes of tokens and names, and webhook tokens are keyed by the journal's *identity
   secret*, which never changes. It is made of the journal's first key; every later key has it in
   the body of the `key.rotated` that began its time, wrapped under that key.
2. First a key is known to be lasting (its file, or the setting), then `key.rotated` is appended,
   then each data key is wrapped anew in a commit of its own, which erases the old wrapping.
   Whatever is interrupted goes on at the next start, from what the journal says.
3. The earlier key is needed until the last data key is under the new one, and not any longer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ..journal import events as e
from ..journal import ids
from ..journal.clock import IdSource
from ..journal.errors import ConflictError, CorruptStoreError, StoreClosedError
from ..journal.journal import Commit, Journal, Metadata, NewEvent
from ..journal.service_keys import fits, identity_of, key_check
from ..projections.errors import ProjectionError
from ..projections.vault_state import WrappedKey
from .copying import read_whole
from .erasure import Erasures
from .errors import StateError
from .fault_text import fault_text
from .keyring import Keyring, SecretUnreadableError
from .sealed_items import SealedItems

_log = logging.getLogger("refold.vault")
PAGE: Final = 200
RETRY_SECONDS: Final = 1.0
_IDENTITY_PLACE: Final = ("sys", 0)
_SERVICE: Final = Metadata(tenant="", actor="", corr="")


class KeyIndex(Protocol):
    """Where data keys are listed: the views, which follow the journal."""

    async def wait_for(self, position: int, /) -> None:
        """Wait until the list includes a position."""
        ...

    async def keys_under_others(self, key_id: str, after: int, limit: int, /) -> list[WrappedKey]:
        """List data keys that are wrapped under another service key, after a position."""
        ...


class KeyRotation:
    """Knows the journal's identity secret, and brings everything under the newest key."""

    def __init__(
        self, journal: Journal, ids_: IdSource, keyring: Keyring, erasures: Erasures
    ) -> None:
        self._journal = journal
        self._ids = ids_
        self._keyring = keyring
        self._erasures = erasures
        self._task: asyncio.Task[None] | None = None
        self.identity = b""

    @property
    def is_running(self) -> bool:
        """True while data keys are being wrapped anew."""
        return self._task is not None and not self._task.done()

    async def open(self, primary: bytes, older: Sequence[bytes]) -> None:
        """Learn the identity secret and make `primary` the journal's key, if it isn't yet.

        Raises:
            CorruptStoreError: the journal does not say what its keys need.
        """
        event = await self._journal.key_event()
        facts = None if event is None else event.facts
        if event is None or not isinstance(facts, (e.JournalCreated, e.KeyRotated)):
            raise CorruptStoreError("the journal does not begin with journal.created")
        journal_id, check = self._journal.id, facts.key_check
        fitting = [key for key in (primary, *older) if fits(check, journal_id, key)]
        if not fitting:
            raise CorruptStoreError("the journal was opened with a key that it does not have")
        if isinstance(facts, e.JournalCreated):
            self.identity = identity_of(check, journal_id, fitting[0])
        else:
            self.identity = await self._unwrapped(event.body_at)
        if fitting[0] != primary:
            await self._announce(primary)
            _log.info("the service key is now %s", self._key_id)

    async def rotate(self, key: bytes) -> None:
        """Make a key that is kept safely the journal's, while everything goes on.

        Raises:
            StateError: `rotation_running`.
        """
        self.refuse_while_running()
        self._keyring.make_primary(key)
        await self._announce(key)
        _log.info("the service key is now %s", self._key_id)

    def refuse_while_running(self) -> None:
        """Refuse another change of key before this one is through.

        Raises:
            StateError: `rotation_running`.
        """
        if self.is_running:
            raise StateError(
                "rotation_running", "The last change of the vault key is not through yet."
            )

    def begin(
        self, sealed: SealedItems, index: KeyIndex, on_done: Callable[[], None] | None = None
    ) -> None:
        """Wrap every data key under the newest service key, in the background.

        `on_done` is called once no data key needs an earlier one; not if some can't be opened.
        """
        self._task = asyncio.create_task(self._rewrap_all(sealed, index, on_done))

    async def done(self) -> None:
        """Wait until the data keys are wrapped anew."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def close(self) -> None:
        """End the background work; the next start goes on with it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def _key_id(self) -> str:
        return self._keyring.key_id

    async def _announce(self, key: bytes) -> None:
        """Append `key.rotated`; what the key before it could open of this is erased with it."""
        newest = await self._journal.key_event()
        assert newest is not None, "a journal that was opened says which key it has"
        wrapped = self._keyring.wrap(*_IDENTITY_PLACE, self.identity)
        facts = e.KeyRotated(key_check=key_check(self._journal.id, key), key_id=self._key_id)
        said = NewEvent(self._ids.new(), facts, wrapped.encode())
        await self._erasures.append(
            lambda: Commit([]),
            [newest.body_at] if newest.body_at else [],
            target=ids.SYS,
            reason="key rotated",
            meta=_SERVICE,
            said=[said],
        )

    async def _unwrapped(self, body_at: int) -> bytes:
        bodies = await self._journal.read_bodies([body_at])
        if body_at not in bodies:
            raise CorruptStoreError(f"the body of key.rotated at position {body_at} is missing")
        wrapped = bodies[body_at].data.decode("ascii", "replace")
        try:
            return self._keyring.unwrap(*_IDENTITY_PLACE, wrapped)
        except SecretUnreadableError as error:
            raise CorruptStoreError(
                f"the body of key.rotated at position {body_at} does not fit its key"
            ) from error

    async def _rewrap_all(
        self, sealed: SealedItems, index: KeyIndex, on_done: Callable[[], None] | None
    ) -> None:
        while True:
            try:
                wrapped, unreadable = await self._pass(sealed, index)
                break
            except StoreClosedError:
                return
            except (ProjectionError, ConflictError):
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:
                # A full disk, say: it is tried again for as long as the service runs.
                _log.error("data keys could not be wrapped anew: %s", fault_text(error))
                await asyncio.sleep(RETRY_SECONDS)
        if unreadable:
            _log.error(
                "%d secrets are under a service key that is not here; start with it in "
                "REFOLD_VAULT_KEYS_OLD, or define them anew",
                unreadable,
            )
            return
        if wrapped or len(self._keyring.key_ids) > 1:
            _log.info(
                "every secret is under the service key %s (%d were put there now); no earlier key "
                "is needed any more",
                self._key_id,
                wrapped,
            )
        if on_done is not None:
            on_done()

    async def _pass(self, sealed: SealedItems, index: KeyIndex) -> tuple[int, int]:
        """Wrap what is listed as of now; returns how many that were, and how many can't be.

        No data key comes under an earlier service key after `key.rotated`, so one pass that
        meets no conflict is enough.
        """
        await index.wait_for(self._journal.head)
        after = wrapped = unreadable = 0
        while rows := await index.keys_under_others(sealed.keyring.key_id, after, PAGE):
            for row in rows:
                after = row.position
                try:
                    wrapped += await self._rewrap(sealed, row)
                except SecretUnreadableError:
                    unreadable += 1
        return wrapped, unreadable

    async def _rewrap(self, sealed: SealedItems, row: WrappedKey) -> bool:
        version = 0
        async for page in read_whole(self._journal, row.stream):
            version = page[-1].version
        return await sealed.rewrap(row.stream, row.position, version, Metadata(row.tenant, "", ""))
