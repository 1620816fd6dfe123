"""Data directories of every released version: packed once, as a crash left them, never changed.

python -m tests.support.released VERSION     pack what this version writes, once

A directory of `tests/released/` holds `data.tar.xz` and `expected.json`, what the version itself
answered about it. `SHA256SUMS` says that neither changes. The keys in it open nothing else.
"""

from __future__ import annotations

import io
import lzma
import sys
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from refold.http.auth import SCOPES, mint

from .http_kit import create, followed, hook_path, run
from .service import Client, Endpoint, Hit, Service, chain, endpoint, node

RELEASED = Path(__file__).parents[1] / "released"
DATA, EXPECTED, SUMS = "data.tar.xz", "expected.json", "SHA256SUMS"
ORG, SECRET = "acme", "a secret of long ago"
# Made anew by any start, or of no use to another process.
_LEFT_OUT = ("tree", "journal.lock", "views.lock", "journal.db-shm", "views.db-shm")


class Expected(msgspec.Struct, frozen=True):
    """What a packed directory holds."""

    position: int
    """Its newest event is this one or a later one."""
    calling: str
    """A workflow that calls `{{ trigger.url }}` with a secret of the vault."""
    hook: str
    """The path of a workflow's webhook."""
    waiting: str
    """A run whose form is open."""
    failed: str
    """A run that can be resumed from its node `a`."""
    answers: dict[str, Any]
    """Paths, and what was answered there."""


def directories() -> list[Path]:
    """Return what was packed, oldest first."""
    return sorted(path.parent for path in RELEASED.glob(f"*/{DATA}"))


def expected(directory: Path) -> Expected:
    """Read what a packed directory holds."""
    return msgspec.json.decode((directory / EXPECTED).read_bytes(), type=Expected)


def unpack(directory: Path, to: Path) -> None:
    """Put a packed directory where it can be served."""
    with tarfile.open(directory / DATA, "r:xz") as packed:
        packed.extractall(to, filter="data")


def client_of(service: Service) -> Client:
    """Return a client with a token of the directory's own secret."""
    secret = (service.data / "jwt_secret").read_text("utf-8").strip()
    now = 1_700_000_000
    token = mint(secret, subject="me", tenant=ORG, scopes=SCOPES, ttl_s=10 * 365 * 86_400, now=now)
    return Client(service.port, token)


def called() -> dict[str, Any]:
    """Return the definition that calls an address of the payload with a secret of the vault."""
    header = {"key": "X-Key", "value": "{{ vault.kept }}"}
    call = node("c", "webhook", url="{{ trigger.url }}/x", headers=[header], body={"a": 1})
    text = node("a", "text_transform", template="hi {{ trigger.name }}")
    return chain(node("t", "manual_trigger"), text, call)


def make(directory: Path) -> None:
    """Let this version do a little of everything, kill it, and pack what it left.

    Raises:
        FileExistsError: there is such a directory; what was released is never packed again.
    """
    with tempfile.TemporaryDirectory() as scratch, endpoint(_refuse_once) as sink:
        service = Service(Path(scratch) / "data", {"REFOLD_JWT_SECRET": ""}).start()
        try:
            client = client_of(service)
            made = _live(client, sink)
            client.close()
        finally:
            # Killed, so that what a later version opens is a directory after a crash.
            service.kill()
        directory.mkdir(parents=True)
        (directory / DATA).write_bytes(_packed(service.data))
    (directory / EXPECTED).write_bytes(msgspec.json.format(msgspec.json.encode(made)) + b"\n")
    with (RELEASED / SUMS).open("a", encoding="ascii") as out:
        for name in (DATA, EXPECTED):
            digest = sha256((directory / name).read_bytes()).hexdigest()
            out.write(f"{digest}  {directory.name}/{name}\n")


def _refuse_once(hit: Hit) -> tuple[int, Any]:
    return (503, {"no": True}) if "refuse" in hit.path else (200, {"ok": True})


def _live(client: Client, sink: Endpoint) -> Expected:
    client.post("/workflows/vault", {"name": "kept", "secret": SECRET})
    calling = create(client, called())
    client.call("PUT", f"/workflows/{calling}", {"description": "its second version"})
    good = run(client, calling, {"url": sink.url, "name": "Ann"})["id"]
    failed = run(client, calling, {"url": f"{sink.url}/refuse", "name": "Bob"})["id"]
    resumed = client.post(f"/workflows/runs/{good}/rerun").json["new_run"]["id"]
    followed(client, resumed)
    hooked = create(
        client, chain(node("t", "webhook_trigger"), node("a", "text_transform", template="x"))
    )
    hook = hook_path(client, hooked)
    started = client.post(hook, {"a": 1}).headers["x-run-id"]
    followed(client, started)
    create(client, {**called(), "schedule_type": "daily", "schedule_value": "09:00",
                    "nodes": [node("t", "schedule_trigger"), *called()["nodes"][1:]]})  # fmt: skip
    form = create(client, chain(node("t", "manual_trigger"), node("ask", "form")))
    waiting = client.post(f"/workflows/{form}/execute", None, Prefer="wait=20").json["id"]
    paths = [f"/workflows/runs/{id_}" for id_ in (good, failed, resumed, started, waiting)]
    paths += [f"/workflows/{calling}/versions/{number}" for number in (1, 2)]
    paths += [f"/workflows/runs/{failed}/events", "/workflows/vault"]
    answers = {path: client.get(path).json for path in paths}
    position = int(client.get(paths[0]).headers["x-refold-position"])
    return Expected(position, calling, hook, waiting, failed, answers)


def _packed(data: Path) -> bytes:
    """Pack a directory so that equal files give equal bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as out:
        for path in sorted(data.iterdir()):
            if path.name in _LEFT_OUT:
                continue
            entry = tarfile.TarInfo(path.name)
            entry.size, entry.mode = path.stat().st_size, 0o600
            out.addfile(entry, io.BytesIO(path.read_bytes()))
    return lzma.compress(plain.getvalue(), preset=9 | lzma.PRESET_EXTREME)


if __name__ == "__main__":
    make(RELEASED / sys.argv[1])
