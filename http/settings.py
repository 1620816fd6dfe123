"""Every setting of the service, declared once: name, type, default, range, unit and help.

A setting is a flag, else an environment variable `REFOLD_<NAME>`, else its default. Secrets
have no flag, since other users of a machine can read a command line: they come from the
environment or from a file that `--<name>-file` or `REFOLD_<NAME>_FILE` names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta

from .load_settings import LoadSettings
from .setting_types import Setting, SettingsError, declared_settings, parse_setting, unusable

ENVIRONMENT_PREFIX = "REFOLD_"
TEST_PREFIX = "REFOLD_TEST_"

JwtAlgorithm: TypeAlias = Literal["HS256", "RS256", "ES256", "EdDSA"]
MetricsAccess: TypeAlias = Literal["token", "open", "off"]
Search: TypeAlias = Literal["errors", "payloads", "logs"]

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?")

_SECRET = {"secret": True}
_URL = {"expects": "an http:// or https:// address without credentials", "private": True}
_HOST = {"expects": "an IP address or a host name"}


def _unit(unit: str) -> dict[str, Any]:
    return {"unit": unit}


class Settings(LoadSettings, frozen=True, kw_only=True):
    """The whole configuration of one process; read once at the start and never changed."""

    data: Annotated[
        Path, Meta(description="Directory of the journal, the views and the keys; made if missing.")
    ] = Path("data")
    host: Annotated[
        str, Meta(description="Address to listen on.", pattern=r"^[^\s/]+\Z", extra=_HOST)
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(description="Port to listen on; 0 takes a free one.", ge=0, le=65535)
    ] = 8080
    public_url: Annotated[
        str,
        Meta(
            description="Address that clients see, if it is not that of host and port.", extra=_URL
        ),
    ] = ""
    log_format: Annotated[
        Literal["text", "json"], Meta(description="Log lines for people or for programs.")
    ] = "text"
    metrics: Annotated[
        MetricsAccess,
        Meta(
            description="Who may read /metrics: holders of a token with journal:read, anybody, "
            "or nobody."
        ),
    ] = "token"

    jwt_secret: Annotated[
        str,
        Meta(description="Secret that signs HS256 tokens; made on the first start.", extra=_SECRET),
    ] = ""
    jwt_secret_file: Annotated[
        Path | None, Meta(description="File that holds the secret of HS256 tokens.")
    ] = None
    jwt_public_key: Annotated[
        Path | None, Meta(description="PEM file with the public key that tokens are checked with.")
    ] = None
    jwks_url: Annotated[
        str, Meta(description="Address of the key set that tokens are checked with.", extra=_URL)
    ] = ""
    jwt_algorithms: Annotated[
        tuple[JwtAlgorithm, ...],
        Meta(
            description="Accepted signatures: HS256, or with a public key or key set any of "
            "RS256, ES256, EdDSA; those that fit the key if not set."
        ),
    ] = ()
    jwt_issuer: Annotated[str, Meta(description="Demand this issuer (`iss`) of a token.")] = ""
    jwt_audience: Annotated[str, Meta(description="Demand this audience (`aud`) of a token.")] = ""
    vault_key: Annotated[
        str,
        Meta(
            description="Key that secrets are encrypted with, 32 bytes in base64; made on the "
            "first start.",
            extra=_SECRET,
        ),
    ] = ""
    vault_key_file: Annotated[Path | None, Meta(description="File that holds the vault key.")] = (
        None
    )
    vault_keys_old: Annotated[
        str,
        Meta(
            description="Earlier vault keys, separated by commas: needed for one start after the "
            "key was changed.",
            extra=_SECRET,
        ),
    ] = ""
    vault_keys_old_file: Annotated[
        Path | None, Meta(description="File that holds the earlier vault keys, one a line.")
    ] = None
    egress_allow: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks or hosts that nodes may call although they are private, "
            "such as 127.0.0.0/8."
        ),
    ] = ()
    api_base_url: Annotated[
        str, Meta(description="Address of the API that altostrat_api nodes call.", extra=_URL)
    ] = "https://v1.api.altostrat.io"
    projection: Annotated[
        tuple[str, ...],
        Meta(
            description="Projections of your own, each `module:Class`, beside those installed as "
            "entry points."
        ),
    ] = ()
    projection_check_seconds: Annotated[
        int,
        Meta(
            description="Time between two comparisons of all views with the journal, in the "
            "background; 0 for none.",
            ge=0,
            le=31_536_000,
            extra=_unit("seconds"),
        ),
    ] = 86_400
    search: Annotated[
        tuple[Search, ...],
        Meta(
            description="What can be searched for: errors, payloads, logs. Each keeps a copy of "
            "that data in a file of its own; nothing is copied if not set."
        ),
    ] = ()

    smtp_host: Annotated[
        str,
        Meta(description="Mail server of send_email nodes.", pattern=r"^[^\s/]+\Z", extra=_HOST),
    ] = ""
    smtp_port: Annotated[
        int, Meta(description="Port of the mail server; 0 for 587, 465 or 25.", ge=0, le=65535)
    ] = 0
    smtp_security: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(description="How the connection to the mail server is secured."),
    ] = "starttls"
    smtp_from: Annotated[str, Meta(description="Who mail comes from, such as name@host.")] = ""
    smtp_user: Annotated[str, Meta(description="Whom to log in to the mail server as.")] = ""
    smtp_password: Annotated[
        str,
        Meta(description="Password for the mail server where a node has none.", extra=_SECRET),
    ] = ""
    smtp_password_file: Annotated[
        Path | None, Meta(description="File that holds the password for the mail server.")
    ] = None
    smtp_ca_file: Annotated[
        Path | None,
        Meta(description="PEM file of the authorities that the mail server's certificate is of."),
    ] = None

    checkpoint_host: Annotated[
        str,
        Meta(
            description="Name of this service in signed checkpoints; the host of the public URL, "
            "else localhost.",
            pattern=r"^[A-Za-z0-9.:_-]{1,200}\Z",
            extra=_HOST,
        ),
    ] = ""
    checkpoint_directory: Annotated[
        Path | None,
        Meta(
            description="Directory of the checkpoint key and the last checkpoint; the data "
            "directory if not set. Choose one that restoring a backup does not reach."
        ),
    ] = None
    journal_generation: Annotated[
        int,
        Meta(
            description="Accept a journal that was restored as this generation, for one start.",
            ge=0,
            le=1_000_000,
        ),
    ] = 0

    max_active_runs: Annotated[
        int, Meta(description="Runs that execute at once; more wait.", ge=1, le=100_000)
    ] = 1000
    max_active_runs_per_tenant: Annotated[
        int, Meta(description="Runs of one tenant that execute at once.", ge=1, le=100_000)
    ] = 500
    max_active_runs_per_workflow: Annotated[
        int, Meta(description="Runs of one workflow that execute at once.", ge=1, le=100_000)
    ] = 250
    max_feeds_per_tenant: Annotated[
        int, Meta(description="Feeds of the journal that one tenant has open.", ge=1, le=10_000)
    ] = 20
    feed_stall_seconds_max: Annotated[
        int,
        Meta(description="Longest pause of a feed.", ge=1, le=3600, extra=_unit("seconds")),
    ] = 30
    request_seconds_max: Annotated[
        int,
        Meta(description="Longest arrival of a request.", ge=1, le=3600, extra=_unit("seconds")),
    ] = 30
    run_seconds_max: Annotated[
        int,
        Meta(description="Longest run.", ge=1, le=31_536_000, extra=_unit("seconds")),
    ] = 3600
    run_retention_days: Annotated[
        int,
        Meta(
            description="Days after which an ended run leaves the lists; 0 never. The journal "
            "keeps it.",
            ge=0,
            le=36_500,
            extra=_unit("days"),
        ),
    ] = 0
    node_seconds_max: Annotated[
        int, Meta(description="Longest attempt of a node.", ge=1, le=86_400, extra=_unit("seconds"))
    ] = 300
    delay_seconds_max: Annotated[
        int,
        Meta(description="Longest delay node.", ge=1, le=31_536_000, extra=_unit("seconds")),
    ] = 900
    template_seconds_max: Annotated[
        float,
        Meta(description="Longest render of a template.", ge=0.01, le=60, extra=_unit("seconds")),
    ] = 1.0
    shutdown_seconds_max: Annotated[
        int,
        Meta(
            description="Longest wait for running calls when the service stops.",
            ge=0,
            le=3600,
            extra=_unit("seconds"),
        ),
    ] = 10
    nodes_max: Annotated[int, Meta(description="Most nodes in a workflow.", ge=1, le=10_000)] = 500
    iterator_items_max: Annotated[
        int, Meta(description="Longest list of an iterator.", ge=1, le=100_000)
    ] = 1000
    iterator_depth_max: Annotated[
        int, Meta(description="How deep iterators may be nested.", ge=1, le=20)
    ] = 5
    subworkflow_depth_max: Annotated[
        int, Meta(description="How deep sub-workflows may be nested.", ge=1, le=100)
    ] = 10
    output_bytes_max: Annotated[
        int,
        Meta(description="Largest output of a node.", ge=1024, le=2**26, extra=_unit("bytes")),
    ] = 262_144
    body_bytes_max: Annotated[
        int,
        Meta(description="Largest request body.", ge=1024, le=2**26, extra=_unit("bytes")),
    ] = 1_048_576
    response_bytes_max: Annotated[
        int,
        Meta(
            description="Largest response that a node accepts.",
            ge=1024,
            le=2**26,
            extra=_unit("bytes"),
        ),
    ] = 1_048_576
    batch_max: Annotated[
        int,
        Meta(description="Appends in one commit; 1 makes a transaction of each.", ge=1, le=1024),
    ] = 256

    DECLARED: ClassVar[tuple[Setting, ...]]
    """The declaration above as data, in its order: what flags, help and documents are made of."""

    def __repr__(self) -> str:
        """Show every value but the secrets."""
        shown = (
            f"{s.name}={'***' if s.secret else getattr(self, s.name)!r}" for s in self.DECLARED
        )
        return f"Settings({', '.join(shown)})"

    def __rich_repr__(self) -> Any:
        """Keep rich from reading the fields past `__repr__`."""
        for s in self.DECLARED:
            yield s.name, "***" if s.secret else getattr(self, s.name)

    @property
    def checks_by_secret(self) -> bool:
        """Say whether tokens are checked with the HS256 secret rather than a public key."""
        return not (self.jwt_public_key or self.jwks_url)

    @classmethod
    def load(cls, flags: Mapping[str, str | int | None], environ: Mapping[str, str]) -> Settings:
        """Read every setting; `flags` has field names as keys and None for a flag not given.

        An empty environment variable counts as not set. Raises `SettingsError` for a name that
        is unknown, a value that is unusable, and values that can't stand together.
        """
        _refuse_unknown(environ)
        values: dict[str, Any] = {}
        for setting in cls.DECLARED:
            flag = flags.get(setting.name)
            source = setting.variable if flag is None else setting.flag
            text = environ.get(setting.variable) if flag is None else str(flag)
            if text or flag is not None:
                value = parse_setting(setting, source, text or "")
                _check_shape(setting, source, value)
                values[setting.name] = value
        return _consistent(cls(**values))


Settings.DECLARED = declared_settings(Settings, ENVIRONMENT_PREFIX)
_KNOWN = {setting.variable for setting in Settings.DECLARED}


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or name.startswith(TEST_PREFIX):
            continue
        if name in _KNOWN:
            continue
        # Imported on the way out only: a start that succeeds has no use for it.
        from difflib import get_close_matches

        close = get_close_matches(name.upper(), _KNOWN, n=1, cutoff=0.85)
        hint = f"did you mean {close[0]}?" if close else "`refold serve --help` lists them all."
        raise SettingsError(name, f"{name} is not a setting of Refold; {hint}")


def _check_shape(setting: Setting, source: str, value: Any) -> None:
    """Refuse a value that has the right type and still can't work."""
    if setting.name in ("public_url", "jwks_url", "api_base_url"):
        _check_url(setting, source, value)
    elif setting.name == "egress_allow":
        for entry in value:
            if not _is_network_or_host(entry):
                raise unusable(setting, source, "networks such as 10.0.0.0/8, or host names", entry)


def _check_url(setting: Setting, source: str, text: str) -> None:
    try:
        parts = urlsplit(text)
        sound = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and parts.username is None
            and not parts.fragment
            and not re.search(r"[\s\x00-\x1f]", text)
        )
    except ValueError:
        raise unusable(setting, source, setting.expects) from None
    if not sound:
        raise unusable(setting, source, setting.expects)
    # Whoever can change the key set on its way can sign any token.
    if setting.name == "jwks_url" and parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise unusable(setting, source, "https, except on this machine itself")


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _is_network_or_host(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        # A name made of digits and dots only is a mistyped address, not a host.
        is_name = _HOST_NAME.fullmatch(entry) is not None
        return is_name and not entry.replace(".", "").isdigit()
    return True


def _consistent(settings: Settings) -> Settings:
    """Refuse values that exclude each other; what keys can do is judged where they are used."""
    for name in ("jwt_secret", "vault_key", "vault_keys_old", "smtp_password"):
        if getattr(settings, name) and getattr(settings, f"{name}_file"):
            variable = ENVIRONMENT_PREFIX + name.upper()
            raise SettingsError(name, f"{variable} and {variable}_FILE are both set; keep one.")
    keys = ("jwt_secret", "jwt_secret_file", "jwt_public_key", "jwks_url")
    given = [ENVIRONMENT_PREFIX + name.upper() for name in keys if getattr(settings, name)]
    if len(given) > 1:
        raise SettingsError("jwt_secret", f"{' and '.join(given)} are both set; keep one.")
    return settings
