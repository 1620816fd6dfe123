"""Dates as text: the directives of `strftime`, in English and the same on every machine.

Written out are `%Y %y %C %m %B %b %d %e %j %H %I %k %l %M %S %L %f %p %P %z %:z %Z %A %a %u %w %V
%G %g %U %W %s %F %T %R %D %c %x %X %r %n %t %%`. A flag before the letter changes how: `%-d` has
no zeros before it, `%_d` spaces, `%0e` zeros, `%^a` is in capitals. What is no directive stays.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

FORMAT_LENGTH_MAX: Final = 128
"""The longest format, in characters."""
TEXT_LENGTH_MAX: Final = 128
"""The longest text that is read as a date, in characters."""
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIRECTIVE = re.compile(r"%([-_0^]?)(:?z|[A-Za-z%])")
_COMPOSED: Final = {
    "F": "%Y-%m-%d",
    "T": "%H:%M:%S",
    "R": "%H:%M",
    "D": "%m/%d/%y",
    "c": "%a %b %e %H:%M:%S %Y",
    "x": "%m/%d/%y",
    "X": "%H:%M:%S",
    "r": "%I:%M:%S %p",
}


def unix_of(moment: datetime) -> int:
    """Give the whole seconds since 1970."""
    return (moment - _EPOCH) // timedelta(seconds=1)


_Number = tuple[Callable[[datetime], int], int, str]
_NUMBERS: Final[dict[str, _Number]] = {
    "Y": (lambda m: m.year, 4, "0"),
    "y": (lambda m: m.year % 100, 2, "0"),
    "C": (lambda m: m.year // 100, 2, "0"),
    "m": (lambda m: m.month, 2, "0"),
    "d": (lambda m: m.day, 2, "0"),
    "e": (lambda m: m.day, 2, " "),
    "j": (lambda m: m.timetuple().tm_yday, 3, "0"),
    "H": (lambda m: m.hour, 2, "0"),
    "k": (lambda m: m.hour, 2, " "),
    "I": (lambda m: (m.hour + 11) % 12 + 1, 2, "0"),
    "l": (lambda m: (m.hour + 11) % 12 + 1, 2, " "),
    "M": (lambda m: m.minute, 2, "0"),
    "S": (lambda m: m.second, 2, "0"),
    "L": (lambda m: m.microsecond // 1000, 3, "0"),
    "f": (lambda m: m.microsecond, 6, "0"),
    "u": (lambda m: m.isoweekday(), 1, "0"),
    "w": (lambda m: m.isoweekday() % 7, 1, "0"),
    "V": (lambda m: m.isocalendar().week, 2, "0"),
    "G": (lambda m: m.isocalendar().year, 4, "0"),
    "g": (lambda m: m.isocalendar().year % 100, 2, "0"),
    "U": (lambda m: (m.timetuple().tm_yday + 6 - m.isoweekday() % 7) // 7, 2, "0"),
    "W": (lambda m: (m.timetuple().tm_yday + 6 - m.weekday()) // 7, 2, "0"),
    "s": (unix_of, 1, "0"),
}
"""What a directive writes, to how many places, and what fills them."""
_WORDS: Final[dict[str, Callable[[datetime], str]]] = {
    "B": lambda m: MONTHS[m.month - 1],
    "b": lambda m: MONTHS[m.month - 1][:3],
    "h": lambda m: MONTHS[m.month - 1][:3],
    "A": lambda m: DAYS[m.weekday()],
    "a": lambda m: DAYS[m.weekday()][:3],
    "p": lambda m: "AM" if m.hour < 12 else "PM",
    "P": lambda m: "am" if m.hour < 12 else "pm",
    "z": lambda m: offset_of(m, ""),
    ":z": lambda m: offset_of(m, ":"),
    "Z": lambda m: m.tzname() or "",
    "n": lambda _: "\n",
    "t": lambda _: "\t",
    "%": lambda _: "%",
}


class DateFormatError(Exception):
    """A text does not have its format, or a format can't be read; the message is a predicate."""


def unknown_directives(pattern: str) -> list[str]:
    """List what looks like a directive in a format, and is none."""
    known = {*_NUMBERS, *_WORDS, *_COMPOSED}
    found = re.findall(r"%[-_0^]?(?:(:?[A-Za-z%])|(.?))", pattern, re.DOTALL)
    return [f"%{name or other}" for name, other in found if name not in known]


def write(moment: datetime, pattern: str) -> str:
    """Write a moment, as the clocks of its own zone show it."""
    return _DIRECTIVE.sub(lambda found: _directive(moment, *found.groups()), pattern)


def write_iso(moment: datetime) -> str:
    """Write RFC 3339: `Z` for UTC, a fraction only where there is one.

    Clocks of the 19th century were not whole minutes ahead: such a moment is written in UTC.
    """
    if (moment.utcoffset() or timedelta()) % timedelta(minutes=1):
        moment = moment.astimezone(UTC)
    text = moment.replace(tzinfo=None).isoformat()
    return text + (offset_of(moment, ":") if moment.utcoffset() else "Z")


def write_rfc2822(moment: datetime) -> str:
    """Write as mail and HTTP do: `Fri, 31 Oct 2025 12:00:00 +0000`."""
    return format_datetime(moment)


def unix_ms_of(moment: datetime) -> int:
    """Give the whole milliseconds since 1970."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def read_unix(number: float, per_second: int) -> datetime:
    """Read a number of seconds, or of other parts of one, since 1970."""
    try:
        whole = math.floor(number)
        # The fraction is added by itself: a large float has no microseconds to spare.
        rest = round((number - whole) * 1_000_000)
        return _EPOCH + timedelta(microseconds=(whole * 1_000_000 + rest) // per_second)
    except (OverflowError, ValueError) as error:
        raise DateFormatError("is not within the years 1 to 9999") from error


def read_rfc2822(text: str) -> datetime:
    """Read what mail and HTTP write; without an offset it has none here either."""
    try:
        return parsedate_to_datetime(text[:TEXT_LENGTH_MAX])
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise DateFormatError("is not a date as mail and HTTP write it") from error


def offset_of(moment: datetime, between: str) -> str:
    """Write how far the clocks are ahead of UTC: `+0200`, with what stands between."""
    minutes = (moment.utcoffset() or timedelta()) // timedelta(minutes=1)
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02}{between}{abs(minutes) % 60:02}"


def _directive(moment: datetime, flag: str, name: str) -> str:
    if name in _COMPOSED:
        text = write(moment, _COMPOSED[name])
    elif name in _NUMBERS:
        value, width, fill = _NUMBERS[name]
        fill = {"-": "", "_": " ", "0": "0"}.get(flag, fill)
        text = str(value(moment))
        text = text.rjust(width, fill) if fill else text
    elif name in _WORDS:
        text = _WORDS[name](moment)
    else:
        return f"%{flag}{name}"
    return text.upper() if flag == "^" else text


_READ: Final[dict[str, tuple[str, str]]] = {
    "Y": ("year", "[0-9]{4}"),
    "y": ("short_year", "[0-9]{2}"),
    "m": ("month", "[0-9]{1,2}"),
    "B": ("month_name", "|".join(f"{name}|{name[:3]}" for name in MONTHS)),
    "d": ("day", "[0-9]{1,2}"),
    "j": ("day_of_year", "[0-9]{3}"),
    "H": ("hour", "[0-9]{1,2}"),
    "I": ("hour_of_half", "[0-9]{1,2}"),
    "M": ("minute", "[0-9]{1,2}"),
    "S": ("second", "[0-9]{1,2}"),
    "f": ("fraction", "[0-9]{1,9}"),
    "p": ("half", "[AaPp][Mm]"),
    "z": ("offset", "[Zz]|[+-][0-9]{2}:?[0-9]{2}"),
    "A": ("weekday", "|".join(f"{name}|{name[:3]}" for name in DAYS)),
    "s": ("unix", "-?[0-9]{1,12}"),
}
_SAME: Final = {"b": "B", "h": "B", "e": "d", "k": "H", "l": "I", "L": "f", "P": "p", "a": "A"}


class ReadFormat:
    """A format that texts are read by."""

    __slots__ = ("_pattern",)

    def __init__(self, pattern: str) -> None:
        """Compile; raise `DateFormatError` when it can't say which day it is."""
        if len(pattern) > FORMAT_LENGTH_MAX:
            raise DateFormatError(f"is longer than {FORMAT_LENGTH_MAX} characters")
        pattern = re.sub("%(.)", lambda found: _COMPOSED.get(found[1], found[0]), pattern)
        self._pattern = re.compile("".join(_parts(pattern)), re.IGNORECASE | re.ASCII)
        names = set(self._pattern.groupindex)
        year = names & {"year", "short_year"}
        day = "day_of_year" in names or ("day" in names and names & {"month", "month_name"})
        if not ("unix" in names or (year and day)):
            raise DateFormatError("needs a year, a month and a day, as in '%Y-%m-%d'")
        if ("hour_of_half" in names) != ("half" in names):
            raise DateFormatError("needs '%I' and '%p' together, or '%H'")

    def read(self, text: str) -> datetime:
        """Read; the time is naive when the text has no offset. Raises `DateFormatError`."""
        found = self._pattern.fullmatch(text.strip()) if len(text) <= TEXT_LENGTH_MAX else None
        if found is None:
            raise DateFormatError("does not have the format")
        try:
            return _moment({key: value for key, value in found.groupdict().items() if value})
        except (ValueError, OverflowError) as error:
            raise DateFormatError("holds a day or time that does not exist") from error


def _parts(pattern: str) -> Iterator[str]:
    at = 0
    seen: set[str] = set()
    for found in re.finditer(r"%[-_0^]?(:?z|.)?|\s+", pattern, re.DOTALL):
        yield re.escape(pattern[at : found.start()])
        at = found.end()
        name = (found.group(1) or "").removeprefix(":")
        name = _SAME.get(name, name)
        if found.group().isspace():
            yield r"\s+"
        elif name == "%":
            yield "%"
        elif name not in _READ:
            raise DateFormatError(f"has the directive '{found.group()[:8]}', which can't be read")
        elif name in seen:
            raise DateFormatError(f"has '{found.group()[:8]}' twice")
        else:
            seen.add(name)
            group, digits = _READ[name]
            # Numbers may stand behind a space, as `%e` writes them.
            yield f"(?P<{group}>{digits})" if name in "zABps" else f" ?(?P<{group}>{digits})"
    yield re.escape(pattern[at:])


def _moment(found: dict[str, str]) -> datetime:
    if "unix" in found:
        return read_unix(int(found["unix"]), 1)
    year = int(found.get("year") or found["short_year"])
    if "short_year" in found and "year" not in found:
        year += 2000 if year < 69 else 1900
    hour = int(found.get("hour", "0"))
    if "half" in found:
        hour = int(found["hour_of_half"])
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + (12 if found["half"].lower() == "pm" else 0)
    start = datetime(year, 1, 1, hour, int(found.get("minute", "0")), int(found.get("second", "0")))
    start = start.replace(microsecond=int(found.get("fraction", "0")[:6].ljust(6, "0")))
    if "day_of_year" in found:
        made = start + timedelta(days=int(found["day_of_year"]) - 1)
        if made.year != year:
            raise ValueError
    else:
        made = start.replace(month=_month(found), day=int(found["day"]))
    if "weekday" in found and DAYS[made.weekday()][:3].lower() != found["weekday"][:3].lower():
        raise ValueError
    return made.replace(tzinfo=_offset(found["offset"])) if "offset" in found else made


def _month(found: dict[str, str]) -> int:
    if "month" in found:
        return int(found["month"])
    wanted = found["month_name"][:3].lower()
    return next(at for at, name in enumerate(MONTHS, 1) if name[:3].lower() == wanted)


def _offset(text: str) -> timezone:
    if text in "Zz":
        return UTC
    digits = text[1:].replace(":", "")
    if int(digits[2:]) > 59:
        raise ValueError
    ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(ahead if text[0] == "+" else -ahead)
