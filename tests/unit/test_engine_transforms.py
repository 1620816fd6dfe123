"""The nodes that shape data, wait, and end a run."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from refold.engine.component import ConfigError, NodeError
from refold.engine.nodes.control import Delay, DelayConfig, Terminate, TerminateConfig
from refold.engine.nodes.transforms import TextTransform, TextTransformConfig
from tests.support.shaping_kit import failure, faults

CONTEXT: dict[str, Any] = {"t": {"n": 5, "s": "Bo", "l": [1], "o": {"k": 1}, "neg": -1}}


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ("Hi {{ t.s }}", {"text": "Hi Bo"}),
        ("{{ t.s }}", {"text": "Bo"}),
        ("", {"text": ""}),
        ("{{ t.n }}", {"value": 5}),
        ("{{ t.l }}", {"value": [1]}),
        ("{{ t.nobody }}", {"value": None}),
        ("{{ t.o }}", {"k": 1}),
        ({"a": "{{ t.n }}", "b": "n={{ t.n }}"}, {"a": 5, "b": "n=5"}),
        (["{{ t.s }}"], {"value": ["Bo"]}),
        (True, {"value": True}),
    ],
)
def test_a_transform_gives_an_object(template: Any, output: dict[str, Any]) -> None:
    """Text, other values and objects each have the form a later node looks for."""
    assert TextTransform(TextTransformConfig(template=template)).run(CONTEXT).output == output


def test_a_faulty_template_is_named() -> None:
    """The path leads to the string inside the template."""
    with pytest.raises(ConfigError) as caught:
        TextTransform(TextTransformConfig(template={"a": ["{{ b"]}))
    assert list(caught.value.errors) == ["template.a[0]"]


@pytest.mark.parametrize(
    ("data", "path", "part"),
    [
        ({}, "template", "is required"),
        ({"template": "x", "is_response": "yes"}, "is_response", "bool"),
        ({"template": {"a": ["{{ b"]}}, "template.a[0]", "closed"),
        ({"template": "{{ a | zork }}"}, "template", "zork"),
        ({"template": "{% include 'x' %}"}, "template", "include"),
        ({"template": "x" * 70_000 + "{{ a }}"}, "template", "65536"),
    ],
)
def test_a_transform_that_can_not_work_is_refused_on_save(
    data: dict[str, Any], path: str, part: str
) -> None:
    """Each refusal names the field."""
    found = faults("text_transform", **data)
    assert list(found) == [path]
    assert part in found[path][0]


@pytest.mark.parametrize(
    ("template", "code"),
    [
        (
            "{% for i in (1..9999) %}{% for j in (1..9999) %}{% endfor %}{% endfor %}",
            "template_limit",
        ),
        ("{{ big }}{{ big }}", "template_limit"),
        (["{{ big }}", "{{ big }}"], "template_limit"),
        ("{{ big | divided_by: 0 }}", "template_error"),
    ],
)
def test_a_transform_that_makes_too_much_fails(template: Any, code: str) -> None:
    """Loop bombs and huge values end in a failure with a code."""
    error = failure("text_transform", {"template": template}, big="x" * 200_000)
    assert error.code == code
    assert "template" in error.message.lower()


@pytest.mark.parametrize(
    "template", ["{{ t.__class__ }}", "{{ t.s.__class__.__mro__ }}", "{{ __builtins__ }}"]
)
def test_a_transform_sees_no_attributes(template: str) -> None:
    """Values are JSON, whose fields are all that a path can name."""
    node = TextTransform(TextTransformConfig(template=template))
    assert node.run(CONTEXT).output == {"value": None}


def test_a_transform_can_be_the_response() -> None:
    """A synchronous call answers with the flagged node's output."""
    assert TextTransform(TextTransformConfig(template="x", is_response=True)).is_response
    assert not TextTransform(TextTransformConfig(template="x")).is_response


Unit = Literal["seconds", "minutes", "hours", "days"]


@pytest.mark.parametrize(
    ("duration", "unit", "waited_us"),
    [
        (0, "seconds", 0),
        (900, "seconds", 900_000_000),
        (0.5, "seconds", 500_000),
        ("1.5", "minutes", 90_000_000),
        ("{{ t.n }}", "minutes", 300_000_000),
        (0.25, "hours", 900_000_000),
        (0.01, "days", 864_000_000),
    ],
)
def test_a_delay_is_in_microseconds(duration: Any, unit: Unit, waited_us: int) -> None:
    """Numbers, strings that hold one, and templates are accepted, up to the limit."""
    node = Delay(DelayConfig(duration=duration, unit=unit))
    assert node.duration_us(CONTEXT) == waited_us


@pytest.mark.parametrize("duration", [901, -1, "x", None, True, [], 10**400, 1e300])
def test_an_impossible_delay_is_refused_on_save(duration: Any) -> None:
    """Where the duration is written out, nobody has to wait for a run to see the fault."""
    with pytest.raises(ConfigError) as caught:
        Delay(DelayConfig(duration=duration))
    assert list(caught.value.errors) == ["duration"]


@pytest.mark.parametrize("duration", ["{{ t.neg }}", "{{ t.s }}", "{{ t.nobody }}", "{{ t.n }}00"])
def test_an_impossible_delay_fails_the_node(duration: str) -> None:
    """A rendered duration has the same limits."""
    node = Delay(DelayConfig(duration=duration, unit="minutes"))
    with pytest.raises(NodeError) as caught:
        node.duration_us(CONTEXT)
    assert caught.value.code == "delay_invalid"


def test_the_limit_of_delays_is_set_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator may allow longer or only shorter waits."""
    monkeypatch.setattr(Delay, "seconds_max", 3600)
    assert Delay(DelayConfig(duration=1, unit="hours")).duration_us({}) == 3_600_000_000
    monkeypatch.setattr(Delay, "seconds_max", 10)
    with pytest.raises(ConfigError, match="limit of 10 seconds"):
        Delay(DelayConfig(duration=11))


@pytest.mark.parametrize(("waited_us", "seconds"), [(0, 0), (2_000_000, 2), (1_500_000, 1.5)])
def test_a_delay_says_how_long_it_was(waited_us: int, seconds: float) -> None:
    """Whole seconds are written without a fraction."""
    output = Delay(DelayConfig(duration=1)).finish(waited_us).output
    assert output == {"waited_seconds": seconds}
    assert type(output["waited_seconds"]) is type(seconds)


@pytest.mark.parametrize(
    ("status", "message", "text", "error"),
    [
        ("completed", "", "", ""),
        ("completed", "{{ t.s }} is done", "Bo is done", ""),
        ("failed", "{{ t.n }} is too many", "5 is too many", "5 is too many"),
        ("failed", "{{ t.n }}", "5", "5"),
        ("failed", " ", "Workflow was terminated as failed", "Workflow was terminated as failed"),
    ],
)
def test_terminate_ends_the_run(
    status: Literal["completed", "failed"], message: str, text: str, error: str
) -> None:
    """A failed run always has an error message, a completed one never."""
    outcome = Terminate(TerminateConfig(status=status, message=message)).run(CONTEXT)
    assert outcome.ends == status
    assert outcome.message == error
    assert outcome.output == {"status": status, "message": text}
