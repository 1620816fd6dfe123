"""The mailer against a real SMTP server: what is sent, how it logs in, and how it fails."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from refold.engine.component import NodeError
from refold.engine.mail_address import parse_address
from refold.engine.mail_message import Email
from refold.engine.mailer import Mailer, MailServer, SentMail
from tests.support.journal_kit import FakeClock
from tests.support.smtp_server import PASSWORD, USER, Box, certificate, smtp_server

KEY = "fl_run_1:n2:-:1"
SENDER = parse_address("Refold <refold@sender.example>")
TO = parse_address("Ann <ann@b.example>")


def email_of(**parts: Any) -> Email:
    """Make a small mail."""
    given: dict[str, Any] = {"to": (TO,), "subject": "Hello", "text": "one line", **parts}
    return Email(**given)


def server_of(port: int, **options: Any) -> MailServer:
    """Describe the server of a test."""
    given: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": SENDER,
        **options,
    }
    return MailServer(**given)


def send(
    box: Box, mail: Email | None = None, *, own: str = "", timeout_s: float = 10,
    serve: dict[str, Any] | None = None, **options: Any,
) -> SentMail:  # fmt: skip
    """Send a mail to a server of its own."""

    async def scenario() -> SentMail:
        async with smtp_server(box, **(serve or {})) as port:
            mailer = Mailer(server_of(port, **options), FakeClock())
            return await mailer.send(mail or email_of(), KEY, timeout_s, own)

    return asyncio.run(scenario())


def failure(box: Box, mail: Email | None = None, **options: Any) -> NodeError:
    """Send a mail that fails and give its error."""
    with pytest.raises(NodeError) as caught:
        send(box, mail, **options)
    assert PASSWORD not in repr(caught.value) + caught.value.message + str(caught.value.received)
    assert caught.value.message.startswith("Email was not sent: ")
    return caught.value


def read(content: bytes) -> EmailMessage:
    """Read a mail as a mail program would."""
    return email.message_from_bytes(content, policy=email.policy.default)


def test_a_mail_arrives_as_it_was_meant() -> None:
    """Header, both bodies and envelope; who gets it blindly stands in no header."""
    box = Box()
    mail = email_of(
        cc=(parse_address('"Bell, Zoë" <zoe@münchen.example>'),),
        bcc=(parse_address("blind@b.example"),),
        reply_to=(parse_address("back@b.example"),),
        subject="Grüße =?x?= " + "lang " * 40,
        text="Hällo\n.\nend",
        html="<b>Hällo</b>",
    )
    sent = send(box, mail)
    (taken,) = box.mails
    assert taken.sender == "refold@sender.example"
    everybody = ["ann@b.example", "zoe@xn--mnchen-3ya.example", "blind@b.example"]
    assert taken.recipients == sent.accepted == everybody
    assert sent.refused == []
    assert b"blind@" not in taken.content
    assert max(map(len, taken.content.split(b"\r\n"))) <= 998
    shown = read(taken.content)
    assert shown["message-id"] == sent.message_id
    assert shown["from"] == "Refold <refold@sender.example>"
    assert shown["to"] == "Ann <ann@b.example>"
    assert shown["cc"].addresses[0].display_name == "Bell, Zoë"
    assert shown["reply-to"] == "back@b.example"
    assert shown["date"] == "Fri, 31 Oct 2025 12:00:00 +0000"
    assert shown["subject"].split() == mail.subject.split()
    assert shown["sender"] is None
    text, html = (shown.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert text.get_content().splitlines() == ["Hällo", ".", "end"]
    assert html.get_content().splitlines() == ["<b>Hällo</b>"]


def test_a_repeat_is_the_same_mail_to_the_byte() -> None:
    """A mailbox that got the first one can tell the second."""
    first, second = Box(), Box()
    mail = email_of(html="<p>x</p>")
    assert send(first, mail).message_id == send(second, mail).message_id
    assert first.mails[0].content == second.mails[0].content


def test_another_author_is_named_beside_the_sender() -> None:
    """The envelope stays with the address that the server knows."""
    box = Box()
    send(box, email_of(sender=parse_address("Boss <boss@b.example>")))
    shown = read(box.mails[0].content)
    assert (shown["from"], shown["sender"]) == (
        "Boss <boss@b.example>",
        "Refold <refold@sender.example>",
    )
    assert box.mails[0].sender == "refold@sender.example"


def test_a_name_that_looks_like_a_header_stays_a_name() -> None:
    """Encoded words and quotation marks in a name add nobody to a list."""
    for name in (
        "=?utf-8?q?x=0D=0ABcc:_e@evil.example?=",
        'x", <e@evil.example',
        "a,b\\",
        "ü, <e@v>",
    ):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        box = Box()
        send(box, email_of(to=(parse_address(f'"{escaped}" <ann@b.example>'),)))
        shown = read(box.mails[0].content)
        (address,) = shown["to"].addresses
        assert (address.display_name, address.addr_spec) == (name, "ann@b.example")
        assert shown["bcc"] is None


def test_some_refused_recipients_are_reported_and_all_of_them_fail_the_mail() -> None:
    """A code for the moment goes before one for good, since a repeat may help."""
    box = Box()
    box.says_to = {"bob@b.example": "550 5.1.1 no such\tuser"}
    sent = send(box, email_of(cc=(parse_address("bob@b.example"),)))
    assert sent.accepted == ["ann@b.example"]
    assert [(r.address, r.code, r.message) for r in sent.refused] == [
        ("bob@b.example", 550, "5.1.1 no such user")
    ]
    box.says_to["ann@b.example"] = "451 greylisted"
    error = failure(box, email_of(cc=(parse_address("bob@b.example"),)))
    assert error.code == "smtp_451"
    assert [one["code"] for one in error.received["refused"]] == [451, 550]


@pytest.mark.parametrize(("said", "code"), [
    ("451 later", "smtp_451"), ("421 closing", "smtp_421"), ("552 too much", "smtp_552"),
])  # fmt: skip
def test_a_refused_mail_fails_with_the_code_of_the_server(said: str, code: str) -> None:
    """A retry policy may list it."""
    box = Box()
    box.says = said
    error = failure(box)
    assert (error.code, error.received["code"]) == (code, int(said[:3]))
    assert box.mails == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize(("own", "configured"), [(PASSWORD, "wrong"), ("", PASSWORD)])
def test_a_login_goes_over_tls(tmp_path: Path, security: str, own: str, configured: str) -> None:
    """After STARTTLS and from the first byte; a node's password goes before the configured one."""
    ca, context = certificate(tmp_path)
    box = Box()
    send(
        box, own=own, serve={security: context, "login": True},
        security=security, ca_file=str(ca), user=USER, password=configured,
    )  # fmt: skip
    assert box.logins == [(USER, PASSWORD)]
    assert len(box.mails) == 1


def test_a_refused_login_tells_its_code_and_nothing_that_was_said(tmp_path: Path) -> None:
    """What a server says to a login may repeat the password."""
    ca, context = certificate(tmp_path)
    error = failure(
        Box(), serve={"starttls": context, "login": True}, security="starttls", ca_file=str(ca),
        user=USER, password=PASSWORD + "x",
    )  # fmt: skip
    assert error.code == "smtp_535"
    assert error.received == {}


def test_a_certificate_of_nobody_trusted_is_refused_before_anything_is_said(tmp_path: Path) -> None:
    """Neither an unknown authority nor another host's name will do, in either kind of TLS."""
    _, unknown = certificate(tmp_path)
    ca, other = certificate(tmp_path, "mail.example")
    for security in ("starttls", "tls"):
        for context, trusted in ((unknown, ""), (other, str(ca))):
            box = Box()
            error = failure(
                box, serve={security: context}, security=security, ca_file=trusted,
                user=USER, password=PASSWORD,
            )  # fmt: skip
            assert error.code == "tls_error"
            assert box.logins == []


def test_a_server_without_starttls_gets_no_mail_in_clear() -> None:
    """Whoever stands between could have taken the offer away."""
    box = Box()
    assert failure(box, security="starttls").code == "tls_error"
    assert box.mails == []


def test_authorities_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """The operator reads which setting is at fault."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    error = failure(Box(), security="tls", ca_file=str(path))
    assert (error.code, "REFOLD_SMTP_CA_FILE" in error.message) == ("tls_error", True)


def test_a_server_without_logins_is_told_from_a_wrong_password() -> None:
    """There is no answer with a code that could be shown."""
    assert failure(Box(), user=USER, password=PASSWORD).code == "protocol_error"


def test_a_silent_server_is_given_up_in_time() -> None:
    """The time limit holds for everything together."""

    async def scenario() -> NodeError:
        box = Box()
        box.waits = asyncio.Event()
        async with smtp_server(box) as port:
            with pytest.raises(NodeError) as caught:
                await Mailer(server_of(port), FakeClock()).send(email_of(), KEY, 0.2)
            box.waits.set()
        return caught.value

    error = asyncio.run(scenario())
    assert error.code == "timeout"
    assert error.message == (
        "Email was not sent: the server '127.0.0.1' did not answer within 0.2 s."
    )


def raw(speak: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> NodeError:
    """Send a mail to a server that speaks as it likes and then hangs up."""

    async def scenario() -> NodeError:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            del reader
            await speak(writer)
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(NodeError) as caught:
                await Mailer(server_of(port), FakeClock()).send(email_of(), KEY, 5)
        return caught.value

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("said", "code"),
    [(b"", "connect_error"), (b"554 go away\r\n", "smtp_554"), (b"220 hi\r\n", "protocol_error"),
     (b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol_error"),
     (b"\xff\x00" * 5000, "protocol_error"), (b"220-" + b"x" * 100_000, "protocol_error")],
)  # fmt: skip
def test_a_server_that_is_none_is_a_clear_failure(said: bytes, code: str) -> None:
    """Whatever listens on the port, the node fails and says how."""

    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    assert raw(speak).code in (code, "connect_error")


def test_nobody_listening_is_a_connect_error() -> None:
    """Port 1 of this machine is nobody's."""
    with pytest.raises(NodeError) as caught:
        asyncio.run(Mailer(server_of(1), FakeClock()).send(email_of(), KEY, 5))
    assert caught.value.code == "connect_error"


def test_without_a_server_or_over_the_limit_nothing_is_sent() -> None:
    """Both are told before any connection."""
    with pytest.raises(NodeError) as caught:
        asyncio.run(Mailer(None, FakeClock()).send(email_of(), KEY, 5))
    assert caught.value.code == "email_not_configured"
    assert failure(Box(), email_of(text="x" * (1 << 20))).code == "email_too_large"
