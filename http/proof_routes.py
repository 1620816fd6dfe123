"""The proofs as routes: checkpoint, tiles, inclusion, consistency, and a run's bundle of evidence.

They show hashes of everything that is in the journal, and nothing else of what is not the caller's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from ..engine.errors import StateError
from ..journal.errors import CorruptStoreError, StoreFailedError
from ..journal.tree_store import TreeRangeError
from . import proof_wire as wire
from .call import Answer, Call, answer, whole_number
from .errors import RequestError, parameter_invalid
from .proofs import ProofsUnavailableError
from .services import App

_log = logging.getLogger("refold.http")
_TEXT: Final = ((b"content-type", b"text/plain; charset=utf-8"),)
_BYTES: Final = ((b"content-type", b"application/octet-stream"),)
_NUMBER: Final = re.compile(r"(?:x[0-9]{3}/)*[0-9]{3}|0|[1-9][0-9]{0,11}")
"""A tile's number as C2SP tlog-tiles writes it (`x001/234`), or plainly."""
_WIDTH: Final = re.compile(r"[1-9][0-9]{0,2}")


async def checkpoint(app: App, call: Call) -> Answer:
    """Return the newest checkpoint, a C2SP signed note; or one that covers a position.

    A position that was just committed is covered within about a second, so it is waited for.
    """
    covering = call.number("covering")
    if covering > app.journal.head:
        raise parameter_invalid("covering", "is a position that the journal has not reached")
    with _faults():
        note, _ = await app.proofs.note(covering)
    return Answer(200, note, _TEXT)


async def tile(app: App, call: Call) -> Answer:
    """Return a tile of the tree, as C2SP tlog-tiles has it: up to 256 hashes of 32 bytes."""
    return _tile(app, call, "n")


async def tile_in_two(app: App, call: Call) -> Answer:
    """Return a tile whose address has two parts: `067.p/12` (a partial one) or `x001/234`."""
    return _tile(app, call, "n", "more")


async def tile_in_three(app: App, call: Call) -> Answer:
    """Return a tile whose address has three parts: `x001/234.p/12` or `x001/x234/067`."""
    return _tile(app, call, "n", "more", "last")


def _tile(app: App, call: Call, *names: str) -> Answer:
    level = whole_number(call.params["level"], "level")
    number, partial, width = "/".join(call.params[name] for name in names).partition(".p/")
    if not _NUMBER.fullmatch(number):
        raise parameter_invalid("n", "must be the number of a tile, such as 67 or x001/234")
    if partial and not (_WIDTH.fullmatch(width) and int(width) < wire.TILE_WIDTH):
        raise parameter_invalid("n", "must end with a width from 1 to 255 after .p/")
    n = int(number.replace("x", "").replace("/", ""))
    with _faults():
        try:
            hashes = app.proofs.tree.tile(level, n, int(width) if partial else wire.TILE_WIDTH)
        except TreeRangeError as error:
            raise RequestError(404, "resource_missing", f"{error}.".capitalize()) from None
    return Answer(200, hashes, _BYTES)


async def inclusion(app: App, call: Call) -> Answer:
    """Prove that an entry is in the journal, whoever's it is: its hash, and the way to the root.

    Without `size` the proof leads to a checkpoint that covers the entry, which comes along.
    """
    position = whole_number(call.params["position"], "position")
    if not 1 <= position <= app.journal.head:
        raise RequestError(404, "resource_missing", "There is no entry at this position.")
    tree = app.proofs.tree
    with _faults():
        size, note = await _size(app, call, "size", position)
        leaf, root = tree.leaf(position - 1), tree.root(size)
        hashes = tree.inclusion(position - 1, size)
    proof = wire.InclusionProof(position, leaf.hex(), size, root.hex(), _hex(hashes), note)
    return answer(200, proof)


async def consistency(app: App, call: Call) -> Answer:
    """Prove that the journal of an earlier size is the beginning of that of a later one.

    Without `to` the proof leads to the newest checkpoint, which comes along.
    """
    if "from" not in call.query:
        raise RequestError(
            422, "parameter_missing", "from is required.", errors={"from": ["is required"]}
        )
    first = call.number("from")
    if first > app.journal.head:
        raise parameter_invalid("from", "is a size that the journal has not reached")
    tree = app.proofs.tree
    with _faults():
        second, note = await _size(app, call, "to", first)
        roots = tree.root(first), tree.root(second)
        hashes = tree.consistency(first, second)
    return answer(
        200,
        wire.ConsistencyProof(first, second, roots[0].hex(), roots[1].hex(), _hex(hashes), note),
    )


async def bundle(app: App, call: Call) -> Answer:
    """Return the evidence of an ended run as one zip file, of deleted workflows too.

    In it are the run's entries and bodies as exact bytes, those of every run that it goes back
    to, the definitions, one proof for all, a checkpoint, and the program that checks it.
    """
    run_id = call.params["runId"]
    loaded = await app.runs.find(call.principal.tenant, run_id, deleted_too=True)
    kept = call.number("kept")
    if kept > app.journal.head:
        raise parameter_invalid("kept", "is a size that the journal has not reached")
    if not loaded.state.is_ended:
        raise StateError("run_not_finished", "Evidence is of a whole run, and this one goes on.")
    with _faults():
        packed = await app.proofs.bundle(run_id, kept)
    name = f'attachment; filename="{run_id}.zip"'.encode()
    return Answer(
        200, packed, ((b"content-type", b"application/zip"), (b"content-disposition", name))
    )


async def _size(app: App, call: Call, name: str, least: int) -> tuple[int, str | None]:
    """Return the size that a proof leads to, and the checkpoint of it where none was asked for."""
    if name not in call.query:
        note, size = await app.proofs.note(least)
        return size, note.decode()
    size = call.number(name)
    if not least <= size <= app.journal.head:
        raise parameter_invalid(name, f"must be from {least} to the journal's newest position")
    await app.proofs.grown(size)
    return size, None


def _hex(hashes: list[bytes]) -> list[str]:
    return [one.hex() for one in hashes]


@contextmanager
def _faults() -> Generator[None]:
    """Tell faults of the tree and of stored entries apart from those of the writer."""
    try:
        yield
    except StoreFailedError as error:
        _log.error("no proof could be made: %s", error)
        raise _unavailable() from None
    except ProofsUnavailableError:
        raise _unavailable() from None
    except CorruptStoreError as error:
        # This is what an auditor came for, and it names nothing but a position.
        _log.error("no evidence could be made: %s", error)
        text = f"No evidence can be made: {error}."
        raise RequestError(500, "journal_damaged", text) from None


def _unavailable() -> RequestError:
    return RequestError(
        503,
        "proofs_unavailable",
        "The tree over the journal does not answer in time; try again later.",
        headers={"Retry-After": "1"},
    )
