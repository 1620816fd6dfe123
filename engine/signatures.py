"""Signed webhook calls: HMAC-SHA256 over the raw body, with a time so that it can't be kept.

Pure. The header `X-Signature: sha256=<hex>` is made over

    <body>                                       where the tolerance is 0
    <timestamp>.<body>                           else, or, where the call has a key,
    <timestamp>.<Idempotency-Key>.<body>

with the timestamp (Unix seconds) of the header `X-Signature-Timestamp` and the key as they were
sent. The key is signed because a captured call with another key would be another run.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Final

import msgspec

SIGNATURE_HEADER: Final = "x-signature"
TIMESTAMP_HEADER: Final = "x-signature-timestamp"
KEY_HEADER: Final = "idempotency-key"
SECRETS_MAX: Final = 5
TOLERANCE_SECONDS_MAX: Final = 3600
_SIGNATURE: Final = re.compile(r"sha256=([0-9A-Fa-f]{64})", re.ASCII)
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_REFERENCE: Final = re.compile(
    r"""\{\{-?\s*vault(?:\.([A-Za-z0-9_][A-Za-z0-9_\-]*?)|\[\s*["']([A-Za-z0-9_.:\-]+)["']\s*\])"""
    r"""\s*-?\}\}|vlt_[0-9a-z]{26}""",
    re.ASCII,
)


class SignatureConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the calls of a webhook are signed."""

    secrets: Annotated[list[str], msgspec.Meta(min_length=1, max_length=SECRETS_MAX)]
    """References to the vault, `{{ vault.name }}` or `vlt_…`; any of them is good, so that
    a sender can change over from one to the next."""
    tolerance_seconds: Annotated[int, msgspec.Meta(ge=0, le=TOLERANCE_SECONDS_MAX)] = 300
    """How far the time of a call may be off, either way; 0 means that no time is signed."""

    @property
    def references(self) -> list[str]:
        """The names or `vlt_…` ids of the secrets."""
        return [
            text if (found := _REFERENCE.fullmatch(text)) is None else found[1] or found[2] or text
            for text in self.secrets
        ]

    @property
    def replays_show(self) -> bool:
        """Whether a second call with the same signature is a copy of the first.

        Without a time in it, two calls with the same body have the same signature.
        """
        return self.tolerance_seconds > 0


def check_signature_config(config: SignatureConfig) -> dict[str, list[str]]:
    """Say which secrets are no references: one in clear would stand in every version."""
    return {
        f"signature.secrets[{index}]": ["must be '{{ vault.<name> }}' or 'vlt_…'"]
        for index, text in enumerate(config.secrets)
        if not _REFERENCE.fullmatch(text)
    }


def signed_text(body: bytes, timestamp: str, key: str | None) -> bytes:
    """Return what is signed; an empty `timestamp` means the body alone."""
    if not timestamp:
        return body
    parts = [timestamp] if key is None else [timestamp, key]
    return b".".join([part.encode("latin-1") for part in parts] + [body])


def sign(secret: str, text: bytes) -> str:
    """Return the value of `X-Signature`."""
    return "sha256=" + hmac.new(secret.encode(), text, sha256).hexdigest()


def accepted_signature(
    config: SignatureConfig,
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now_s: float,
) -> str | None:
    """Return the signature of a call in lower case, None where it is missing or wrong.

    `secrets` are those of the configuration that could be revealed; without any, nothing is
    accepted. The names of `headers` are in lower case. Every secret is tried, whichever fits.
    """
    given = _SIGNATURE.fullmatch(headers.get(SIGNATURE_HEADER, "").strip())
    timestamp = ""
    if config.tolerance_seconds:
        timestamp = headers.get(TIMESTAMP_HEADER, "").strip()
        if not _TIMESTAMP.fullmatch(timestamp):
            return None
        if abs(now_s - int(timestamp)) > config.tolerance_seconds:
            return None
    if given is None:
        return None
    text = signed_text(body, timestamp, headers.get(KEY_HEADER))
    signature = given[1].lower()
    fits = [
        hmac.compare_digest(sign(secret, text), "sha256=" + signature)
        for secret in secrets
        # An empty secret would be one that everybody knows.
        if secret
    ]
    return signature if any(fits) else None
