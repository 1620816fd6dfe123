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


class Leaks:
    """What finds traces of secrets in bytes of any kind."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._parts: dict[bytes, tuple[str, str]] = {}
        self._wholes: dict[bytes, tuple[str, str]] = {}
        for secret in secrets:
            for name, transform in TRANSFORMS.items():
                kept = self._wholes if name in WHOLE_ONLY or len(secret) < PART else self._parts
                for part in _parts(secret, name, transform):
                    kept[part] = (secret, name)

    def find(self, data: bytes) -> list[str]:
        """Tell each trace in some bytes: the secret, the form, and what stands around it."""
        told: dict[tuple[str, str], str] = {}
        parts = self._parts
        for at in [at for at in range(len(data) - PART + 1) if data[at : at + PART] in parts]:
            secret = parts[data[at : at + PART]]
            told.setdefault(secret, f"{secret}: {data[max(0, at - 60) : at + 60]!r}")
        for whole, secret in self._wholes.items():
            at = data.find(whole)
            if at >= 0:
                told.setdefault(secret, f"{secret}: {data[max(0, at - 60) : at + 60]!r}")
        return list(told.values())


def _parts(secret: str, name: str, transform: Callable[[str], str]) -> Iterator[bytes]:
    if len(secret) < PART:
        # Of a short secret only the whole counts, in the forms that nothing is like by chance.
        if name in ("plain", "base64", "URL, each byte"):
            yield transform(secret).encode()
    elif name in WHOLE_ONLY:
        last = len(secret) - PART
        for at in {0, last // 2, last}:
            yield transform(secret[at : at + PART]).encode()
    else:
        form = transform(secret).encode()
        for at in range(len(form) - PART + 1):
            yield form[at : at + PART]
