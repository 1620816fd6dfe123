"""The keys that sign checkpoints: one file outside the database, and how keys follow one another.

The first key of the file is the present one, and all of them sign: while two do, whoever trusts
the old one can learn the new one from a note that both have signed.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .errors import StoreFailedError
from .files import sync_directory

KEY_FILE: Final = "checkpoint.key"
KEYS_MAX: Final = 8
_END: Final = b"-----END PRIVATE KEY-----\n"


def load_keys(path: Path) -> list[Ed25519PrivateKey]:
    """Read the signing keys, the present one first, making one if there is no file.

    Raises:
        StoreFailedError: the file can't be read or made, or is no such file.
    """
    try:
        if not path.exists():
            replace_file(path, _pem(Ed25519PrivateKey.generate()))
        if path.stat().st_mode & 0o077:
            raise StoreFailedError(f"{path} may be read by others; its mode has to be 0600")
        blocks = path.read_bytes().split(_END)[:-1]
        keys = [serialization.load_pem_private_key(block + _END, None) for block in blocks]
    except (OSError, ValueError, TypeError) as error:
        # What the file says stays out of the message.
        raise StoreFailedError(f"{path} can't be used as a key ({type(error).__name__})") from None
    found = [key for key in keys if isinstance(key, Ed25519PrivateKey)]
    if not 1 <= len(found) == len(keys) <= KEYS_MAX:
        raise StoreFailedError(f"{path} has to hold from 1 to {KEYS_MAX} Ed25519 keys")
    return found


def rotate_key(path: Path) -> None:
    """Put a new signing key in front of the others; all of them sign from the next start on.

    Auditors who trust an old key can so learn the new one from a note that both have signed.
    """
    older = load_keys(path)[: KEYS_MAX - 1]
    replace_file(path, b"".join(map(_pem, [Ed25519PrivateKey.generate(), *older])))


def retire_keys(path: Path) -> None:
    """End the overlap: only the present key signs from the next start on."""
    replace_file(path, _pem(load_keys(path)[0]))


def public_key(name: str, key: Ed25519PrivateKey, kind: int = 1) -> str:
    """Return a verifier key as C2SP signed-note writes it: NAME+ID+BASE64."""
    data = bytes([kind]) + key.public_key().public_bytes_raw()
    return f"{name}+{_key_id(name, data).hex()}+{base64.b64encode(data).decode()}"


def sign_note(origin: str, size: int, root: bytes, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """Return a checkpoint with a signature of each key."""
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    lines = ""
    for key in keys:
        id_ = _key_id(origin, b"\x01" + key.public_key().public_bytes_raw())
        coded = base64.b64encode(id_ + key.sign(text.encode())).decode()
        lines += f"\u2014 {origin} {coded}\n"
    return f"{text}\n{lines}".encode()


def _key_id(name: str, data: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + data).digest()[:4]


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file so that a crash leaves the old one or the new one, whole and on disk."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
    new.replace(path)
    sync_directory(path.parent)
