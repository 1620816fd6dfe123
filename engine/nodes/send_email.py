"""The `send_email` node: one mail whose parts are templates, by the configured server.

Failures, by the code that a retry policy may list:

- `invalid_email`: what was rendered is no mail that can be sent; the message names the field;
- `email_not_configured`: the operator has named no mail server;
- `smtp_<code>` (`smtp_451`): the server refused the mail or all its recipients; 4xx is for the
  moment, 5xx for good;
- `timeout`, `connect_error`, `tls_error`, `protocol_error`, `email_too_large`;
- `template_error`: a template failed while it was rendered.

The password is rendered in `perform` alone, so it stands in no event.
"""

from __future__ import annotations

from email.headerregistry import Address
from typing import Final

import msgspec

from ..component import (
    Call,
    ConfigError,
    Context,
    EffectNode,
    Json,
    NodeConfig,
    NodeError,
    Outcome,
    is_list,
)
from ..mail_address import CONTROL, AddressError, parse_address, split_addresses
from ..mail_message import Email
from ..mailer import MESSAGE_BYTES_MAX, SentMail
from ..secrets import MASK, is_masked
from ..templates import Template, compile_text, compile_value

RECIPIENTS_MAX: Final = 50
"""Addresses of `to`, `cc` and `bcc` together."""
SUBJECT_LENGTH_MAX: Final = 900
"""In characters: a line of a mail may have 998."""
_LISTS: Final = ("to", "cc", "bcc", "reply_to")


class SendEmailConfig(NodeConfig, frozen=True, kw_only=True, rename={"from_": "from"}):
    """The `data` of a `send_email` node; addresses are a list or a text with commas."""

    to: Json
    cc: Json = None
    bcc: Json = None
    reply_to: Json = None
    from_: str = ""
    """Who it is from; the configured sender if empty."""
    subject: str = ""
    text: str = ""
    html: str = ""
    password: str = ""
    """One expression, such as `{{ vault.smtp }}`; the configured password if empty."""


class _Rendered(msgspec.Struct, frozen=True):
    """The parts of a mail as their templates gave them, not judged yet."""

    lists: dict[str, list[str]]
    from_: str
    subject: str
    text: str
    html: str


class _Addresses:
    """A template of addresses."""

    def __init__(self, source: Json, field: str) -> None:
        """Compile it; addresses without a template are judged here."""
        self._field = field
        items = [source] if isinstance(source, str) else source
        if items is None:
            items = []
        if not is_list(items) or not all(isinstance(item, str) for item in items):
            raise ConfigError({field: ["must be a string or a list of strings"]})
        self._template = compile_value(source, field)
        # The addresses that need no context are judged when the workflow is saved.
        fixed = [item for item in items if compile_text(item, field).is_static]
        try:
            parsed = _parse_all([part for item in fixed for part in split_addresses(item)])
        except AddressError as fault:
            raise ConfigError({field: [str(fault)]}) from None
        if field == "to" and len(fixed) == len(items) and not parsed:
            raise ConfigError({field: ["must name one recipient at least"]})

    def render(self, context: Context) -> list[str]:
        """Give the addresses as texts, one each; what renders to nothing is left out."""
        value = self._template.render(context)
        texts: list[str] = []
        for item in value if is_list(value) else [value]:
            if item is None:
                continue
            if not isinstance(item, str):
                raise _invalid(self._field, "does not render to text or a list of texts")
            try:
                texts += split_addresses(item)
            except AddressError as fault:
                raise _invalid(self._field, str(fault)) from None
            if len(texts) > RECIPIENTS_MAX:
                raise _invalid(self._field, f"has more than {RECIPIENTS_MAX} addresses")
        return texts


class SendEmail(EffectNode[SendEmailConfig]):
    """Sends a mail; succeeds when the server took it for one recipient at least."""

    component = "send_email"
    config_type = SendEmailConfig

    def __init__(self, config: SendEmailConfig) -> None:
        errors: dict[str, list[str]] = {}
        self._lists: dict[str, _Addresses] = {}
        for field in _LISTS:
            try:
                self._lists[field] = _Addresses(getattr(config, field), field)
            except ConfigError as fault:
                errors.update(fault.errors)
        self._texts: dict[str, Template] = {}
        for field, source in (
            ("from", config.from_),
            ("subject", config.subject),
            ("text", config.text),
            ("html", config.html),
            ("password", config.password),
        ):
            try:
                self._texts[field] = compile_text(source, field, size_max=MESSAGE_BYTES_MAX)
            except ConfigError as fault:
                errors.update(fault.errors)
        if not errors:
            errors = _faults(config, self._texts)
        if errors:
            raise ConfigError(errors)
        self._has_password = bool(config.password)

    def prepare(self, context: Context) -> Json:
        """Render the mail as it is journaled, without the password."""
        mail = self._render(context)
        _judge(mail, masked=is_masked(context))
        return {
            "from": mail.from_ or None,
            **mail.lists,
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
            "password": MASK if self._has_password else None,
        }

    async def perform(self, context: Context, call: Call) -> Outcome:
        """Hand the mail to the server; its Message-ID is made of the effect key."""
        email = _judge(self._render(context), masked=False)
        password = self._texts["password"].render_text(context)
        if self._has_password and not password:
            raise _invalid("password", "renders to nothing")
        if call.mailer is None:
            raise NodeError("email_not_configured", "No mail server is configured.")
        sent: SentMail = await call.mailer.send(email, call.effect_key, call.timeout_s, password)
        return Outcome(msgspec.to_builtins(sent))

    def _render(self, context: Context) -> _Rendered:
        texts = {
            field: template.render_text(context)
            for field, template in self._texts.items()
            if field != "password"
        }
        return _Rendered(
            {field: addresses.render(context) for field, addresses in self._lists.items()},
            texts["from"],
            texts["subject"],
            texts["text"],
            texts["html"],
        )


def _faults(config: SendEmailConfig, texts: dict[str, Template]) -> dict[str, list[str]]:
    """Say what is wrong with the texts that need no context."""
    if config.password and texts["password"].is_static:
        # A definition is shown to everybody who may read workflows, and kept for ever.
        return {"password": ["must be an expression such as {{ vault.smtp }}, not a secret itself"]}
    if not config.text and not config.html:
        return {"text": ["is required, or 'html' is"]}
    if texts["from"].is_static and config.from_.strip():
        try:
            parse_address(config.from_)
        except AddressError as fault:
            return {"from": [str(fault)]}
    if texts["subject"].is_static and (problem := _subject_fault(config.subject)):
        return {"subject": [problem]}
    return {}


def _judge(mail: _Rendered, *, masked: bool) -> Email:
    """Make a mail of what was rendered.

    With `masked` the secrets in it are covered up, so an address with a mask in it is let pass:
    it is judged when the mail is sent.

    Raises:
        NodeError: `invalid_email`, naming the field.
    """
    parsed: dict[str, tuple[Address, ...]] = {}
    for field, texts in (mail.lists | {"from": [mail.from_] if mail.from_.strip() else []}).items():
        try:
            parsed[field] = _parse_all([t for t in texts if not masked or MASK not in t])
        except AddressError as fault:
            raise _invalid(field, str(fault)) from None
    if not mail.lists["to"]:
        raise _invalid("to", "renders to no address")
    if sum(len(mail.lists[field]) for field in ("to", "cc", "bcc")) > RECIPIENTS_MAX:
        raise _invalid("to, cc and bcc", f"have more than {RECIPIENTS_MAX} addresses")
    if problem := _subject_fault(mail.subject):
        raise _invalid("subject", problem)
    for field, text in (("text", mail.text), ("html", mail.html)):
        if not _is_writable(text):
            raise _invalid(field, "has a NUL or an unpaired surrogate in it")
    if not mail.text and not mail.html:
        raise _invalid("text", "renders to nothing, and so does 'html'")
    return Email(
        to=parsed["to"],
        cc=parsed["cc"],
        bcc=parsed["bcc"],
        reply_to=parsed["reply_to"],
        sender=next(iter(parsed["from"]), None),
        subject=mail.subject,
        text=mail.text,
        html=mail.html,
    )


def _parse_all(texts: list[str]) -> tuple[Address, ...]:
    addresses: list[Address] = []
    for number, text in enumerate(texts, 1):
        try:
            addresses.append(parse_address(text))
        except AddressError as fault:
            raise AddressError(
                f"address {number} {fault}" if len(texts) > 1 else str(fault)
            ) from None
    return tuple(addresses)


def _subject_fault(text: str) -> str:
    if CONTROL.search(text):
        return "has a line break or another control character in it"
    if len(text) > SUBJECT_LENGTH_MAX:
        return f"is longer than {SUBJECT_LENGTH_MAX} characters"
    return ""


def _is_writable(text: str) -> bool:
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False


def _invalid(field: str, clause: str) -> NodeError:
    return NodeError("invalid_email", f"Email was not sent: '{field}' {clause}.")
