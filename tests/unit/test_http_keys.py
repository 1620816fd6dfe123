"""The service's own keys: made once, whole, and readable by nobody else."""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path

import pytest

from refold.http.keys import (
    jwt_secret,
    load_or_create_jwt_secret,
    load_or_create_vault_key,
    vault_key,
)
from refold.http.setting_types import SettingsError
from refold.http.settings import Settings


def refusal(data: Path) -> str:
    """The message with which the secret of this data directory is refused."""
    with pytest.raises(SettingsError) as caught:
        load_or_create_jwt_secret(data)
    return str(caught.value)


def test_keys_are_made_once_and_read_ever_after(tmp_path: Path) -> None:
    """A restart must accept the tokens and open the secrets of before."""
    data = tmp_path / "deep" / "data"
    secret, created = load_or_create_jwt_secret(data)
    assert created
    assert len(secret) >= 32
    assert load_or_create_jwt_secret(data) == (secret, False)
    key, created = load_or_create_vault_key(data)
    assert created
    assert len(key) == 32
    assert load_or_create_vault_key(data) == (key, False)
    assert base64.b64encode(key).decode() != secret


def test_only_the_owner_can_read_a_key_and_nothing_else_is_left(tmp_path: Path) -> None:
    """A key that others on the machine can read is no secret."""
    data = tmp_path / "data"
    load_or_create_jwt_secret(data)
    assert [path.name for path in data.iterdir()] == ["jwt_secret"]
    assert (data / "jwt_secret").stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o777 == 0o700


def test_many_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """`refold token` may run while the first `refold serve` starts."""
    results: list[tuple[str, bool]] = []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        results.append(load_or_create_jwt_secret(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({secret for secret, _ in results}) == 1
    assert sum(created for _, created in results) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["jwt_secret"]


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """Going on would hide that it may be known already."""
    load_or_create_jwt_secret(tmp_path)
    (tmp_path / "jwt_secret").chmod(0o640)
    assert "has mode 0640" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "holds 0 bytes"),
        (b"short\n", "holds 5 bytes"),
        (b"\xff" * 40, "is not text"),
        (b"x" * 9000, "is larger than 8192 bytes"),
    ],
)
def test_a_damaged_key_is_refused_and_never_replaced(
    tmp_path: Path, content: bytes, fault: str
) -> None:
    """A new key in its place would lock out every token and secret of before."""
    path = tmp_path / "jwt_secret"
    path.write_bytes(content)
    path.chmod(0o600)
    assert fault in refusal(tmp_path)
    assert path.read_bytes() == content


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """Opening a pipe would hang the start, and a dangling link would be written through."""
    os.mkfifo(tmp_path / "jwt_secret", 0o600)
    assert "is not a file" in refusal(tmp_path)
    (tmp_path / "jwt_secret").unlink()
    (tmp_path / "jwt_secret").symlink_to(tmp_path / "nowhere")
    assert "can't be read" in refusal(tmp_path)
    assert not (tmp_path / "nowhere").exists()


def test_a_data_directory_that_cant_be_made_is_one_clear_line(tmp_path: Path) -> None:
    """The path and the system's own word are all that an operator needs."""
    (tmp_path / "file").write_text("")
    message = refusal(tmp_path / "file" / "data")
    assert message.startswith(f"The data directory {tmp_path / 'file' / 'data'} can't be written:")


def test_a_vault_key_of_the_wrong_size_is_refused_without_being_shown(tmp_path: Path) -> None:
    """A key cut short in copying must not encrypt anything."""
    for text in ("c2hvcnQ=", "not base64 at all!"):
        settings = Settings.load({"data": str(tmp_path)}, {"REFOLD_VAULT_KEY": text})
        with pytest.raises(SettingsError) as caught:
            vault_key(settings)
        assert str(caught.value) == "REFOLD_VAULT_KEY is not usable; it expects 32 bytes in base64."
    assert list(tmp_path.iterdir()) == []


def test_a_configured_key_goes_before_the_data_directory(tmp_path: Path) -> None:
    """Whoever configures a key wants that one, and no other lying about."""
    key = os.urandom(32)
    (tmp_path / "vault").write_bytes(base64.b64encode(key) + b"\n")
    (tmp_path / "secret").write_text("s" * 40 + "\n")
    (tmp_path / "secret").chmod(0o444)
    flags: dict[str, str | int | None] = {
        "data": str(tmp_path / "data"),
        "vault_key_file": str(tmp_path / "vault"),
        "jwt_secret_file": str(tmp_path / "secret"),
    }
    settings = Settings.load(flags, {})
    assert vault_key(settings) == (key, False)
    assert jwt_secret(settings) == ("s" * 40, False)
    assert not (tmp_path / "data").exists()
    from_environment = Settings.load({}, {"REFOLD_JWT_SECRET": "e" * 40})
    assert jwt_secret(from_environment) == ("e" * 40, False)
