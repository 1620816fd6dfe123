"""Turn the declaration of the settings into flags of a command."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import Group, Parameter

from ..http.setting_types import Setting
from ..http.settings import Settings

_SETTINGS = Group("Settings", sort_key=1)
_LIMITS = Group("Limits", sort_key=2)


def takes_settings(
    names: Sequence[str] | None = None,
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command a flag for each setting in `names`, or for all that are no secrets.

    The command's first parameter receives the `Settings`; the rest stay its own flags. Unusable
    settings raise `SettingsError` before the command is called.
    """
    offered = [s for s in Settings.DECLARED if not s.secret and (names is None or s.name in names)]

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        def run(*places: Any, **arguments: Any) -> int:
            flags = {s.name: arguments.pop(s.name, None) for s in offered}
            return command(Settings.load(flags, os.environ), *places, **arguments)

        hints = get_type_hints(command, include_extras=True)
        own = list(inspect.signature(command).parameters.values())[1:]
        parameters = [p.replace(annotation=hints[p.name]) for p in own]
        parameters += [_parameter(s) for s in offered]
        # Cyclopts reads a command's flags from its signature and annotations.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _parameter(setting: Setting) -> inspect.Parameter:
    """Describe one setting; its text is read later, by the code that reads the environment."""
    described = Parameter(
        name=setting.flag,
        help=_help(setting),
        allow_leading_hyphen=True,
        show_default=False,
        metavar=_metavar(setting),
        group=_LIMITS if "max" in setting.name.split("_") else _SETTINGS,
    )
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, described],
    )


def _metavar(setting: Setting) -> str:
    if setting.unit:
        return setting.unit.upper()
    return (
        "NUMBER"
        if "number" in setting.expects
        else "PATH"
        if setting.expects == "a path"
        else "TEXT"
    )


def _help(setting: Setting) -> str:
    notes: list[str] = []
    if setting.expects.startswith("one of"):
        notes.append(setting.expects)
    if setting.default not in (None, "", ()):
        default = setting.default
        shown = f"./{default}" if isinstance(default, Path) else f"{default}"
        notes.append(f"default {shown} {setting.unit}".rstrip())
    return f"{setting.help} ({'; '.join(notes)})" if notes else setting.help
