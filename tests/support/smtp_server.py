"""A real SMTP server on loopback, with STARTTLS, TLS and logins, that answers as it is told to."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import msgspec
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "mailer", "a password of the mail server"


class Received(msgspec.Struct):
    """One mail as the server took it."""

    sender: str
    recipients: list[str]
    content: bytes


class Box:
    """What the server took, and how it answers."""

    def __init__(self) -> None:
        self.mails: list[Received] = []
        self.logins: list[tuple[str, str]] = []
        self.says_to: dict[str, str] = {}
        """Recipient to the refusal it gets."""
        self.says = "250 taken"
        """The answer to the whole mail."""
        self.waits: asyncio.Event | None = None
        """The answer to the mail waits for it."""

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        """Take a recipient, or not."""
        refusal = self.says_to.get(address)
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Take a mail, or not."""
        if self.waits is not None:
            await self.waits.wait()
        if self.says.startswith("250"):
            self.mails.append(
                Received(envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content)
            )
        return self.says

    def authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any
    ) -> AuthResult:
        """Check a login."""
        login, password = data.login.decode(), data.password.decode()
        self.logins.append((login, password))
        # `handled=False` makes the library answer 535.
        return AuthResult(success=(login, password) == (USER, PASSWORD), handled=False)


@asynccontextmanager
async def smtp_server(
    box: Box,
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    login: bool = False,
) -> AsyncGenerator[int]:
    """Serve on a port of 127.0.0.1 and give it."""

    def made() -> SMTP:
        return SMTP(
            box,
            hostname="localhost",
            tls_context=starttls,
            authenticator=box.authenticate if login else None,
            auth_required=login and starttls is not None,
            # The library knows of no TLS but STARTTLS.
            auth_require_tls=starttls is not None,
            auth_exclude_mechanism=() if login else ("LOGIN", "PLAIN"),
        )

    loop = asyncio.get_running_loop()
    connections: list[SMTP] = []

    def connected() -> SMTP:
        connections.append(made())
        return connections[-1]

    server = await loop.create_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in connections:
            if isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()
        await asyncio.sleep(0)


@contextmanager
def smtp_thread(box: Box) -> Generator[int]:
    """Serve on a thread of its own, for a test that speaks to another process; give the port."""
    ports: Queue[int] = Queue()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with smtp_server(box) as port:
            ports.put(port)
            await done.wait()

    def main() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            loop.close()

    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    try:
        yield ports.get(timeout=20)
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(20)


def certificate(directory: Path, host: str = "127.0.0.1") -> tuple[Path, ssl.SSLContext]:
    """Make a certificate that signs itself; give its file and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail of a test")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{host}.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = directory / f"{host}.key"
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, secret)
    return path, context
