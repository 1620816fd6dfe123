"""The root `vault` of a context: masked where something is recorded, revealing where it is sent.

Templates ask the context for `vault` and get one of two things:

- `MaskedVault`, in pure nodes and in `prepare`: whatever touches it is `***` as a whole, and is
  never computed. So no filter, comparison or loop can let anything of a secret through.
- `RevealingVault`, in `perform`: a secret in clear, by its name or its `vlt_…` id. One that isn't
  there fails the node, since an empty credential would only fail somewhere else, and later.

That a value comes from a secret is found out while it is computed, at the one place where a
context gives away its `vault`, and not from the words of a template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from .component import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .component import Json
    from .secret_source import Hidden, TenantSecrets

MASK: Final = "***"
"""What stands in the place of everything that comes from a secret."""
ROOT: Final = "vault"
"""The name under which a context holds its vault."""
SECRET_MISSING: Final = "secret_missing"
_NAME_SHOWN_MAX: Final = 64

_REFERENCE = re.compile(r"vlt_[0-9A-Za-z]{26}(?=vlt_|[^0-9A-Za-z]|\Z)")
_WHY: Final[dict[Hidden, str]] = {
    "": "it was deleted just now",
    "unknown": "there is no such item",
    "expired": "it has expired",
    "api_key": "an API key is kept as a hash only",
    "unreadable": "it was encrypted under another service key",
}


class SecretTouched(Exception):
    """Something that is to be recorded asked for a secret; it stops there, and is masked."""


class MaskedVault:
    """The vault as everything sees it that computes what is recorded."""

    __slots__ = ()


class RevealingVault:
    """The vault as a call sees it that is about to be sent."""

    __slots__ = ("_revealed", "_secrets", "given")

    def __init__(self, secrets: TenantSecrets) -> None:
        self._secrets = secrets
        self._revealed: set[str] = set()
        self.given = 0
        """How often a secret was given away: what is rendered meanwhile holds one."""

    @property
    def revealed(self) -> frozenset[str]:
        """The secrets that were given away: what an answer is searched for at the least."""
        return frozenset(self._revealed)

    def __getitem__(self, reference: object) -> str:
        """Return a secret; raise `NodeError` with code `secret_missing` where there is none."""
        if not isinstance(reference, str):
            raise NodeError(SECRET_MISSING, "The vault is asked for an item without a name.")
        text = self._secrets.reveal(reference)
        if text is None:
            why = _WHY[self._secrets.hidden(reference)]
            shown = reference[:_NAME_SHOWN_MAX]
            raise NodeError(SECRET_MISSING, f"The vault has no secret '{shown}': {why}.")
        self._revealed.add(text)
        self.given += 1
        return text


def vault_of(context: Mapping[str, Json]) -> Json:
    """Return a context's vault for use, and stop with `SecretTouched` where it is masked.

    What is neither of the two vaults is a stand-in of somebody who tries out a node, and an
    ordinary value. Raises `NodeError` where there is no vault at all.
    """
    try:
        vault = context[ROOT]
    except KeyError:
        raise NodeError(SECRET_MISSING, "There is no vault here.") from None
    if isinstance(vault, MaskedVault):
        raise SecretTouched
    return vault


class Roots(Mapping[str, object]):
    """The node's context, the one way to its vault, and whether that way was taken."""

    __slots__ = ("is_touched", "variables")

    def __init__(self, variables: Mapping[str, Json]) -> None:
        self.variables = variables
        self.is_touched = False

    def __getitem__(self, name: str) -> object:
        if name == ROOT:
            self.is_touched = True
            return vault_of(self.variables)
        return self.variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)

    def __bool__(self) -> bool:
        # True although empty: Liquid would put something else in the place of what is empty.
        return True


def is_masked(context: Mapping[str, Json]) -> bool:
    """Say whether what is rendered in this context is to be recorded."""
    return isinstance(context.get(ROOT), MaskedVault)


def secrets_given(context: Mapping[str, Json]) -> int:
    """Say how often a context has given a secret away so far."""
    vault = context.get(ROOT)
    return vault.given if isinstance(vault, RevealingVault) else 0


def check_given(value: object) -> None:
    """Refuse the vault itself as a value: only its items are values."""
    if isinstance(value, RevealingVault):
        raise NodeError(SECRET_MISSING, "The vault itself is no secret: write 'vault.<name>'.")


def split_references(text: str) -> list[tuple[str, str]]:
    """Cut a configured text at its `vlt_…` ids: pieces of text, and of `output` that looks one up.

    For what an author wrote, never for what was rendered: else a payload could name a secret.
    """
    pieces: list[tuple[str, str]] = []
    at = 0
    for found in _REFERENCE.finditer(text):
        before = text[at : found.start()]
        # A brace right before the two that open an output would be read as one of them.
        bare = before.rstrip("{")
        if bare:
            pieces.append(("text", bare))
        if bare != before:
            pieces.append(("output", f'{{{{ "{before[len(bare) :]}" }}}}'))
        pieces.append(("output", f'{{{{ {ROOT}["{found.group()}"] }}}}'))
        at = found.end()
    if at < len(text):
        pieces.append(("text", text[at:]))
    return pieces
