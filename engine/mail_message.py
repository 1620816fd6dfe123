"""A mail as data, and the bytes that it is sent as (RFC 5322, MIME).

The header is written here, line by line, from parts that were judged: no value is ever parsed
as a header again. The bytes follow from the mail, its key and its date alone, so a repeat of
the same effect has the same Message-ID and the same boundaries.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256
from typing import Final

import msgspec

_POLICY: Final = SMTP.clone(cte_type="7bit")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


class Email(msgspec.Struct, frozen=True, kw_only=True):
    """A mail; `bcc` is told to the server and stands in no header."""

    to: tuple[Address, ...]
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    sender: Address | None = None
    """Who it is from; None for the configured sender."""
    subject: str = ""
    text: str = ""
    html: str = ""

    @property
    def recipients(self) -> list[str]:
        """The addresses that the server is told, each once, in order."""
        return list(dict.fromkeys(a.addr_spec for a in (*self.to, *self.cc, *self.bcc)))


def message_id(key: str, domain: str) -> str:
    """Return the Message-ID of the mail with this effect key."""
    return f"<{_digest('message-id', key)}@{domain}>"


def compose(email: Email, configured: Address, key: str, at_us: int) -> bytes:
    """Write a mail as it is sent: ASCII only, lines of at most 998 characters, CRLF.

    `configured` is the sender that the server knows; where the mail is from somebody else, it is
    named as `Sender`.
    """
    author = email.sender or configured
    date = datetime.fromtimestamp(at_us // 1_000_000, UTC)
    lines = [
        f"Message-ID: {message_id(key, configured.domain)}",
        f"Date: {format_datetime(date)}",
        f"From: {_addresses([author])}",
    ]
    if author.addr_spec != configured.addr_spec:
        lines.append(f"Sender: {_addresses([configured])}")
    for name, listed in (("To", email.to), ("Cc", email.cc), ("Reply-To", email.reply_to)):
        if listed:
            lines.append(f"{name}: {_addresses(listed)}")
    lines.append(f"Subject: {_text(email.subject, 'Subject')}")
    # RFC 3834: what answers by itself doesn't answer this.
    lines.append("Auto-Submitted: auto-generated")
    content = _content(email, key).as_bytes(policy=_POLICY)
    return "\r\n".join(lines).encode("ascii") + b"\r\n" + content


def _content(email: Email, key: str) -> EmailMessage:
    """Make the body with its MIME headers; plain text stands before HTML, as the RFC demands."""
    message = EmailMessage(policy=_POLICY)
    if email.text or not email.html:
        message.set_content(email.text)
    if email.html and not email.text:
        message.set_content(email.html, subtype="html")
    elif email.html:
        message.add_alternative(email.html, subtype="html")
        # The library would draw one at random.
        message.set_boundary(_digest("boundary", key))
    return message


def _digest(purpose: str, key: str) -> str:
    return sha256(f"refold/mail/{purpose}/v1\x00{key}".encode("utf-8", "replace")).hexdigest()[:40]


def _addresses(addresses: Sequence[Address]) -> str:
    """Write a list of addresses, each on a line of its own."""
    return ",\r\n ".join(_address(address) for address in addresses)


def _address(address: Address) -> str:
    name = address.display_name
    if not name:
        return address.addr_spec
    if not _PRINTABLE.fullmatch(name) or "=?" in name:
        # In this form no character of a name can be taken for a part of the header.
        shown = Header(name, "utf-8", header_name="From").encode(linesep="\r\n")
    elif _ATOMS.fullmatch(name):
        shown = name
    else:
        escaped = re.sub(r'(["\\])', r"\\\1", name)
        shown = f'"{escaped}"'
    return f"{shown}\r\n <{address.addr_spec}>"


def _text(text: str, header: str) -> str:
    if not _PRINTABLE.fullmatch(text) or "=?" in text:
        return Header(text, "utf-8", header_name=header).encode(linesep="\r\n")
    return Header(text, "us-ascii", header_name=header).encode(linesep="\r\n")
