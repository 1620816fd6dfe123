"""The service's own keys: taken from the settings, else made once in the data directory.

A key file appears whole or not at all: it is written under another name, synced, and then
linked, which fails if the name is taken. So two processes that start together agree on one key.

A vault key that is replaced stands in `vault_keys_old` before its successor takes its place, and
until nothing in the journal needs it any more: whenever the power fails, both are there.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
import tempfile
from pathlib import Path

import msgspec

from ..journal.files import make_directory, sync_directory
from .setting_types import SettingsError
from .settings import Settings

JWT_SECRET_NAME = "jwt_secret"
VAULT_KEY_NAME = "vault_key"
OLD_VAULT_KEYS_NAME = "vault_keys_old"
JWT_SECRET_BYTES_MIN = 32
VAULT_KEY_BYTES = 32
_KEY_FILE_BYTES_MAX = 8192


class VaultKeys(msgspec.Struct, frozen=True):
    """The vault key and those before it."""

    primary: bytes
    older: tuple[bytes, ...]
    is_own: bool
    """True where the service made its key itself, in the data directory, and may replace it."""

    def __repr__(self) -> str:
        """Say how many there are, and no more."""
        return f"VaultKeys({1 + len(self.older)} keys)"


def jwt_secret(settings: Settings) -> tuple[str, bool]:
    """Return the secret of HS256 tokens, and whether this call made it.

    Raises `SettingsError` where it can't be read, made or trusted.
    """
    if settings.jwt_secret:
        return settings.jwt_secret, False
    if settings.jwt_secret_file:
        return _checked_secret(_read(settings.jwt_secret_file), settings.jwt_secret_file), False
    return load_or_create_jwt_secret(settings.data)


def vault_key(settings: Settings) -> tuple[bytes, bool]:
    """Return the 32 bytes that secrets are encrypted with, and whether this call made them.

    Raises `SettingsError` where they can't be read, made or trusted.
    """
    if settings.vault_key:
        return _decoded_key(settings.vault_key, "REFOLD_VAULT_KEY"), False
    if settings.vault_key_file:
        path = settings.vault_key_file
        return _decoded_key(_read(path), str(path)), False
    return load_or_create_vault_key(settings.data)


def vault_keys(settings: Settings) -> VaultKeys:
    """Return the vault key and the earlier ones that secrets may still be encrypted with.

    Raises `SettingsError` where they can't be read, made or trusted.
    """
    primary, _ = vault_key(settings)
    is_own = not (settings.vault_key or settings.vault_key_file)
    older = _decoded_keys(settings.vault_keys_old, "REFOLD_VAULT_KEYS_OLD")
    if settings.vault_keys_old_file:
        path = settings.vault_keys_old_file
        older += _decoded_keys(_read(path), str(path))
    path = settings.data / OLD_VAULT_KEYS_NAME
    if is_own and os.path.lexists(path):
        older += _decoded_keys(_read(path, private=True), str(path))
    kept = dict.fromkeys(key for key in older if key != primary)
    return VaultKeys(primary, tuple(kept), is_own)


def replace_vault_key(data: Path) -> bytes:
    """Put a new random key in the place of the data directory's; returns it once it is lasting.

    Raises `SettingsError` where that can't be done; the key is then the one of before.
    """
    path, old = data / VAULT_KEY_NAME, data / OLD_VAULT_KEYS_NAME
    lines = [_read(path, private=True)]
    if os.path.lexists(old):
        lines += _read(old, private=True).split()
    key = secrets.token_bytes(VAULT_KEY_BYTES)
    try:
        _replace(old, "\n".join(dict.fromkeys(lines)))
        _replace(path, base64.b64encode(key).decode())
    except OSError as error:
        raise _trouble("The data directory", data, "be written", error) from error
    return key


def forget_old_vault_keys(data: Path) -> None:
    """Remove the keys before the present one from the data directory: nothing needs them.

    Raises `OSError` where the directory can't be written.
    """
    (data / OLD_VAULT_KEYS_NAME).unlink(missing_ok=True)
    sync_directory(data)


def load_or_create_jwt_secret(data: Path) -> tuple[str, bool]:
    """Read the secret of HS256 tokens from the data directory, or make it there."""
    text, created = _load_or_create(data, JWT_SECRET_NAME)
    return _checked_secret(text, data / JWT_SECRET_NAME), created


def load_or_create_vault_key(data: Path) -> tuple[bytes, bool]:
    """Read the vault key from the data directory, or make it there."""
    text, created = _load_or_create(data, VAULT_KEY_NAME)
    return _decoded_key(text, str(data / VAULT_KEY_NAME)), created


def _load_or_create(data: Path, name: str) -> tuple[str, bool]:
    path = data / name
    try:
        make_directory(data, 0o700)
        created = not os.path.lexists(path) and _create(path)
    except OSError as error:
        raise _trouble("The data directory", data, "be written", error) from error
    return _read(path, private=True), created


def _create(path: Path) -> bool:
    """Write a new random key; False if another process was first."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(VAULT_KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    finally:
        Path(temporary).unlink()
    sync_directory(path.parent)
    return True


def _replace(path: Path, text: str) -> None:
    """Write a file anew, as a whole or not at all, readable by its owner alone."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _read(path: Path, *, private: bool = False) -> str:
    """Read a key file; `private` demands that nobody but its owner may.

    Files named by a setting are exempt: secret mounts of containers are readable by design.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _unusable(path, "is not a file")
            mode = stat.S_IMODE(status.st_mode)
            if private and mode & 0o077:
                raise _unusable(path, f"has mode {mode:04o}; others may read it: chmod 600 it")
            content = file.read(_KEY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _trouble("The key file", path, "be read", error) from error
    if len(content) > _KEY_FILE_BYTES_MAX:
        raise _unusable(path, f"is larger than {_KEY_FILE_BYTES_MAX} bytes")
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise _unusable(path, "is not text") from None


def _checked_secret(text: str, path: Path) -> str:
    size = len(text.encode())
    if size < JWT_SECRET_BYTES_MIN:
        raise _unusable(path, f"holds {size} bytes; a secret has {JWT_SECRET_BYTES_MIN} at least")
    return text


def _decoded_keys(text: str, source: str) -> list[bytes]:
    """Read keys that are separated by commas or white space."""
    return [_decoded_key(part, source) for part in text.replace(",", " ").split()]


def _decoded_key(text: str, source: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != VAULT_KEY_BYTES:
        raise SettingsError(
            VAULT_KEY_NAME, f"{source} is not usable; it expects {VAULT_KEY_BYTES} bytes in base64."
        )
    return key


def _unusable(path: Path, fault: str) -> SettingsError:
    return SettingsError(path.name, f"The key file {path} {fault}.")


def _trouble(what: str, path: Path, verb: str, error: OSError) -> SettingsError:
    return SettingsError(path.name, f"{what} {path} can't {verb}: {error.strerror or error}.")
