"""What one setting is: its names, how its text is read, and how a bad value is told."""

from __future__ import annotations

import re
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,15}")
_DECIMAL_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_ECHO_MAX = 60


class SettingsError(Exception):
    """The configuration can't be used; the message is one line that an operator can act on.

    `name` is the setting or variable at fault. No message holds the value of a secret.
    """

    code: ClassVar[str] = "setting_unusable"

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message


class Setting(msgspec.Struct, frozen=True):
    """One declared setting."""

    name: str
    type: Any
    """The declared type, with its `Meta`."""
    default: Any
    help: str
    unit: str
    """What a number counts, such as `seconds`; empty where the help says it."""
    variable: str
    """The environment variable."""
    secret: bool
    """Never shown, and without a flag."""
    private: bool
    """Not shown in an error, since people put credentials into such values."""
    expects: str
    """What a usable value is, in words."""

    @property
    def flag(self) -> str:
        """The flag of the command line."""
        return "--" + self.name.replace("_", "-")


def declared_settings(struct: type[msgspec.Struct], prefix: str) -> tuple[Setting, ...]:
    """Read the declaration of a Struct whose fields are `Annotated[type, Meta(...)]`."""
    settings: list[Setting] = []
    for field in msgspec.structs.fields(struct):
        bare, meta = get_args(field.type)
        extra: dict[str, Any] = meta.extra or {}
        settings.append(
            Setting(
                name=field.name,
                type=field.type,
                default=field.default,
                help=meta.description,
                unit=extra.get("unit", ""),
                variable=prefix + field.name.upper(),
                secret=extra.get("secret", False),
                private=extra.get("private", False),
                expects=extra.get("expects") or _expectation(bare, meta),
            )
        )
    return tuple(settings)


def parse_setting(setting: Setting, source: str, text: str) -> Any:
    """Read a value from its text; `source` is the flag or variable that it came from."""
    bare = get_args(setting.type)[0]
    value: Any = text
    if not text or "\x00" in text:
        raise unusable(setting, source, setting.expects)
    if bare is int or bare is float:
        # Narrower than int() and float(), which take "1_000", " 8", "nan" and foreign digits.
        pattern = _WHOLE_NUMBER if bare is int else _DECIMAL_NUMBER
        if not pattern.fullmatch(text):
            raise unusable(setting, source, setting.expects, text)
        value = bare(text)
    elif get_origin(bare) is tuple:
        value = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.convert(value, setting.type, dec_hook=_decode_path)
    except msgspec.ValidationError:
        raise unusable(setting, source, setting.expects, text) from None


def unusable(setting: Setting, source: str, expects: str, value: str = "") -> SettingsError:
    """Make the error for a value that can't be used; a secret or private value is not shown."""
    if setting.secret or setting.private or not value:
        return SettingsError(setting.name, f"{source} is not usable; it expects {expects}.")
    shown = value if len(value) <= _ECHO_MAX else value[:_ECHO_MAX] + "…"
    return SettingsError(setting.name, f"{source}: {shown!r} is not usable; it expects {expects}.")


def _decode_path(wanted: type, value: Any) -> Any:
    return Path(value).expanduser() if wanted is Path else value


def _expectation(bare: Any, meta: Meta) -> str:
    if bare is int or bare is float:
        kind = "a whole number" if bare is int else "a number"
        unit = (meta.extra or {}).get("unit")
        return f"{kind}{f' of {unit}' if unit else ''} from {meta.ge} to {meta.le}"
    if get_origin(bare) is Literal:
        return "one of " + ", ".join(get_args(bare))
    if get_origin(bare) is tuple:
        member = get_args(bare)[0]
        if get_origin(member) is Literal:
            return "a list, separated by commas, of " + ", ".join(get_args(member))
        return "a list separated by commas"
    if bare is Path or (get_origin(bare) in (Union, UnionType) and Path in get_args(bare)):
        return "a path"
    return "text"
