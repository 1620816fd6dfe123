"""Whatever a template does to a secret, nothing of it is in what is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.component import ConfigError, NodeError
from refold.engine.liquid_sandbox import _ENVIRONMENT  # pyright: ignore[reportPrivateUsage]
from refold.engine.templates import Template, compile_json_text, compile_text, compile_value
from tests.support.secret_kit import REFERENCE, masked, revealing

# Letters that no fragment below holds, so that a single one of them would be a trace.
CANARY = "ЖЩЮЯжщюяЪЫЭъыэ"
DATA = {"t": {"a": "plain", "b": [3, 1, 2], "n": 5, "root": "vault", "name": "k", "ref": REFERENCE}}
FILTERS = sorted(_ENVIRONMENT.filters)

secrets = st.sampled_from(
    ["vault.k", 'vault["k"]', "vault[t.name]", "[t.root].k", "[t.root][t.name]", "vault"]
)
plain = st.sampled_from(["t.a", "t.b", "t.n", "'x'", "2", "nil", "t.none", "t.ref"])
values = secrets | plain


def _filter(name: str, arguments: list[str]) -> str:
    return f" | {name}{': ' if arguments else ''}{', '.join(arguments)}"


def _expression(value: str, chain: list[str]) -> str:
    return value + "".join(chain)


filters = st.builds(_filter, st.sampled_from(FILTERS), st.lists(values, max_size=2))
expressions = st.builds(_expression, values, st.lists(filters, max_size=3))
outputs = st.builds("{{{{ {} }}}}".format, expressions)
texts = st.sampled_from([" ", "text ", "{", '"', "\\", REFERENCE, f" {REFERENCE} ", "}", "é"])
leaves = outputs | texts


def _blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["==", "!=", "<", ">", "contains", "and", "or"])
    return st.one_of(
        st.builds(
            "{{% if {0} {1} {2} %}}{3}{{% else %}}{4}{{% endif %}}".format,
            values,
            operators,
            values,
            inner,
            inner,
        ),
        st.builds("{{% for x in {0} %}}{1}{{{{ x }}}}{{% endfor %}}".format, values, inner),
        st.builds("{{% assign v = {0} %}}{1}{{{{ v }}}}".format, expressions, inner),
        st.builds("{{% capture v %}}{0}{{% endcapture %}}{{{{ v }}}}".format, inner),
        st.builds(
            "{{% case {0} %}}{{% when {1} %}}{2}{{% endcase %}}".format, values, values, inner
        ),
        st.builds("{{% cycle {0}, {1} %}}{2}".format, values, values, inner),
        st.builds("{{% tablerow x in {0} %}}{1}{{% endtablerow %}}".format, values, inner),
        st.builds("{{% ifchanged %}}{0}{{% endifchanged %}}".format, inner),
        st.lists(inner, min_size=1, max_size=4).map("".join),
    )


templates = st.recursive(leaves, _blocks, max_leaves=6)


def _is_clean(value: object) -> bool:
    return not any(letter in msgspec.json.encode(value).decode() for letter in CANARY)


@given(templates, templates)
def test_nothing_of_a_secret_is_recorded(first: str, second: str) -> None:
    """In no template, at no leaf of a value or document, and in no text of a failure."""
    document = f'{{"a": "{first}", "{second}": [1]}}'
    compilers: list[tuple[Callable[[Any, str], Template], Any]] = [
        (compile_text, first),
        (compile_value, {"a": [first, {"b": second}], "c": 1}),
        (compile_json_text, document),
    ]
    for compiler, source in compilers:
        try:
            template = compiler(source, "f")
        except ConfigError:
            continue
        recorded, failure = _rendered(template, masked(**DATA))
        assert _is_clean(recorded)
        assert _is_clean(failure)
        _, failure = _rendered(template, revealing({"k": CANARY, REFERENCE: CANARY}, **DATA))
        assert _is_clean(failure)


def _rendered(template: Template, context: dict[str, Any]) -> tuple[Any, str]:
    """Give what was rendered, or the text of its failure."""
    try:
        return template.render(context), ""
    except NodeError as error:
        return None, error.message


@given(st.lists(outputs | st.sampled_from([" ", "text ", f" {REFERENCE} ", "é"]), max_size=6))
def test_outputs_that_touch_a_secret_are_masked_and_those_alone(pieces: list[str]) -> None:
    """What an author put beside a secret stays readable."""
    try:
        shown = compile_text("<" + "".join(pieces), "f").render(masked(**DATA))
    except (ConfigError, NodeError):
        return
    touched = [
        "vault" in piece or "t.root" in piece or piece.strip() == REFERENCE for piece in pieces
    ]
    assert shown.count("***") == sum(touched)
