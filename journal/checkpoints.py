"""Signs checkpoints of the tree, and never two that contradict each other.

A checkpoint is a C2SP signed note (tlog-checkpoint): origin, size, root, and a line for each key.
Rules of this file:

1. What is signed was durable before, and the note itself is durable before anybody sees it.
2. The last note is kept in a file outside the database. At a start the journal must hold all that
   it covers, else nothing is signed until somebody accepts the journal as a new *generation*,
   whose checkpoints have another origin: <host>/<journal> is the first, <host>/<journal>/g2 the
   next. The event `journal.restored` says so.
3. At most one note in `interval_s`, and one at the end.

Reading notes is the verifier's (verifier.py): there is one parser, and it is the strict one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import ids, verifier
from .checkpoint_keys import KEY_FILE, load_keys, public_key, replace_file, sign_note
from .clock import IdSource
from .envelope import Recorded
from .errors import ConflictError, JournalError, StoreClosedError, StoreError, StoreFailedError
from .events import JournalRestored
from .journal import Commit, Journal, Metadata, NewEvent, StreamWrite
from .tree_store import Tree

NOTE_FILE: Final = verifier.NOTE
PUBLIC_FILE: Final = verifier.PUBLIC
INTERVAL_SECONDS: Final = 1.0

_log = logging.getLogger("refold.checkpoints")

State = Literal["starting", "signing", "refused", "failing"]


class SigningRefusedError(StoreError):
    """No checkpoint can be signed, because it would contradict the last one; says what to do."""

    code = "signing_refused"


class Checkpoints:
    """The checkpoints of an open journal. Made by `open_checkpoints`."""

    def __init__(
        self,
        journal: Journal,
        tree: Tree,
        new_ids: IdSource,
        host: str,
        keys: Sequence[Ed25519PrivateKey],
        note_path: Path,
        accept_generation: int,
        interval_s: float,
    ) -> None:
        self._journal = journal
        self._tree = tree
        self._new_ids = new_ids
        self._host = host
        self._keys = keys
        self._path = note_path
        self._accept = accept_generation
        self._interval_s = interval_s
        self._generation = 1
        self._size = 0
        self._root = verifier.EMPTY_ROOT
        self._note: bytes | None = None
        self._state: State = "starting"
        self._reason = ""
        self._begun = False
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Future[bytes]]] = []

    @property
    def state(self) -> State:
        """`refused` needs an operator (see `reason`); `failing` tries again by itself."""
        return self._state

    @property
    def reason(self) -> str:
        """Why nothing is signed, in a sentence for the operator; "" if all is well."""
        return self._reason

    @property
    def origin(self) -> str:
        """The first line of the notes that are signed now."""
        suffix = f"/g{self._generation}" if self._generation > 1 else ""
        return f"{self._host}/{self._journal.id}{suffix}"

    @property
    def public_keys(self) -> tuple[str, ...]:
        """The verifier keys, the present one first."""
        return tuple(public_key(self.origin, key) for key in self._keys)

    @property
    def note(self) -> bytes | None:
        """The newest note, which is durable; None before the first."""
        return self._note

    @property
    def size(self) -> int:
        """How many events the newest note covers."""
        return self._size

    async def covering(self, position: int) -> bytes:
        """Return a note that covers a position, waiting for it if need be.

        Raises:
            SigningRefusedError: nothing is signed, see `reason`.
            StoreClosedError: the service is stopping.
        """
        if self._note is not None and self._size >= position:
            return self._note
        if self._state == "refused":
            raise SigningRefusedError(self._reason)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((position, future))
        self._changed.set()
        return await future

    def hear(self, events: Sequence[Recorded]) -> None:
        """Hear of new events: the subscriber."""
        del events
        self._changed.set()

    async def run(self) -> None:
        """Sign until cancelled, or until it would contradict what was signed before."""
        while self._state != "refused":
            try:
                await self.sign()
            except SigningRefusedError as error:
                self._refuse(error)
            except (JournalError, OSError) as error:
                reason = f"no checkpoint could be signed: {error}"
                if self._state != "failing":
                    _log.error("%s; it is tried again", reason)
                self._state, self._reason = "failing", reason
                self._changed.set()
            await asyncio.sleep(self._interval_s)
            await self._changed.wait()
            self._changed.clear()

    async def sign(self) -> None:
        """Sign the tree as it is, if it grew. A caller that is cancelled aborts nothing.

        Raises:
            SigningRefusedError: the tree contradicts the last note.
            OSError: the note could not be written.
        """
        await asyncio.shield(asyncio.ensure_future(self._sign()))

    async def _sign(self) -> None:
        async with self._lock:
            if not self._begun:
                await self._begin()
                self._begun = True
            await self._sign_next()

    async def _sign_next(self) -> None:
        await self._tree.integrated(self._journal.head)
        size = self._tree.size
        if size < self._size or self._tree.root(self._size) != self._root:
            raise SigningRefusedError(self._contradiction(self._size))
        if size > self._size or self._note is None:
            root = self._tree.root(size)
            note = sign_note(self.origin, size, root, self._keys)
            await asyncio.to_thread(replace_file, self._path, note)
            self._note, self._size, self._root = note, size, root
        self._state, self._reason = "signing", ""
        self._answer()

    def close(self) -> None:
        """Answer those who still wait."""
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(StoreClosedError("the service is stopping"))

    def _answer(self) -> None:
        assert self._note is not None, "a note was signed before"
        waiting, self._waiting = self._waiting, []
        for position, future in waiting:
            if position <= self._size and not future.done():
                future.set_result(self._note)
            elif not future.done():
                self._waiting.append((position, future))

    def _refuse(self, error: SigningRefusedError) -> None:
        self._state, self._reason = "refused", str(error)
        _log.error("no checkpoints are signed: %s", self._reason)
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(SigningRefusedError(self._reason))
        self._waiting = []

    async def _begin(self) -> None:
        """Hold the journal against the last note; go on from it, or in a new generation."""
        await self._tree.integrated(self._journal.head)
        self._generation, version = await self._read_generation()
        if self._path.exists():
            kept, refusal = self._read_kept()
            signed = int(re.sub(r"^.*/g", "", kept[0])) if re.search(r"/g\d+$", kept[0]) else 1
            if signed >= self._generation and refusal:
                following = max(signed, self._generation) + 1
                if self._accept != following:
                    raise SigningRefusedError(
                        f"{refusal}; to go on with this journal as generation {following}, "
                        f"start once with REFOLD_JOURNAL_GENERATION={following}"
                    )
                self._generation = await self._restore(version, following)
            elif signed == self._generation:
                self._size, self._root = kept[1], kept[2]
                self._note = self._path.read_bytes() if kept[0] == self.origin else None
        text = "".join(f"{key}\n" for key in self.public_keys)
        await asyncio.to_thread(replace_file, self._path.with_name(PUBLIC_FILE), text.encode())

    def _read_kept(self) -> tuple[verifier.Checkpoint, str]:
        """Read the last note, and why the journal is not the one that it was signed for."""
        note = self._path.read_bytes()
        origin = note.split(b"\n", 1)[0].decode("utf-8", "replace")
        known = verifier.parse_keys([public_key(origin, key) for key in self._keys])
        try:
            kept = verifier.open_note(note, known)
        except Exception:
            # Whatever it is, it is no note of ours; only the parser's own words would be hostile.
            nothing: verifier.Checkpoint = (origin, 0, verifier.EMPTY_ROOT, [])
            return nothing, f"{self._path.name} is no note that a key of this service has signed"
        if f"/{self._journal.id}/" not in origin + "/":
            return kept, f"{self._path.name} is of another journal"
        if kept[1] > self._tree.size or self._tree.root(kept[1]) != kept[2]:
            return kept, self._contradiction(kept[1])
        return kept, ""

    def _contradiction(self, size: int) -> str:
        if size > self._tree.size:
            return (
                f"the journal has {self._tree.size} events and the last signed checkpoint covers "
                f"{size}, as after restoring a backup"
            )
        return f"the journal's first {size} events are not those of the last signed checkpoint"

    async def _read_generation(self) -> tuple[int, int]:
        """Return the journal's generation and the version of the stream `sys`."""
        generation, version = 1, 0
        while page := await self._journal.read_stream(ids.SYS, version):
            version = page[-1].version
            for event in page:
                if isinstance(event.facts, JournalRestored):
                    generation = event.facts.generation
        return generation, version

    async def _restore(self, version: int, generation: int) -> int:
        size = self._tree.size
        facts = JournalRestored(
            from_size=size, generation=generation, root=self._tree.root(size).hex()
        )
        event = NewEvent(self._new_ids.new(), facts)
        meta = Metadata(tenant="", actor="", corr="")
        with suppress(ConflictError):
            await self._journal.append(
                Commit([StreamWrite(ids.SYS, version, [event], meta)]), patient=True
            )
            return generation
        return await self._restore((await self._read_generation())[1], generation)


@asynccontextmanager
async def open_checkpoints(
    data_dir: Path,
    journal: Journal,
    tree: Tree,
    new_ids: IdSource,
    *,
    host: str,
    key_path: Path | None = None,
    note_path: Path | None = None,
    accept_generation: int = 0,
    interval_s: float = INTERVAL_SECONDS,
) -> AsyncGenerator[Checkpoints]:
    """Sign checkpoints of an open journal while the context lasts.

    `host` names the service in the origin. Key and last note stand in the data directory unless
    they are put elsewhere, where restoring a backup does not touch them.

    Raises:
        StoreFailedError: the key file can't be used, or the host is no name.
    """
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,200}", host):
        raise StoreFailedError("the host of checkpoints has to be a host name, port allowed")
    keys = await asyncio.to_thread(load_keys, key_path or data_dir / KEY_FILE)
    path = note_path or data_dir / NOTE_FILE
    checkpoints = Checkpoints(
        journal, tree, new_ids, host, keys, path, accept_generation, interval_s
    )
    unsubscribe = journal.subscribe(checkpoints.hear)
    signing = asyncio.create_task(checkpoints.run())
    try:
        yield checkpoints
    finally:
        unsubscribe()
        signing.cancel()
        with suppress(asyncio.CancelledError):
            await signing
        if checkpoints.state != "refused":
            with suppress(JournalError, OSError):
                await checkpoints.sign()
        checkpoints.close()
