"""Mail addresses: one narrow grammar, so that what was judged is what the server is told.

Rules of this file:

1. An address is `local@domain` or `Name <local@domain>`. Quoted local parts, comments, groups,
   routes and address literals of RFC 5322 are refused: each reader reads them otherwise.
2. A name of a domain may be written in any script and is sent as IDNA (`xn--…`), which every
   server takes. A local part in other letters than ASCII would need SMTPUTF8 on every server of
   the way, so it is refused.
3. A line break or another control character is refused wherever it stands: it would begin a
   header, or a command to the server.
"""

from __future__ import annotations

import re
from email.headerregistry import Address
from typing import Final

from .egress import canonical_name

LOCAL_LENGTH_MAX: Final = 64
ADDRESS_LENGTH_MAX: Final = 254
NAME_LENGTH_MAX: Final = 200
LIST_LENGTH_MAX: Final = 32 * 1024
"""The longest text with addresses in it, in characters."""

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


class AddressError(Exception):
    """A text is no usable address.

    The message is a clause without its subject. It never holds the text, which may be a secret
    that a template put into the wrong field.
    """


def parse_address(text: str) -> Address:
    """Read one address, with or without a name before it.

    Raises:
        AddressError: it can't be used, and why.
    """
    text = _plain(text)
    name, spec = "", text
    if text.endswith(">"):
        name, opening, spec = text[:-1].rpartition("<")
        if not opening:
            raise AddressError("has no usable address")
        name = _name(name.strip())
    local, at, domain = spec.strip().rpartition("@")
    if not at or not local or not domain:
        raise AddressError("has no usable address")
    if not local.isascii():
        raise AddressError("has letters outside ASCII before '@'")
    if len(local) > LOCAL_LENGTH_MAX or not _LOCAL.fullmatch(local):
        raise AddressError("has no usable address")
    if len(domain) > ADDRESS_LENGTH_MAX:
        raise AddressError("has no usable address")
    try:
        host = canonical_name(domain)
    except ValueError:
        raise AddressError("has an unusable domain") from None
    if len(local) + 1 + len(host) > ADDRESS_LENGTH_MAX:
        raise AddressError(f"has an address longer than {ADDRESS_LENGTH_MAX} characters")
    return Address(name, local, host)


def split_addresses(text: str) -> list[str]:
    """Part a text at its commas, but for those inside a quoted name; nothing is no address.

    Raises:
        AddressError: the text is too long, or has a quotation mark that is never closed.
    """
    text = _plain(text)
    parts: list[str] = []
    quoted = False
    begin = at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and quoted:
            at += 1
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            parts.append(text[begin:at])
            begin = at + 1
        at += 1
    if quoted:
        raise AddressError("has a quotation mark that is never closed")
    parts.append(text[begin:])
    return [part.strip() for part in parts if part.strip()]


def _plain(text: str) -> str:
    if len(text) > LIST_LENGTH_MAX:
        raise AddressError(f"is longer than {LIST_LENGTH_MAX} characters")
    if CONTROL.search(text):
        raise AddressError("has a line break or another control character in it")
    return text.strip()


def _name(text: str) -> str:
    """Return a display name without its quotation marks."""
    if len(text) > NAME_LENGTH_MAX:
        raise AddressError(f"has a name longer than {NAME_LENGTH_MAX} characters")
    if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if any(char in text for char in '"<>()[]:;@\\,'):
        raise AddressError("has a name that must stand in quotation marks")
    return text
