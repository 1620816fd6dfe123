"""Random workflows that send secrets in every place and form, and vaults of canaries for them."""

from __future__ import annotations

import random
import string
from typing import Any, Final

from tests.support.canary_echo import NAMES, PLACES
from tests.support.service import node

FAILING: Final = ("silent", "too_large", "bad_status", "bad_chunk", "cut_short")
_LETTERS: Final = string.ascii_letters + string.digits
_KINDS: Final = (_LETTERS, _LETTERS + "+/=", _LETTERS + "-_.~", _LETTERS + "\"\\<>&%'#?/+ ;")
_FILTERS: Final = (
    "upcase", "downcase", "capitalize", "base64_encode", "base64_url_safe_encode", "url_encode",
    "escape", "json", "strip", "append: '-end'", "prepend: 'start-'", "slice: 0, 9", "size",
    "sha256", "md5", "split: '' | reverse | join: ''", "split: 'a' | first", "truncate: 12",
    "replace: 'a', 'b'", "default: 'none'", "remove: 'z'", "hmac_sha256: 'key'",
)  # fmt: skip
_HEADERS: Final = ("X-Plain", "Authorization", "X-Api-Key", "Accept-Language", "X-Trace")


def canaries(dice: random.Random, count: int) -> dict[str, str]:
    """Make secrets of all kinds and lengths, by name."""
    made: dict[str, str] = {}
    for n in range(count):
        letters = _KINDS[n % len(_KINDS)]
        length = dice.choice((14, 24, 40, 64)) if n % 5 else dice.choice((6, 7, 12))
        # Letters at both ends: what a header's end loses would be no secret of ours any more.
        inner = "".join(dice.choices(letters, k=length - 2))
        name = f"{dice.choice(('key', 'api-token', 'db.password', 'a:b'))}-{n}"
        made[name] = dice.choice(_LETTERS) + inner + dice.choice(_LETTERS)
    return made


class Author:
    """Writes workflows that use the items of one vault (name to id)."""

    def __init__(self, dice: random.Random, items: dict[str, str], url: str) -> None:
        self._dice = dice
        self._items = items
        self._url = url

    def workflow(self, name: str) -> dict[str, Any]:
        """Write one: a trigger, a chain or fork of calls, and nodes that look at what came."""
        dice = self._dice
        nodes = [node("start", "manual_trigger")]
        edges: list[dict[str, str]] = []
        ends = ["start"]
        for n in range(dice.randint(2, 5)):
            source = dice.choice(ends)
            made = self._node(f"n{n}", [i["id"] for i in nodes[1:]])
            nodes.append(made)
            edges.append({"id": f"e{n}", "source": source, "target": made["id"]})
            if made["data"]["componentId"] == "string_condition":
                # What follows a condition would need its handles.
                continue
            ends = [*ends, made["id"]] if dice.random() < 0.4 else [made["id"]]
        return {"name": name, "nodes": nodes, "edges": edges}

    def _node(self, name: str, earlier: list[str]) -> dict[str, Any]:
        dice = self._dice
        kind = dice.random()
        if kind < 0.7:
            return self.call(name, earlier)
        if kind < 0.85:
            template: Any = self._text(earlier)
            if dice.random() < 0.5:
                template = {"a": template, "b": [self._text(earlier)], "c": self._expression()}
            return node(name, "text_transform", template=template, continue_on_error=True)
        return node(
            name,
            "string_condition",
            left=self._text(earlier),
            operator=dice.choice(("equals", "contains", "starts_with")),
            right=self._text(earlier),
            continue_on_error=True,
        )

    def call(self, name: str, earlier: list[str]) -> dict[str, Any]:
        """Write a call with secrets in some of its places."""
        dice = self._dice
        place = dice.choice(FAILING) if dice.random() < 0.15 else dice.choice(sorted(PLACES))
        url = f"{self._url}/{place}/{dice.randrange(len(NAMES))}/{dice.choice((0, 0, 3, 17))}"
        if dice.random() < 0.5:
            url += f"/p/{self._secret()}"
        if dice.random() < 0.5:
            url += f"?q={self._secret()}&token={self._secret()}&n={dice.randrange(99)}"
        headers = [
            {"key": key, "value": dice.choice(("Bearer ", "", "k=")) + self._secret()}
            for key in dice.sample(_HEADERS, dice.randint(0, 2))
        ]
        data: dict[str, Any] = {
            "url": url,
            "method": dice.choice(("GET", "POST", "PUT", "PATCH", "DELETE")),
            "headers": headers,
            "continue_on_error": dice.random() < 0.8,
            "timeout": 0.4 if place == "silent" else 10,
        }
        if dice.random() < 0.7:
            data["body"] = self._body(earlier)
        if dice.random() < 0.1 and place != "silent":
            data["retry"] = {"max_attempts": 2, "initial_interval": 0.05}
        return node(name, "webhook", **data)

    def _body(self, earlier: list[str]) -> Any:
        dice = self._dice
        kind = dice.random()
        if kind < 0.4:
            return {"auth": self._secret(), "list": [self._text(earlier), {"k": self._secret()}]}
        if kind < 0.6:
            return f'{{"{self._secret()}": "{self._text(earlier)}", "b": [{self._expression()}]}}'
        if kind < 0.7:
            return f"{{% if {self._path()} %}}{self._secret()}{{% else %}}no{{% endif %}} after"
        return self._text(earlier)

    def _text(self, earlier: list[str]) -> str:
        pieces = [self._secret() for _ in range(self._dice.randint(0, 2))]
        pieces += [f"{{{{ {name}.body }}}} {{{{ {name}.error.message }}}}" for name in earlier[-2:]]
        pieces.append("plain text")
        self._dice.shuffle(pieces)
        return " ".join(pieces)

    def _secret(self) -> str:
        """Write a secret as an author may: by its id, or by its name with filters."""
        if self._dice.random() < 0.4:
            return self._dice.choice(sorted(self._items.values()))
        return self._expression()

    def _path(self) -> str:
        return f"vault['{self._dice.choice(sorted(self._items))}']"

    def _expression(self) -> str:
        chain = self._dice.sample(_FILTERS, self._dice.choice((0, 0, 1, 2)))
        return f"{{{{ {' | '.join((self._path(), *chain))} }}}}"
