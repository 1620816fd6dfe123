"""What the service is called in its checkpoints, and what happens where nothing can be proven."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from refold.http.proofs import checkpoint_host, open_proofs
from refold.http.settings import Settings
from refold.journal.errors import StoreOwnedError
from tests.support.journal_kit import NEW_IDS, opened


@pytest.mark.parametrize(
    ("values", "host"),
    [
        ({}, "localhost"),
        ({"public_url": "https://refold.example/"}, "refold.example"),
        ({"public_url": "http://refold.example:8443"}, "refold.example:8443"),
        ({"public_url": "https://b\xfccher.example"}, "xn--bcher-kva.example"),
        ({"public_url": "https://refold.example", "checkpoint_host": "log.example"}, "log.example"),
    ],
)
def test_a_checkpoint_names_what_lasts(values: dict[str, str], host: str) -> None:
    """Not where the service happens to listen: auditors compare origins over years."""
    assert checkpoint_host(Settings.load(values, {})) == host


def test_a_directory_of_checkpoints_is_used_by_one_service(tmp_path: Path) -> None:
    """Two copies of a journal would sign over each other's notes."""

    async def start(name: str) -> None:
        data = tmp_path / name
        data.mkdir()
        settings = Settings(data=data, checkpoint_directory=tmp_path / "notes")
        async with opened(data) as journal, open_proofs(settings, journal, NEW_IDS) as proofs:
            await proofs.note(1)
            if name == "a":
                with pytest.raises(StoreOwnedError):
                    await start("b")

    asyncio.run(start("a"))
