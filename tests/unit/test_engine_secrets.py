"""Secrets in templates: in clear where they are sent, and nowhere else."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from refold.engine.component import ConfigError, NodeError
from refold.engine.liquid_sandbox import (
    _ENVIRONMENT,  # pyright: ignore[reportPrivateUsage]
    LiquidExpression,
)
from refold.engine.nodes.conditions import NumberCondition, StringCondition
from refold.engine.nodes.switch import Switch
from refold.engine.nodes.transforms import TextTransform
from refold.engine.secrets import Roots, SecretTouched
from refold.engine.templates import compile_json_text, compile_text, compile_value
from tests.support.secret_kit import REFERENCE, masked, revealing

CANARY = "Qz7-vXkJw+W9/pLd"
SECRETS = {
    "key": CANARY,
    "api-key:x": "Other-9",
    REFERENCE: "By-Id-7",
    "list": "a,b,c",
    "size": "S",
}
FILTERS = sorted(_ENVIRONMENT.filters)
DATA: dict[str, Any] = {
    "t": {"name": "vault", "item": "key", "list": ["key", "x"], "n": 3, "ref": REFERENCE}
}
TAGS = {
    "assign": "{% assign s = vault.key %}<{{ s }}>",
    "break": "{% for i in (1..3) %}{% if vault.key %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "capture": "{% capture s %}{{ vault.key }}{% endcapture %}<{{ s | size }}>",
    "case": "{% case vault.key %}{% when 'a' %}yes{% else %}no{% endcase %}",
    "continue": "{% for i in (1..3) %}{% if vault.key %}{% continue %}{% endif %}x{% endfor %}",
    "content": "{% if true %}text" + REFERENCE + "{% endif %}",
    "cycle": "{% cycle vault.key, 'b' %}",
    "echo": "{% echo vault.key | upcase %}",
    "for": "{% for c in vault.key %}{{ forloop.index }}{% endfor %}",
    "if": "{% if vault.key == 'a' %}yes{% else %}no{% endif %}",
    "ifchanged": "{% ifchanged %}{{ vault.key }}{% endifchanged %}",
    "increment": "{% increment n %}{{ vault.key }}",
    "decrement": "{% decrement n %}{{ vault.key }}",
    "output": "{% if true %}{{ vault.key }}{% endif %}",
    "tablerow": "{% tablerow c in vault.list %}{{ c }}{% endtablerow %}",
    "unless": "{% unless vault.key contains 'Q' %}no{% endunless %}",
}
BARE = "The vault itself is no secret: write 'vault.<name>'."
NAMELESS = "The vault is asked for an item without a name."
SILENT_TAGS = {
    "#": "{% # vault.key %}x",
    "comment": "{% comment %}{{ vault.key }}{% endcomment %}x",
    "doc": "{% doc %}{{ vault.key }}{% enddoc %}x",
}


def failure_of(source: str, context: dict[str, Any]) -> NodeError:
    """Render what fails."""
    with pytest.raises(NodeError) as caught:
        compile_text(source, "field").render(context)
    return caught.value


def message_of(source: str, context: dict[str, Any]) -> str:
    """Render, and give the text of the failure if there is one."""
    try:
        compile_text(source, "field").render(context)
    except NodeError as error:
        return error.message
    return ""


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(
    "form",
    [
        "{{{{ vault.key | {} }}}}",
        '{{{{ vault["key"] | {}: "a" }}}}',
        "{{{{ t.item | {}: vault.key }}}}",
        "{{{{ vault | {} }}}}",
        "{{{{ [t.name][t.item] | {} | size }}}}",
    ],
)
def test_no_filter_lets_anything_of_a_secret_through(name: str, form: str) -> None:
    """The value itself is masked, not what goes into the filter: a digest or a length says much."""
    assert compile_text(form.format(name), "field").render(masked(**DATA)) == "***"


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_that_fails_on_a_secret_says_nothing_of_it(name: str) -> None:
    """Where the secret is in clear, a failure's text is recorded all the same."""
    for form in (
        "{{ vault.key | %s }}",
        '{{ vault.key | %s: "a", "b" }}',
        "{{ 1 | %s: vault.key }}",
    ):
        said = message_of(form % name, revealing(SECRETS, **DATA))
        assert said in ("", "Template failed on a value from the vault (in 'field')")


def test_every_tag_of_the_language_is_in_the_tables_below() -> None:
    """A tag that comes with a newer version of the language is judged before it is let in."""
    assert sorted({*TAGS, *SILENT_TAGS, "illegal"}) == sorted(_ENVIRONMENT.tags)


@pytest.mark.parametrize("tag", sorted(TAGS))
def test_a_template_with_tags_that_touches_a_secret_is_masked_whole(tag: str) -> None:
    """Which way a condition went, or how often a loop ran, tells of the secret too."""
    source = f"before {TAGS[tag]} after"
    assert compile_text(source, "field").render(masked(**DATA)) == "***"
    assert compile_text(source, "field").render(revealing(SECRETS, **DATA)) != "***"


@pytest.mark.parametrize("tag", sorted(SILENT_TAGS))
def test_what_is_never_rendered_masks_nothing(tag: str) -> None:
    """A comment may name a secret."""
    assert compile_text(SILENT_TAGS[tag], "field").render(masked(**DATA)) == "x"


@pytest.mark.parametrize(
    ("source", "recorded", "sent"),
    [
        ("{{ vault.key }}", "***", CANARY),
        ("  {{ vault.key }}\n", "***", CANARY),
        ("Bearer {{ vault.key }}", "Bearer ***", f"Bearer {CANARY}"),
        ("{{ t.n }}:{{ vault.key }}:{{ t.n }}", "3:***:3", f"3:{CANARY}:3"),
        ('{{ vault["api-key:x"] }}', "***", "Other-9"),
        ("{{ vault['key'] }}", "***", CANARY),
        ("{{ vault[t.item] }}", "***", CANARY),
        ("{{ vault[t.ref] }}", "***", "By-Id-7"),
        ("{{ [t.name].key }}", "***", CANARY),
        ("{{ [t.name][t.item] }}", "***", CANARY),
        ("{{ vault.key.size }}", "***", len(CANARY)),
        ("{{ vault.size }}", "***", "S"),
        ("{{ vault.size | upcase }}", "***", "S"),
        ("{{ vault.key | slice: 0, 1 }}", "***", "Q"),
        ("{{ vault.key | base64_encode }}", "***", "UXo3LXZYa0p3K1c5L3BMZA=="),
        ("{{ vault.list | split: ',' | first }}", "***", "a"),
        ("{{ t.n | append: vault.key }}", "***", f"3{CANARY}"),
        ("{{ 'x' | default: vault.key }}", "***", "x"),
        ("{{ t.none | default: vault.key }}", "***", CANARY),
        (REFERENCE, "***", "By-Id-7"),
        (f"Bearer {REFERENCE}", "Bearer ***", "Bearer By-Id-7"),
        (f"{REFERENCE}{REFERENCE}", "******", "By-Id-7By-Id-7"),
        (f"{{{REFERENCE}}}", "{***}", "{By-Id-7}"),
        (f"{{{{{REFERENCE}}}}}", None, None),
        (f"{{% if t.n == 3 %}}{REFERENCE}{{% endif %}}", "***", "By-Id-7"),
        (f"{{% if true %}}{{{REFERENCE}}}{{% endif %}}", "***", "{By-Id-7}"),
        (f"x{REFERENCE}y", f"x{REFERENCE}y", f"x{REFERENCE}y"),
        (REFERENCE[:-1], REFERENCE[:-1], REFERENCE[:-1]),
        (f"{{% raw %}}{REFERENCE}{{% endraw %}}", REFERENCE, REFERENCE),
        ("{{ t.ref }}", REFERENCE, REFERENCE),
        ("<{{ t.ref }}>", f"<{REFERENCE}>", f"<{REFERENCE}>"),
        ("{% assign vault = 'mine' %}{{ vault }}", "mine", "mine"),
        ("{% for vault in t.list %}{{ vault }} {% endfor %}", "key x ", "key x "),
        ("{{ t.vault }}{{ t['vault'].key }}", "", ""),
    ],
)  # fmt: skip
def test_a_secret_is_masked_where_it_is_recorded_and_in_clear_where_it_is_sent(
    source: str, recorded: Any, sent: Any
) -> None:
    """Only outputs that touched the vault are masked; ids are read in what an author wrote."""
    template = compile_text(source, "field")
    assert template.render(masked(**DATA)) == recorded
    assert template.render(revealing(SECRETS, **DATA)) == sent


def test_a_value_is_masked_leaf_by_leaf() -> None:
    """Keys of documents are templates too."""
    value = {"a": ["{{ vault.key }}", "x {{ vault.key }}"], "b": REFERENCE, "c": "{{ t.n }}"}
    assert compile_value(value, "body").render(masked(**DATA)) == {
        "a": ["***", "x ***"], "b": "***", "c": 3,
    }  # fmt: skip
    text = f'{{"k-{{{{ vault.key }}}}": [{{{{ vault.key }}}}, "b\\n{REFERENCE}", {REFERENCE}]}}'
    document = compile_json_text(text, "body")
    assert document.render(masked(**DATA)) == {"k-***": ["***", "b\n***", "***"]}
    assert document.render(revealing(SECRETS, **DATA)) == {
        f"k-{CANARY}": [CANARY, "b\nBy-Id-7", "By-Id-7"]
    }
    tagged = compile_json_text('{"a": {% if vault.key %}1{% endif %}}', "body")
    assert tagged.render(masked(**DATA)) == "***"
    assert tagged.render(revealing(SECRETS, **DATA)) == {"a": 1}


@pytest.mark.parametrize("secret", ['", "admin": true, "x": "', "\\", "{{ t.n }}", '"}]', "\n"])
def test_a_secret_cannot_break_out_of_its_place(secret: str) -> None:
    """A secret is data like any other value: it can't change a document, and is no template."""
    body = compile_json_text(
        f'{{"a": "{{{{ vault.key }}}}", "b": "{REFERENCE}", "c": {{{{ vault.key }}}}}}', "body"
    )
    context = revealing({"key": secret, REFERENCE: secret}, **DATA)
    assert body.render(context) == {"a": secret, "b": secret, "c": secret}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ vault.nope }}", "The vault has no secret 'nope': there is no such item."),
        ("{{ vault.old }}", "The vault has no secret 'old': it has expired."),
        ("a {{ vault.nope | upcase }}", "The vault has no secret 'nope': there is no such item."),
        ("vlt_" + "9" * 26, f"The vault has no secret 'vlt_{'9' * 26}': there is no such item."),
        ("{{ vault[3] }}", NAMELESS),
        ("{{ vault[t.list] | upcase }}", NAMELESS),
        ("{{ vault }}", BARE),
        ("{{ vault | json }}", BARE),
        ("{% for x in vault %}{% endfor %}", BARE),
        ("{% if vault %}1{% endif %}", BARE),
    ],
)  # fmt: skip
def test_what_is_not_in_the_vault_fails_the_node_and_is_masked_before(
    source: str, message: str
) -> None:
    """An empty credential would fail somewhere else, and nobody would know why."""
    error = failure_of(source, revealing(SECRETS, **DATA))
    said = error.message.removesuffix(" (in 'field')")
    assert (error.code, said) == ("secret_missing", message)
    assert compile_text(source, "field").render(masked(**DATA)) in ("***", "a ***")


@pytest.mark.parametrize("context", [{}, {"t": {"name": "vault"}}])
@pytest.mark.parametrize("source", ["{{ vault.key }}", "{{ vault.key | upcase }}", REFERENCE])
def test_without_a_vault_a_secret_fails_the_node(source: str, context: dict[str, Any]) -> None:
    """A place that forgot to bring the vault must not send an empty credential."""
    assert failure_of(source, context).code == "secret_missing"


def test_a_stand_in_for_the_vault_is_an_ordinary_value() -> None:
    """Whoever tries out a node may bring values of their own."""
    context = {"vault": {"key": "mock"}}
    assert compile_text("{{ vault.key }}", "f").render(context) == "mock"
    assert compile_text("{{ vault.key | upcase }}!", "f").render(context) == "MOCK!"


def test_a_payload_cannot_name_a_secret() -> None:
    """What was rendered is text, whatever it looks like."""
    payload = {"a": REFERENCE, "b": "{{ vault.key }}", "c": f"x {REFERENCE} y"}
    template = compile_value(
        {"a": "{{ t.a }}", "b": "{{ t.b }} {{ t.b | append: t.a }}", "c": "{{ t.c }}"}, "f"
    )
    rendered = template.render(revealing(SECRETS, t=payload))
    assert CANARY not in str(rendered)
    assert "By-Id-7" not in str(rendered)


def test_nodes_after_a_masked_value_see_its_mask_and_tell_nothing_else() -> None:
    """A comparison with a secret is no way to guess it, and a mismatch doesn't quote it."""
    context = masked(**DATA)
    made = StringCondition(
        _config(StringCondition, left="{{ vault.key }}", operator="equals", right=CANARY)
    )
    assert made.run(context).output["result"] is False
    assert made.run(context).output["left"] == "***"
    assert TextTransform(_config(TextTransform, template="{{ vault.key }}")).run(
        context
    ).output == {"text": "***"}
    switch = Switch(
        _config(Switch, value="{{ vault.key }}", cases=[{"handle": "best", "equals": CANARY}])
    )
    assert switch.run(context).handle == "default"
    number = NumberCondition(
        _config(NumberCondition, left="{{ vault.key }}", operator="equals", right=1)
    )
    with pytest.raises(NodeError) as caught:
        number.run(context)
    assert caught.value.code == "type_mismatch"
    assert "***" not in caught.value.message


def test_a_faulty_template_on_a_secret_is_refused_when_it_is_saved() -> None:
    """Masking doesn't hide what is wrong with the template itself."""
    with pytest.raises(ConfigError):
        compile_text("{{ vault.key | zork }}", "field")
    with pytest.raises(ConfigError):
        compile_text(REFERENCE + "{{ x", "field")


def _config(kind: Any, **data: Any) -> Any:
    import msgspec

    return msgspec.convert(data, kind.config_type)


def test_what_touched_a_masked_vault_is_masked_whatever_came_of_it() -> None:
    """Should a tag or filter of a newer version swallow the stop, its result is masked still."""
    expression = LiquidExpression("{{ 1 }}", "f")

    def swallow(roots: Roots) -> Any:
        with contextlib.suppress(SecretTouched):
            roots["vault"]
        return 5

    def fail(roots: Roots) -> Any:
        swallow(roots)
        raise NodeError("template_error", "because")

    assert expression.run(masked(**DATA), swallow) == "***"
    assert expression.run(masked(**DATA), fail) == "***"
    assert expression.run({"vault": {}}, swallow) == 5
