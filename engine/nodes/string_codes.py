"""Operations of a `string_transform` that encode, decode and digest."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from .string_operation import Operation, OperationFault


class Base64Encode(Operation, frozen=True, tag="base64_encode"):
    """Base64 of the text's UTF-8."""

    url_safe: bool = False

    def on(self, text: str) -> str:
        """Encode; the URL-safe form has no `=`."""
        made = base64.b64encode(text.encode(), b"-_" if self.url_safe else None).decode()
        return made.rstrip("=") if self.url_safe else made


class Base64Decode(Operation, frozen=True, tag="base64_decode"):
    """The text whose UTF-8 is given as Base64, with or without `=` at its end."""

    url_safe: bool = False

    def on(self, text: str) -> str:
        """Decode strictly."""
        raw = text.strip().rstrip("=")
        try:
            padded = raw + "=" * (-len(raw) % 4)
            return base64.b64decode(
                padded.encode(), b"-_" if self.url_safe else None, validate=True
            ).decode()
        except (binascii.Error, ValueError) as error:
            raise OperationFault("needs Base64 of a text in UTF-8") from error


class UrlEncode(Operation, frozen=True, tag="url_encode"):
    """Percent-encodes everything but letters, digits and `-._~`."""

    def on(self, text: str) -> str:
        """Encode."""
        return quote(text, safe="")


class UrlDecode(Operation, frozen=True, tag="url_decode"):
    """Decodes percent-encoding, and `+` as a space."""

    def on(self, text: str) -> str:
        """Decode; what is no percent-encoding stays."""
        try:
            return unquote_to_bytes(text.replace("+", " ")).decode()
        except UnicodeDecodeError as error:
            raise OperationFault("needs percent-encoded UTF-8") from error


class Hash(Operation, frozen=True, tag="hash"):
    """A digest of the text's UTF-8, in hex."""

    algorithm: Literal["sha256", "sha512", "sha1", "md5"] = "sha256"

    def on(self, text: str) -> str:
        """Digest."""
        return hashlib.new(self.algorithm, text.encode(), usedforsecurity=False).hexdigest()


CodeEdit: TypeAlias = Base64Encode | Base64Decode | UrlEncode | UrlDecode | Hash
