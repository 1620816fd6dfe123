"""The send_email node: what it refuses, what it journals, and what it hands to the mailer."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.component import ConfigError, NodeError
from refold.engine.fields import check_fields
from refold.engine.mail_address import AddressError, parse_address, split_addresses
from refold.engine.mail_message import Email, compose
from refold.engine.mailer import RefusedRecipient, SentMail
from refold.engine.nodes.catalogue import compile_node
from refold.engine.nodes.send_email import SendEmail, SendEmailConfig
from refold.engine.secrets import MaskedVault

BASE: dict[str, Any] = {"to": "ann@b.example", "subject": "Hi", "text": "one line"}


class RecordingMailer:
    """Takes every mail and keeps what it was given."""

    def __init__(self) -> None:
        self.sent: list[tuple[Email, str, float, str]] = []

    async def send(self, email: Email, key: str, timeout_s: float, password: str) -> SentMail:
        """Take a mail."""
        self.sent.append((email, key, timeout_s, password))
        refused = [RefusedRecipient("bob@b.example", 550, "no")]
        return SentMail("<id@x>", email.recipients, refused)


class LentCall:
    """What the runner would lend for one effect."""

    effect_key = "fl_run_1:n2:-:1"
    timeout_s = 5.0
    outbound = None
    authorizations = None
    tenant = "acme"
    authorization_id = ""

    def __init__(self, mailer: RecordingMailer | None) -> None:
        self.mailer = mailer


def node_of(**data: Any) -> SendEmail:
    """Compile a node from its `data`, as it stands in a definition."""
    config, errors = check_fields(SendEmailConfig, {**BASE, **data}, "")
    assert config is not None, errors
    return SendEmail(config)


def perform(
    context: dict[str, Any] | None = None, **data: Any
) -> tuple[Any, tuple[Email, str, float, str]]:
    """Perform a node; give its output and what the mailer got."""
    mailer = RecordingMailer()
    outcome = asyncio.run(node_of(**data).perform(context or {}, LentCall(mailer)))
    return outcome.output, mailer.sent[0]


def refusal(context: dict[str, Any] | None = None, **data: Any) -> str:
    """Give the message of a node that refuses what it renders, in both halves."""
    node = node_of(**data)
    messages: list[str] = []
    for half in (
        lambda: node.prepare(context or {}),
        lambda: asyncio.run(node.perform(context or {}, LentCall(RecordingMailer()))),
    ):
        with pytest.raises(NodeError) as caught:
            half()
        assert caught.value.code == "invalid_email"
        messages.append(caught.value.message)
    assert messages[0] == messages[1]
    return messages[0]


def test_all_parts_are_templates_and_the_output_says_what_became_of_them() -> None:
    """Lists may come as lists, as text with commas, or as one expression."""
    context = {
        "t": {"who": ["Ann <ann@b.example>", "cid@b.example"], "cc": "x@b.example, y@b.example"},
        "n": None,
        "vault": {"smtp": "a secret"},
    }
    output, (email, key, timeout_s, password) = perform(
        context, to="{{ t.who }}", cc=["{{ t.cc }}", "{{ n }}"], bcc="{{ missing }}",
        reply_to="Desk <desk@b.example>", subject="For {{ t.who[1] }}", html="<b>{{ t.cc }}</b>",
        password="{{ vault.smtp }}", **{"from": "{{ t.who[0] }}"},
    )  # fmt: skip
    assert [str(a) for a in email.to] == ["Ann <ann@b.example>", "cid@b.example"]
    assert [str(a) for a in email.cc] == ["x@b.example", "y@b.example"]
    assert (email.bcc, str(email.reply_to[0])) == ((), "Desk <desk@b.example>")
    assert (str(email.sender), email.subject) == ("Ann <ann@b.example>", "For cid@b.example")
    assert (email.text, email.html) == ("one line", "<b>x@b.example, y@b.example</b>")
    assert (key, timeout_s, password) == ("fl_run_1:n2:-:1", 5.0, "a secret")
    assert output == {
        "message_id": "<id@x>",
        "accepted": ["ann@b.example", "cid@b.example", "x@b.example", "y@b.example"],
        "refused": [{"address": "bob@b.example", "code": 550, "message": "no"}],
    }


def test_what_is_journaled_holds_no_secret() -> None:
    """The password is not even rendered; what else comes from the vault is masked."""
    node = node_of(
        to=["{{ vault.boss }}", "ann@b.example"], text="key {{ vault.key }}",
        password="{{ vault.smtp }}", **{"from": "{{ vault.boss }}"},
    )  # fmt: skip
    shown = node.prepare({"vault": MaskedVault()})
    assert shown == {
        "from": "***",
        "to": ["***", "ann@b.example"],
        "cc": [],
        "bcc": [],
        "reply_to": [],
        "subject": "Hi",
        "text": "key ***",
        "html": "",
        "password": "***",
    }
    assert node_of().prepare({})["password"] is None


def test_a_mask_is_let_pass_only_where_a_vault_is_masked() -> None:
    """Three asterisks in a payload are no address."""
    assert "'to'" in refusal({"v": "***"}, to="{{ v }}")


BAD_CONFIG: list[tuple[dict[str, Any], str]] = [
    ({"to": None}, "to"), ({"to": ""}, "to"), ({"to": []}, "to"), ({"to": 7}, "to"),
    ({"to": ["ann@b.example", 7]}, "to"), ({"to": {"a": "b"}}, "to"), ({"to": "nobody"}, "to"),
    ({"to": "a@b.example, c"}, "to"), ({"to": "{{ x"}, "to"), ({"to": "a@b\r\nBcc: c@d"}, "to"),
    ({"cc": "nobody"}, "cc"), ({"bcc": [None]}, "bcc"), ({"reply_to": "a@"}, "reply_to"),
    ({"from": "nobody"}, "from"), ({"from": "a@b\nX: y"}, "from"), ({"from": "{{"}, "from"),
    ({"from": 7}, "from"), ({"subject": "a\r\nBcc: x@y"}, "subject"), ({"subject": 7}, "subject"),
    ({"subject": "x" * 901}, "subject"), ({"text": ""}, "text"), ({"text": ["x"]}, "text"),
    ({"html": "{% if"}, "html"), ({"password": "hush"}, "password"),
    ({"password": "{{ x"}, "password"), ({"to": "a@b.example" + " " * 40_000 + ","}, "to"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "field"), BAD_CONFIG)
def test_what_can_never_be_sent_is_refused_when_it_is_saved(
    data: dict[str, Any], field: str
) -> None:
    """Each refusal names the field and repeats no value."""
    node = {"id": "n", "data": {"componentId": "send_email", **BASE, **data}}
    with pytest.raises(ConfigError) as caught:
        compile_node(node, "nodes[0]")
    (path,) = {path.split("[")[1].removeprefix("0].") for path in caught.value.errors}
    assert path == f"data.{field}"
    assert "hush" not in str(caught.value.errors)


def test_a_missing_recipient_is_a_missing_field() -> None:
    """As for every component, the path says where."""
    with pytest.raises(ConfigError) as caught:
        compile_node({"id": "n", "data": {"componentId": "send_email", "text": "x"}}, "nodes[0]")
    assert caught.value.errors == {"nodes[0].data.to": ["is required"]}


@pytest.mark.parametrize(
    ("value", "data", "named"),
    [
        ("", {"to": "{{ v }}"}, "'to' renders to no address"),
        ([], {"to": "{{ v }}"}, "'to' renders to no address"),
        (7, {"to": "{{ v }}"}, "'to' does not render to text"),
        ({"a": 1}, {"to": "{{ v }}"}, "'to' does not render to text"),
        ([["a@b"]], {"to": "{{ v }}"}, "'to' does not render to text"),
        ("nobody", {"to": "{{ v }}"}, "'to' has no usable address"),
        ("a@b.example, hush", {"to": "{{ v }}"}, "'to' address 2 has no usable address"),
        ("a@b.example\r\nBcc: hush@c", {"to": "{{ v }}"}, "'to' has a line break"),
        ("a@b.example\nRCPT TO:<hush@c>", {"cc": "{{ v }}"}, "'cc' has a line break"),
        ("a\u2028@b.example", {"bcc": "{{ v }}"}, "'bcc' has a line break"),
        ("\ud800@b.example", {"bcc": ["{{ v }}"]}, "'bcc' has a line break"),
        ("hush", {"reply_to": "{{ v }}"}, "'reply_to' has no usable address"),
        ("a@b, c@d", {"from": "{{ v }}"}, "'from' has no usable address"),
        ("a\r\nBcc: hush@c", {"subject": "{{ v }}"}, "'subject' has a line break"),
        ("a\x00", {"subject": "{{ v }}"}, "'subject' has a line break"),
        ("x" * 901, {"subject": "{{ v }}"}, "'subject' is longer than 900"),
        ("", {"text": "{{ v }}"}, "'text' renders to nothing"),
        ("\x00", {"text": "{{ v }}"}, "'text' has a NUL"),
        ("\ud800", {"html": "{{ v }}"}, "'html' has a NUL"),
        (["a@b.example"] * 51, {"to": "{{ v }}"}, "'to' has more than 50"),
        (["a@b.example"] * 30, {"to": "{{ v }}", "cc": "{{ v }}"}, "'to, cc and bcc' have more"),
        ("x" * 40_000, {"to": "{{ v }}"}, "'to' is longer than"),
        ('"' * 999, {"to": "{{ v }}"}, "'to' has a quotation mark"),
    ],
)  # fmt: skip
def test_what_renders_to_no_mail_fails_with_the_name_of_its_field(
    value: Any, data: dict[str, Any], named: str
) -> None:
    """No value can begin a header or a command, and none is repeated in the message."""
    message = refusal({"v": value}, **data)
    assert message.startswith(f"Email was not sent: {named}")
    assert "hush" not in message


def test_a_text_that_is_too_large_is_a_failure_of_its_template() -> None:
    """It is stopped before a mail is made of it."""
    with pytest.raises(NodeError) as caught:
        node_of(text="{{ v }}!").prepare({"v": "x" * (1 << 20)})
    assert caught.value.code == "template_limit"


def test_a_password_that_renders_to_nothing_is_not_replaced_by_another() -> None:
    """The author meant a login of their own."""
    node = node_of(password="{{ v }}")
    with pytest.raises(NodeError) as caught:
        asyncio.run(node.perform({}, LentCall(RecordingMailer())))
    assert caught.value.message == "Email was not sent: 'password' renders to nothing."


def test_without_a_mailer_the_node_says_so() -> None:
    """A service without a mail server still runs its workflows."""
    with pytest.raises(NodeError) as caught:
        asyncio.run(node_of().perform({}, LentCall(None)))
    assert caught.value.code == "email_not_configured"


TEXTS = st.text(st.characters(codec="utf-8"), max_size=60) | st.text(
    st.sampled_from('a@.,<>"\\()[]:;=?_ \r\n\tü%'), max_size=40
)


@given(TEXTS)
def test_whatever_is_taken_for_an_address_is_one_line_of_plain_ascii(text: str) -> None:
    """What the server is told can't hold a second command, and a mail program reads the same."""
    from aiosmtplib.email import parse_address as their_reading

    try:
        address = parse_address(text)
    except AddressError:
        return
    spec = address.addr_spec
    assert spec.isascii()
    assert spec.isprintable()
    assert not set(spec) & set(' <>()[],;:"\\')
    assert their_reading(spec) == spec
    content = compose(Email(to=(address,), subject=text[:50], text=text), address, "k", 0)
    header, _, _ = content.partition(b"\r\n\r\n")
    names = [line.split(b":")[0] for line in header.split(b"\r\n") if line[:1] not in b" \t"]
    assert [name for name in names if not name.startswith((b"Content-", b"MIME-"))] == [
        b"Message-ID", b"Date", b"From", b"To", b"Subject", b"Auto-Submitted",
    ]  # fmt: skip


@given(st.lists(TEXTS, max_size=5))
def test_parting_a_list_loses_no_comma_outside_quotation_marks(texts: list[str]) -> None:
    """Whatever is parted, each part stands in the text as it is."""
    text = ",".join(texts)
    try:
        parts = split_addresses(text)
    except AddressError:
        return
    assert all(part and part in text for part in parts)
    if '"' not in text:
        assert parts == [part.strip() for part in text.split(",") if part.strip()]


def test_the_configuration_is_read_by_its_wire_names() -> None:
    """`from` is a word of the language, and still the name of the field."""
    fields = {field.encode_name for field in msgspec.structs.fields(SendEmailConfig)}
    assert fields == {
        "to", "cc", "bcc", "reply_to", "from", "subject", "text", "html", "password",
    }  # fmt: skip
