"""A client that checks what it is told: notes, proofs and tiles of a service, by the verifier."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from refold.journal import merkle, verifier
from tests.support.service import Client, Service

VERIFIER = Path(verifier.__file__)


class Note(msgspec.Struct, frozen=True):
    """A checkpoint that was opened with the service's published keys."""

    origin: str
    size: int
    root: bytes
    text: bytes


def opened_note(service: Service, text: bytes) -> Note:
    """Open a note with the keys that the service published beside its own."""
    directory = service.environ.get("REFOLD_CHECKPOINT_DIRECTORY", service.data)
    keys = (Path(directory) / verifier.PUBLIC).read_text().split()
    origin, size, root, _ = verifier.open_note(text, verifier.parse_keys(keys))
    return Note(origin, size, root, text)


def checkpoint(service: Service, client: Client, covering: int = 0) -> Note:
    """Fetch a checkpoint that covers a position and open it."""
    reply = client.get(f"/journal/checkpoint?covering={covering}")
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"].startswith("text/plain")
    return opened_note(service, reply.body)


def head(client: Client) -> int:
    """Return the journal's newest position, as the pages say it."""
    position, after = 0, 0
    while after is not None:
        page = client.get(f"/journal/entries?after={after}&limit=1000").json
        position, after = page["position"], page["next"]
    return int(position)


def unhex(hashes: Sequence[str]) -> list[bytes]:
    """Read hashes."""
    return [bytes.fromhex(one) for one in hashes]


def is_proven(proof: Any) -> bool:
    """Check an inclusion proof against the root that came with it."""
    return merkle.is_included(
        bytes.fromhex(proof["leaf"]),
        proof["position"] - 1,
        proof["size"],
        unhex(proof["hashes"]),
        bytes.fromhex(proof["root"]),
    )


class Tiles:
    """Reads hashes from tiles alone, fetched as C2SP tlog-tiles says: each whole or as it is."""

    def __init__(self, client: Client, size: int) -> None:
        self._client = client
        self._size = size
        self.fetched: list[str] = []

    def read(self, level: int, first: int, last: int) -> bytes:
        """Return the hashes `first` to `last` (not included) of a level."""
        n, start = divmod(first, merkle.TILE_WIDTH)
        assert last <= (n + 1) * merkle.TILE_WIDTH
        width = min((self._size >> (8 * level)) - n * merkle.TILE_WIDTH, merkle.TILE_WIDTH)
        partial = f".p/{width}" if width < merkle.TILE_WIDTH else ""
        path = f"/journal/tile/{level}/{_number(n)}{partial}"
        self.fetched.append(path)
        reply = self._client.get(path)
        assert (reply.status, len(reply.body)) == (200, width * merkle.HASH_BYTES), reply.body
        end = last - n * merkle.TILE_WIDTH
        return reply.body[start * merkle.HASH_BYTES : end * merkle.HASH_BYTES]


def _number(n: int) -> str:
    groups = [f"{n % 1000:03d}"]
    while n := n // 1000:
        groups.append(f"x{n % 1000:03d}")
    return "/".join(reversed(groups))


def verify(path: Path, *options: str, cwd: Path | None = None) -> tuple[int, str]:
    """Run a verifier that stands alone on some evidence; returns its exit code and sentence."""
    program = VERIFIER if cwd is None else cwd / VERIFIER.name
    done = subprocess.run(
        # -I: no module of this project is within its reach.
        [sys.executable, "-I", str(program), str(path), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()
