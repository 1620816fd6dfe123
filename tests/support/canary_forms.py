"""What others may do to a secret in one step, and a search for whatever is left of it.

Written apart from what the service itself searches for, so that one doesn't hide a gap of the
other.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

PART: Final = 8
"""So many characters in a row of a secret or of a form of it are a leak."""


def _units(text: str) -> str:
    return "".join(f"\\u{ord(char):04X}" for char in text)


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


TRANSFORMS: Final[dict[str, Callable[[str], str]]] = {
    "plain": str,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 without padding": lambda s: base64.b64encode(s.encode()).decode().rstrip("="),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64 in a longer text": lambda s: base64.b64encode(f"u:{s}!".encode()).decode()[3:-4],
    "base64 one byte on": lambda s: base64.b64encode(f"u{s}!".encode()).decode()[2:-4],
    "URL": lambda s: quote(s, safe=""),
    "URL of a path": quote,
    "URL of a form": quote_plus,
    "URL in lower case": lambda s: quote(s, safe="").lower(),
    "URL, each byte": _percent,
    "URL, other safe ones": lambda s: quote(s, safe='+&"'),
    "JSON": lambda s: json.dumps(s)[1:-1],
    "JSON in JSON": lambda s: json.dumps(json.dumps(s))[3:-3],
    "JSON, each character": _units,
    "JSON with escaped slashes": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "JSON for HTML": lambda s: json.dumps(s)[1:-1].replace("&", "\\u0026").replace("+", "\\u002B"),
    "HTML": html.escape,
    "HTML in decimal": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "HTML in hex": lambda s: "".join(f"&#x{ord(c):X};" for c in s),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "hex with colons": lambda s: s.encode().hex(":"),
    "hex with spaces": lambda s: s.encode().hex(" "),
    "hex as in C": lambda s: "".join(f"\\x{b:02x}" for b in s.encode()),
    "upper": str.upper,
    "lower": str.lower,
    "swapped": str.swapcase,
    "reversed": lambda s: s[::-1],
}
SPACED: Final = frozenset({"hex with colons", "hex with spaces"})
SHIFTED: Final = frozenset({"base64 in a longer text", "base64 one byte on"})
UNDONE: Final = frozenset(
    {"HTML in decimal", "HTML in hex", "hex as in C", "JSON for HTML", "JSON in JSON"}
    | {"URL, other safe ones"}
)
"""Found by undoing them only, so that a part must hold eight characters of the secret itself."""
WHOLE_ONLY: Final = SPACED | UNDONE
_PROBE: Final = 5
_SPANS: Final = {
    "URL, each byte": 6,
    "JSON, each character": 6,
    "hex": 7,
    "HEX": 7,
    "URL": 8,
    "URL of a path": 8,
    "URL of a form": 8,
    "URL in lower case": 8,
    "JSON": 8,
    "JSON with escaped slashes": 8,
    "HTML": 8,
}
"""How many characters of a secret a part of such a form must stand for.

Eight characters of the form may be one or two of the secret, or a run of digits: hashes, times and
the texts of other tenants hold them by chance.
"""


class Leaks:
    """What finds traces of secrets in bytes of any kind."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._parts: dict[int, dict[bytes, tuple[str, str]]] = {}
        self._wholes: dict[bytes, tuple[str, str]] = {}
        self._probes: set[bytes] = set()
        for secret in secrets:
            for name, transform in TRANSFORMS.items():
                is_whole = name in WHOLE_ONLY or len(secret) < PART
                for part in _parts(secret, name, transform):
                    kept = self._wholes if is_whole else self._parts.setdefault(len(part), {})
                    kept[part] = (secret, name)
        for parts in self._parts.values():
            for part in parts:
                self._probes.update(part[i : i + _PROBE] for i in range(PART - _PROBE + 1))

    def find(self, data: bytes) -> list[str]:
        """Tell each trace in some bytes: the secret, the form, and what stands around it."""
        told: dict[tuple[str, str], int] = {}
        # Each part holds a probe that begins at such a place, so that few places are looked at.
        places = range(0, len(data), PART - _PROBE + 1)
        for hit in [at for at in places if data[at : at + _PROBE] in self._probes]:
            for at in range(max(0, hit - PART + _PROBE), hit + 1):
                for size, parts in self._parts.items():
                    what = parts.get(data[at : at + size])
                    if what is not None:
                        told.setdefault(what, at)
        for whole, what in self._wholes.items():
            at = data.find(whole)
            if at >= 0:
                told.setdefault(what, at)
        return [f"{what}: {data[max(0, at - 60) : at + 60]!r}" for what, at in told.items()]


def _parts(secret: str, name: str, transform: Callable[[str], str]) -> Iterator[bytes]:
    if len(secret) < PART:
        # Of a short secret only the whole counts, in the forms that nothing is like by chance.
        if name in ("plain", "base64", "URL, each byte"):
            yield transform(secret).encode()
    elif name in WHOLE_ONLY:
        last = len(secret) - PART
        for at in {0, last // 2, last}:
            yield transform(secret[at : at + PART]).encode()
    elif name in _SPANS:
        for at in range(len(secret) - _SPANS[name] + 1):
            yield transform(secret[at : at + _SPANS[name]]).encode()
    else:
        form = transform(secret).encode()
        for at in range(len(form) - PART + 1):
            yield form[at : at + PART]
