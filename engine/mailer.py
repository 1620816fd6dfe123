"""The mailer: sends mail by the one SMTP server that the operator has configured.

Rules of this file:

1. The server is the operator's word, so no egress guard stands before it; no workflow can name
   another one.
2. TLS certificates are always checked. `none` is plain text: whoever configures a login must use
   TLS, unless the server is this machine (http/settings.py sees to it).
3. A mail is handed over once. Whether a failed one is tried again is left to the retry policy,
   and a repeat has the same Message-ID.
4. What the server says is bounded before it is shown; what it says to a login is never shown.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from email.headerregistry import Address
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from ..journal.clock import Clock
from .component import Json, NodeError
from .mail_message import Email, compose, message_id

if TYPE_CHECKING:
    from aiosmtplib import SMTP

Security = Literal["none", "starttls", "tls"]
PORTS: Final[dict[Security, int]] = {"none": 25, "starttls": 587, "tls": 465}
MESSAGE_BYTES_MAX: Final = 1 << 20
_CONNECTIONS_MAX: Final = 16
_QUIT_S: Final = 1.0
_SAID_LENGTH_MAX: Final = 200
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]+")


class MailServer(msgspec.Struct, frozen=True, kw_only=True):
    """The configured server, and who mail comes from."""

    host: str
    sender: Address
    security: Security = "starttls"
    port: int = 0
    """0 for the usual one: 25, 587 or 465."""
    user: str = ""
    """Whom to log in as, "" for no login."""
    password: str = ""
    """Used where a node brings none."""
    ca_file: str = ""
    """PEM file with the authorities to trust instead of the machine's, "" for those."""

    def __repr__(self) -> str:
        """Show the server and not the password."""
        return f"MailServer({self.host}:{self.port or PORTS[self.security]})"

    def __rich_repr__(self) -> Any:
        """Keep rich from reading the fields past `__repr__`."""
        yield f"{self.host}:{self.port or PORTS[self.security]}"


class RefusedRecipient(msgspec.Struct, frozen=True):
    """An address that the server didn't take, and what it said."""

    address: str
    code: int
    message: str


class SentMail(msgspec.Struct, frozen=True):
    """What became of a mail that the server took for one recipient at least."""

    message_id: str
    accepted: list[str]
    refused: list[RefusedRecipient]


class Mailer:
    """Sends mail; make one for a service."""

    def __init__(self, server: MailServer | None, clock: Clock) -> None:
        """`server` is None where none is configured: every mail then fails and says so."""
        self._server = server
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._places = asyncio.Semaphore(_CONNECTIONS_MAX)

    async def send(self, email: Email, key: str, timeout_s: float, password: str = "") -> SentMail:
        """Hand a mail over to the server.

        Args:
            email: what to send.
            key: the effect key, of which the Message-ID is made.
            timeout_s: how long all of it may take.
            password: goes before the configured one.

        Raises:
            NodeError: `email_not_configured`, `email_too_large`, `smtp_<code>` (such as
                `smtp_451`), `timeout`, `connect_error`, `tls_error` or `protocol_error`.
        """
        server = self._server
        if server is None:
            raise NodeError(
                "email_not_configured", "No mail server is configured (REFOLD_SMTP_HOST)."
            )
        content = compose(email, server.sender, key, self._clock.now_us())
        if len(content) > MESSAGE_BYTES_MAX:
            raise NodeError(
                "email_too_large",
                f"Email was not sent: it has {len(content)} bytes; "
                f"the limit is {MESSAGE_BYTES_MAX}.",
            )
        await asyncio.to_thread(importlib.import_module, "aiosmtplib")
        refused: list[RefusedRecipient] | None = None
        try:
            async with asyncio.timeout(timeout_s), self._places, self._connected(server) as client:
                if server.user:
                    await _log_in(client, server.user, password or server.password)
                refused = await _deliver(client, server, email, content)
                await _leave(client)
        except TimeoutError:
            # Once the server has taken the mail it is sent, however long the farewell takes.
            if refused is None:
                raise _failure(
                    "timeout",
                    f"the server '{server.host}' did not answer within {timeout_s:.3g} s.",
                ) from None
        assert refused is not None
        unwanted = {recipient.address for recipient in refused}
        accepted = [address for address in email.recipients if address not in unwanted]
        return SentMail(message_id(key, server.sender.domain), accepted, refused)

    @asynccontextmanager
    async def _connected(self, server: MailServer) -> AsyncGenerator[SMTP]:
        """Connect to the server; faults of the library, here and inside, become failures."""
        from aiosmtplib import SMTP, SMTPException

        if server.security != "none" and self._context is None:
            self._context = await asyncio.to_thread(_tls_context, server.ca_file)
        client = SMTP(
            hostname=server.host,
            port=server.port or PORTS[server.security],
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=self._context,
            # A name of our own: the library would ask the name server for the machine's.
            local_hostname=server.sender.domain,
            timeout=None,
        )
        try:
            await client.connect()
            yield client
        except (SMTPException, OSError, ValueError) as fault:
            raise _translate(fault, server.host) from None
        finally:
            client.close()


async def _deliver(
    client: SMTP, server: MailServer, email: Email, content: bytes
) -> list[RefusedRecipient]:
    """Hand a mail over and return the recipients that the server didn't take."""
    errors, _ = await client.sendmail(server.sender.addr_spec, email.recipients, content)
    return [
        RefusedRecipient(address, said.code, _plain(said.message))
        for address, said in errors.items()
    ]


async def _log_in(client: SMTP, user: str, password: str) -> None:
    """Log in; what the server says to it may repeat what it was told, so it is not passed on."""
    from aiosmtplib import SMTPAuthenticationError, SMTPException, SMTPServerDisconnected

    try:
        await client.login(user, password)
    except SMTPAuthenticationError as fault:
        raise _failure(
            f"smtp_{fault.code}", f"the server refused the login ({fault.code})."
        ) from None
    except SMTPServerDisconnected:
        raise
    except (SMTPException, UnicodeError):
        raise _failure("protocol_error", "no login is possible with this server.") from None


async def _leave(client: SMTP) -> None:
    """Take leave of the server; the mail's fate is settled, so no fault here matters."""
    from aiosmtplib import SMTPException

    with suppress(SMTPException, OSError):
        async with asyncio.timeout(_QUIT_S):
            await client.quit()


def _tls_context(ca_file: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError):
        raise _failure(
            "tls_error", "the authorities of REFOLD_SMTP_CA_FILE can't be read."
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _failure(code: str, clause: str, received: dict[str, Json] | None = None) -> NodeError:
    return NodeError(code, f"Email was not sent: {clause}", received)


def _translate(fault: Exception, host: str) -> NodeError:
    """Name a fault of the library in our words; its own text may quote what was sent."""
    import aiosmtplib as smtp

    if isinstance(fault, smtp.SMTPRecipientsRefused):
        return _refused(fault, host)
    # The library gives what is no answer at all the code -1.
    if isinstance(fault, smtp.SMTPResponseException) and 400 <= fault.code < 600:
        said = _plain(fault.message)
        return _failure(
            f"smtp_{fault.code}",
            f"the server '{host}' answered {fault.code}.",
            {"code": fault.code, "message": said},
        )
    if isinstance(fault, TimeoutError):
        return _failure("timeout", f"the server '{host}' did not answer in time.")
    if isinstance(fault, ssl.SSLError) or isinstance(fault.__cause__, ssl.SSLError):
        return _failure("tls_error", f"no trusted TLS connection to '{host}' was made.")
    if isinstance(fault, smtp.SMTPConnectError):
        return _failure("connect_error", f"no connection to '{host}' could be made.")
    if isinstance(fault, (smtp.SMTPServerDisconnected, OSError)):
        return _failure("protocol_error", f"the connection to '{host}' was lost.")
    if "STARTTLS" in str(fault):
        return _failure("tls_error", f"the server '{host}' offers no STARTTLS.")
    return _failure("protocol_error", f"the server '{host}' can't take this mail.")


def _refused(fault: Any, host: str) -> NodeError:
    """Make the failure of a mail that the server took for nobody.

    Where one of the refusals is for the moment (4xx), it names the code: a repeat may help.
    """
    refused = [
        RefusedRecipient(one.recipient, one.code, _plain(one.message)) for one in fault.recipients
    ]
    code = min((one.code for one in refused), key=lambda code: (code // 100 != 4, code))
    return _failure(
        f"smtp_{code}",
        f"the server '{host}' refused every recipient ({code}).",
        {"refused": [msgspec.structs.asdict(one) for one in refused]},
    )


def _plain(text: str) -> str:
    """Return what a server said, in printable characters and of bounded length."""
    return _UNPRINTABLE.sub(" ", text)[:_SAID_LENGTH_MAX]
