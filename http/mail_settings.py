"""The mail server that the settings describe, checked before the service starts."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from ..engine.mail_address import AddressError, parse_address
from ..engine.mailer import MailServer
from .setting_types import SettingsError
from .settings import Settings

_PASSWORD_BYTES_MAX = 4096


def mail_server(settings: Settings) -> MailServer | None:
    """Return the configured mail server, None where there is none.

    Raises:
        SettingsError: the settings can't stand together, or a file of theirs can't be read.
    """
    if not settings.smtp_host:
        for name in ("smtp_from", "smtp_user"):
            if getattr(settings, name):
                raise _fault(name, "needs REFOLD_SMTP_HOST beside it.")
        return None
    if not settings.smtp_from:
        raise _fault("smtp_from", "is needed beside REFOLD_SMTP_HOST: who mail comes from.")
    try:
        sender = parse_address(settings.smtp_from)
    except AddressError as error:
        raise _fault("smtp_from", f"{error}; it expects 'Name <name@host>'.") from None
    if (
        settings.smtp_user
        and settings.smtp_security == "none"
        and not _is_loopback(settings.smtp_host)
    ):
        raise _fault(
            "smtp_security", "is 'none': a login without TLS is possible on this machine only."
        )
    ca_file = settings.smtp_ca_file
    if ca_file is not None and not ca_file.is_file():
        raise _fault("smtp_ca_file", f"names {ca_file}, which is no file.")
    return MailServer(
        host=settings.smtp_host,
        port=settings.smtp_port,
        security=settings.smtp_security,
        sender=sender,
        user=settings.smtp_user,
        password=settings.smtp_password or _read(settings.smtp_password_file),
        ca_file=str(ca_file or ""),
    )


def _read(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            content = file.read(_PASSWORD_BYTES_MAX + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise _fault(
            "smtp_password_file", f"names {path}, which can't be read: {reason}."
        ) from None
    if len(content) > _PASSWORD_BYTES_MAX:
        raise _fault(
            "smtp_password_file", f"names {path}, which is larger than {_PASSWORD_BYTES_MAX} bytes."
        )
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise _fault("smtp_password_file", f"names {path}, which is not text.") from None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fault(name: str, clause: str) -> SettingsError:
    return SettingsError(name, f"REFOLD_{name.upper()} {clause}")
