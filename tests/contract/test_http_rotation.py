"""The change of the vault key on a running service, and what a start accepts afterwards."""

from __future__ import annotations

import base64
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_kit import create, hook_path, refused
from tests.support.service import Client, Service, chain, node, running

VAULT = "/workflows/vault"
ROTATE = f"{VAULT}/rotate"
OLD = "vault_keys_old"


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def new_key() -> str:
    """Return a key as a setting takes it."""
    return base64.b64encode(os.urandom(32)).decode()


def wrapped_by(data: Path) -> set[str]:
    """Read under which keys the data keys that are left stand."""
    with closing(sqlite3.connect(f"file:{data / 'journal.db'}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT json_extract(entry, '$.facts.key_id') FROM event "
            "WHERE json_extract(entry, '$.type') = 'key.wrapped' "
            "AND position NOT IN (SELECT position FROM erasure)"
        )
        return {str(row[0]) for row in rows}


def rewrapped(service: Service, key_id: str) -> None:
    """Ask the service until every data key stands under this key and the old ones are gone."""
    deadline = time.monotonic() + 20
    client = service.client()
    while wrapped_by(service.data) - {key_id} or (service.data / OLD).exists():
        assert time.monotonic() < deadline, "".join(service.log)
        client.get("/readyz")
    client.close()


def filled(client: Client) -> dict[str, Any]:
    """Make what must survive: secrets, an API key, a workflow with a webhook."""
    for n in range(5):
        made = client.post(VAULT, {"name": f"item-{n}", "secret": f"secret {n}"})
        assert made.status == 201, made.body
    definition = chain(
        node("t", "webhook_trigger"), node("a", "text_transform", template="hi {{ run.id }}")
    )
    workflow = create(client, definition)
    return {"workflow": workflow, "hook": hook_path(client, workflow)}


def still_works(client: Client, known: dict[str, Any]) -> None:
    """See that what is keyed by the first key is as it was."""
    assert [item["name"] for item in client.get(VAULT).json] == [f"item-{n}" for n in range(5)]
    assert hook_path(client, known["workflow"]) == known["hook"]
    assert client.post(known["hook"], {}).status == 202
    taken = client.post(VAULT, {"name": "item-3", "secret": "x"})
    refused(taken, 409, "vault_name_taken")


def actors(data: Path) -> set[str]:
    """Read who made vault items, as the journal names them."""
    with closing(sqlite3.connect(f"file:{data / 'journal.db'}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT json_extract(entry, '$.actor') FROM event "
            "WHERE json_extract(entry, '$.type') = 'vault.defined'"
        )
        return {str(row[0]) for row in rows}


def test_the_key_is_changed_while_the_service_serves(data: Path) -> None:
    """Nobody notices: secrets, webhook addresses and actors are what they were."""
    with running(data) as service:
        client = service.client()
        known = filled(client)
        (before,) = wrapped_by(data)
        first = (data / "vault_key").read_text()
        for _ in range(2):
            reply = client.post(ROTATE)
            assert reply.status == 202
            key_id = reply.json["key_id"]
            rewrapped(service, key_id)
            assert wrapped_by(data) == {key_id} != {before}
            still_works(client, known)
        second = (data / "vault_key").read_text()
        assert second != first
        assert (data / "vault_key").stat().st_mode & 0o777 == 0o600
        client.close()
        for text in (first, second):
            assert text.strip() not in "".join(service.log)
    with running(data) as service:
        client = service.client()
        still_works(client, known)
        assert client.post(VAULT, {"name": "later", "secret": "x"}).status == 201
        client.close()
    assert len(actors(data)) == 1


def test_a_configured_key_is_changed_by_its_setting(data: Path) -> None:
    """One start with both keys, then the new one alone; the service won't do it by itself."""
    one, two = new_key(), new_key()
    with running(data, VAULT_KEY=one) as service:
        client = service.client()
        known = filled(client)
        refused(client.post(ROTATE), 409, "vault_key_configured")
        client.close()
    assert not (data / "vault_key").exists()
    with running(data, VAULT_KEY=two, VAULT_KEYS_OLD=f"{new_key()},{one}") as service:
        client = service.client()
        still_works(client, known)
        while len(wrapped_by(data)) > 1:
            client.get("/readyz")
        client.close()
    with running(data, VAULT_KEY=two) as service:
        client = service.client()
        still_works(client, known)
        client.close()
    stopped = Service(data, {"REFOLD_VAULT_KEY": one})
    with pytest.raises(RuntimeError) as caught:
        stopped.start()
    assert "REFOLD_VAULT_KEYS_OLD" in str(caught.value)
    assert one not in str(caught.value)


def test_earlier_keys_may_stand_in_a_file(data: Path, tmp_path: Path) -> None:
    """One a line, as for the file of the key itself; here from the data directory to a setting."""
    with running(data) as service:
        client = service.client()
        known = filled(client)
        client.close()
    (tmp_path / "old").write_text(f"{new_key()}\n{(data / 'vault_key').read_text()}\n")
    two = new_key()
    with running(data, VAULT_KEY=two, VAULT_KEYS_OLD_FILE=str(tmp_path / "old")) as service:
        client = service.client()
        still_works(client, known)
        client.close()


def test_a_service_that_dies_in_the_middle_goes_on_at_its_next_start(data: Path) -> None:
    """Killed right after its key was replaced, as often as it takes."""
    with running(data) as service:
        client = service.client()
        known = filled(client)
        key_id = client.post(ROTATE).json["key_id"]
        service.kill()
        client.close()
    for _ in range(2):
        with running(data) as service:
            service.kill()
    with running(data) as service:
        client = service.client()
        rewrapped(service, key_id)
        still_works(client, known)
        client.close()


def test_a_key_that_was_replaced_before_the_journal_heard_of_it_is_taken_up(data: Path) -> None:
    """The power failed between the two: the file is newer than the journal."""
    with running(data) as service:
        client = service.client()
        known = filled(client)
        (before,) = wrapped_by(data)
        client.close()
    old = (data / "vault_key").read_text()
    (data / OLD).write_text(old)
    (data / OLD).chmod(0o600)
    (data / "vault_key").write_text(new_key())
    with running(data) as service:
        client = service.client()
        still_works(client, known)
        while wrapped_by(data) & {before} or (data / OLD).exists():
            client.get("/readyz")
        still_works(client, known)
        client.close()
