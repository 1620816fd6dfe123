"""The mail server and the API of the settings: what can't work stops the start, in one line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from refold.http.authorization_parts import open_authorizations
from refold.http.mail_settings import mail_server
from refold.http.setting_types import SettingsError
from refold.http.settings import Settings

SECRET = "hush-mail-password"
SOUND = {"REFOLD_SMTP_HOST": "mail.example", "REFOLD_SMTP_FROM": "Refold <r@sender.example>"}


def settings(**environ: str) -> Settings:
    """Load settings; `SMTP_HOST="…"` sets `REFOLD_SMTP_HOST`."""
    return Settings.load({}, {f"REFOLD_{name}": value for name, value in environ.items()})


def refusal(**environ: str) -> str:
    """Give the message with which settings are refused beside sound ones."""
    with pytest.raises(SettingsError) as caught:
        mail_server(Settings.load({}, SOUND | {f"REFOLD_{k}": v for k, v in environ.items()}))
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


def test_without_a_host_there_is_no_mail() -> None:
    """Nobody needs a mail server to start."""
    assert mail_server(settings()) is None


def test_a_mail_server_is_read_whole(tmp_path: Path) -> None:
    """From the environment, and its password from a file where one is named."""
    path = tmp_path / "password"
    path.write_text(f"{SECRET}\n")
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("x")
    loaded = Settings.load(
        {},
        SOUND
        | {
            "REFOLD_SMTP_PORT": "2525",
            "REFOLD_SMTP_SECURITY": "tls",
            "REFOLD_SMTP_USER": "me",
            "REFOLD_SMTP_PASSWORD_FILE": str(path),
            "REFOLD_SMTP_CA_FILE": str(ca_file),
        },
    )
    server = mail_server(loaded)
    assert server is not None
    assert (server.host, server.port, server.security) == ("mail.example", 2525, "tls")
    assert (str(server.sender), server.user) == ("Refold <r@sender.example>", "me")
    assert (server.password, server.ca_file) == (SECRET, str(ca_file))
    assert SECRET not in repr(server) + repr(loaded)


def test_a_login_without_tls_stays_on_this_machine() -> None:
    """Anywhere else the password would go over the wire in clear."""
    message = refusal(SMTP_SECURITY="none", SMTP_USER="me", SMTP_PASSWORD=SECRET)
    assert message.startswith("REFOLD_SMTP_SECURITY is 'none'")
    for host in ("127.0.0.1", "::1", "localhost"):
        local = settings(
            SMTP_HOST=host, SMTP_FROM="r@x.example", SMTP_SECURITY="none", SMTP_USER="me"
        )
        assert mail_server(local) is not None
    assert mail_server(settings(SMTP_HOST="h", SMTP_FROM="r@x", SMTP_SECURITY="none")) is not None


@pytest.mark.parametrize(
    ("environ", "begins"),
    [({"SMTP_FROM": "nobody"}, "REFOLD_SMTP_FROM has no usable address"),
     ({"SMTP_FROM": ""}, "REFOLD_SMTP_FROM is needed"),
     ({"SMTP_HOST": ""}, "REFOLD_SMTP_FROM needs REFOLD_SMTP_HOST"),
     ({"SMTP_SECURITY": "ssl"}, "REFOLD_SMTP_SECURITY"), ({"SMTP_PORT": "x"}, "REFOLD_SMTP_PORT"),
     ({"SMTP_HOST": "a b"}, "REFOLD_SMTP_HOST"), ({"SMTP_HOST": "smtp://a/"}, "REFOLD_SMTP_HOST"),
     ({"SMTP_CA_FILE": "/nowhere/ca.pem"}, "REFOLD_SMTP_CA_FILE names /nowhere/ca.pem"),
     ({"SMTP_PASSWORD_FILE": "/nowhere/p"}, "REFOLD_SMTP_PASSWORD_FILE names /nowhere/p"),
     ({"SMTP_PASSWORD": SECRET, "SMTP_PASSWORD_FILE": "/p"}, "REFOLD_SMTP_PASSWORD and")],
)  # fmt: skip
def test_what_cannot_work_names_its_setting(environ: dict[str, str], begins: str) -> None:
    """The operator needs no manual to mend it."""
    assert refusal(**environ).startswith(begins)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 5000])
def test_a_password_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    """A directory of keys or a binary was named by mistake."""
    path = tmp_path / "password"
    path.write_bytes(content)
    message = refusal(SMTP_PASSWORD_FILE=str(path))
    assert message.startswith("REFOLD_SMTP_PASSWORD_FILE names")


@pytest.mark.parametrize("url", ["ftp://a", "https://u:hush@a", "https://a/ b", "a.example"])
def test_an_address_of_the_api_that_is_none_is_refused(url: str) -> None:
    """Its credentials are the grants, so none stand in it."""
    with pytest.raises(SettingsError) as caught:
        settings(API_BASE_URL=url)
    assert "hush" not in str(caught.value)


def test_an_address_of_the_api_that_can_not_be_called_stops_the_start() -> None:
    """What the outgoing client reads more strictly than a list of settings does."""

    async def scenario() -> str:
        nothing = cast("Any", None)
        for url in ("https://a.example/?q=1", "http://0x7f.1/"):
            with pytest.raises(SettingsError) as caught:
                async with open_authorizations(
                    settings(API_BASE_URL=url), nothing, nothing, nothing, nothing
                ):
                    pass
            assert str(caught.value).startswith("REFOLD_API_BASE_URL is not usable: ")
        return str(caught.value)

    assert "\n" not in asyncio.run(scenario())
