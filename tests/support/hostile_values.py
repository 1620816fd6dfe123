"""What hostile clients put into bodies and parameters: values, shapes, and broken encodings."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Callable
from typing import Any, cast

from refold.engine.component import is_object

from .http_kit import quick
from .service import chain, node

# Literal addresses and names of this machine alone: nothing here may leave it.
URLS = (
    "http://127.0.0.1:9/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/",
    "http://127.1/", "http://0/", "http://0.0.0.0:22/", "http://[::]/", "http://[::1]:9/",
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/", "http://169.254.169.254/latest/meta-data/", "http://[fe80::1%25lo]/",
    "http://localhost./", "http://LOCALHOST:9/", "http://a@127.0.0.1/", "http://127.0.0.1#@h/",
    "http://127.0.0.1\\@h/", "http://127。0。0。1/", "http://１２７.０.０.１/", "file:///etc/passwd",
    "gopher://127.0.0.1:25/_HELO", "http://127.0.0.1/\r\nX-Injected: 1", "//127.0.0.1/", "http://",
)  # fmt: skip
TEMPLATES = (
    "{{", "{{ x", "{% raw %}", "{{ vault }}", "{{ vault.stolen }}", "{{ run.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ trigger.__init__.__globals__ }}",
    "{% include '/etc/passwd' %}", "{% for i in (1..999999999) %}x{% endfor %}",
    "{% assign a = 'x' %}{% for i in (1..99) %}{% assign a = a | append: a %}{% endfor %}{{ a }}",
    "{{ 'x' | repeat: 999999999 }}", "{{ 1 | divided_by: 0 }}", "{{ trigger | json | json }}",
)  # fmt: skip
TEXTS = (
    "", " ", "\x00", "\x1b[2J", "\r\nSet-Cookie: a=b", "a" * 5000, "\u202e\u2028", "😀" * 40,
    "../../../../etc/passwd", "..%2f..%2fvault_key", "%00", "%ff", "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0", "@SUM(1+1)", "'; DROP TABLE event; --", "\" OR 1=1", "${jndi:ldap://x}",
    "(a+)+$", "(?=(a+))\\1", "[", "fl_", "fl_run_", "null", "NaN", "1e999999", "9" * 400,
    "0 0 31 2 *", "*/0 * * * *", "2025-02-30T25:61:61Z", "-1 days", "p0", "v0", "p99999999999999",
    "Bearer x", "*", ",", "a.b.c", "$..*", "/x/~2",
)  # fmt: skip
SCALARS: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**31, 2**53, 2**63, 2**64 - 1, -(2**63), 0.1, -0.0, 1e308, 5e-324,
)  # fmt: skip


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


SHAPES: tuple[Any, ...] = (
    [], {}, [[]], {"": {}}, {"__proto__": {"x": 1}}, {"$ref": "#"}, {"allOf": [{"$ref": "#"}]},
    list(range(2000)), {f"k{i}": i for i in range(500)}, _nested(63), _nested(70),
    [None] * 300, {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}},
)  # fmt: skip


def value(dice: random.Random, ids: list[str]) -> Any:
    """Choose something that a field does not expect."""
    kind = dice.random()
    if kind < 0.2:
        return dice.choice(ids)
    # Copied, since what stands in a body may be changed once more.
    return copy.deepcopy(dice.choice(dice.choice((URLS, TEMPLATES, TEXTS, TEXTS, SCALARS, SHAPES))))


def text(dice: random.Random, ids: list[str]) -> str:
    """Choose a text that a parameter does not expect."""
    return dice.choice(ids) if dice.random() < 0.3 else dice.choice((*TEXTS, *URLS[:8]))


def bodies(ids: list[str]) -> dict[str, list[Any]]:
    """Return good bodies by path, to be spoiled: from them a fuzzer gets past the first checks."""
    start = node("t", "manual_trigger", input_schema={"type": "object"})
    busy = chain(
        start,
        node("m", "data_mapper", mapping={"a": "{{ trigger.a }}"}),
        node("j", "json_parser", source="{{ trigger.text }}"),
        node("s", "string_transform", operations=[{"operation": "upper"}], value="{{ trigger.a }}"),
        node("d", "date_transform", value="{{ trigger.at }}", format="%Y"),
        node("c", "number_condition", left="{{ trigger.a }}", operator="=", right=1),
    )
    call = chain(start, node("w", "webhook", url=URLS[0], method="POST", body={"a": "{{ run }}"}))
    sub = chain(start, node("k", "trigger_workflow", workflow_id=ids[0], wait=False))
    each = chain(node("x", "text_transform", template="{{ item }}"))
    loop = chain(start, node("i", "iterator", items="{{ trigger.list }}", **each))
    ask = chain(start, node("f", "form", fields=[{"id": "a", "type": "text"}]))
    made = [quick(), busy, call, sub, loop, ask, {**quick(), "authorization_id": ids[-1]}]
    event = {"specversion": "1.0", "id": "1", "source": "/x", "type": "y", "data": {"a": 1}}
    grant = {"provider": "p", "grant_type": "client_credentials", "client_id": "c",
             "client_secret": "hush hush", "token_url": URLS[0]}  # fmt: skip
    return {
        "/workflows": made,
        "/workflows/validate": made,
        "/workflows/{workflowId}": [{"name": "another"}, *({"nodes": d["nodes"]} for d in made)],
        "/workflows/{workflowId}/execute": [{"context": {"a": 1, "text": "{}", "list": [1, 2]}}],
        "/workflows/runs/{runId}/rerun": [{"definition": "original"}, {}],
        "/workflows/runs/{runId}/resume-from/{nodeId}": [{"definition": "current"}],
        "/workflows/runs/{runId}/interactions/{nodeId}": [{"action": "x", "values": {"a": ""}}],
        "/workflows/{workflowId}/executions/resume": [{"filter": {"status": "failed"}, "limit": 3}],
        "/workflows/test-node": [{"node": n, "context": {}} for d in made for n in d["nodes"]],
        "/workflows/vault": [{"name": "an-item", "secret": "hush"}, {"name": "api-key:x"}],
        "/workflows/vault/{itemId}": [{"secret": "other"}],
        "/workflows/authorization": [grant],
        "/subscriptions": [{"url": URLS[0], "types": ["run.failed"], "after": 0}],
        "/journal/erasures": [{"run": ids[0]}, {"workflow": ids[0]}, {"subject": "nobody"}],
        "/workflows/events": [event, [event]],
        "/workflows/sync/{workflowId}": [{"a": 1}],
    }  # fmt: skip


def spoiled(dice: random.Random, good: Any, ids: list[str]) -> Any:
    """Change a few places of a good body."""
    made = copy.deepcopy(good)
    for _ in range(dice.choice((0, 0, 1, 1, 2, 4))):
        made = _changed(dice, made, ids)
    return made


def _changed(dice: random.Random, at: Any, ids: list[str]) -> Any:
    """Change one place, somewhere below."""
    if is_object(at) and at and dice.random() < 0.85:
        name: Any = dice.choice(list(at))
        how = dice.random()
        if how < 0.1:
            del at[name]
        elif how < 0.2:
            at[text(dice, ids)[:200]] = at[name]
        else:
            at[name] = _changed(dice, at[name], ids)
        return at
    if isinstance(at, list) and at and dice.random() < 0.85:
        items: list[Any] = cast("Any", at)
        index = dice.randrange(len(items))
        if dice.random() < 0.1:
            items.append(copy.deepcopy(items[index]))
        else:
            items[index] = _changed(dice, items[index], ids)
        return items
    return value(dice, ids)


def _flipped(dice: random.Random, data: bytes) -> bytes:
    made = bytearray(data or b"x")
    for _ in range(dice.randint(1, 5)):
        made[dice.randrange(len(made))] = dice.randrange(256)
    return bytes(made)


BROKEN: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flipped,
    lambda dice, data: data[: dice.randrange(len(data) + 1)],
    lambda _, data: b"\xef\xbb\xbf" + data,
    lambda _, data: data.decode().encode("utf-16"),
    lambda _, data: gzip.compress(data),
    lambda _, data: gzip.compress(b" " * 5_000_000 + data),
    lambda _, data: data[:-1] + b',"a":1,"a":2}',
    lambda _, data: b"[" * 100_000,
    lambda _, data: b'{"a":' * 5000 + b"1" + b"}" * 5000,
    lambda _, data: b'{"context":{"a":' + b"9" * 100_000 + b"}}",
    lambda _, data: b'{"context":{"a":1e999999999}}',
    lambda _, data: b'{"context":{"a":NaN,"b":-Infinity}}',
    lambda _, data: b'{"context":{"a":"\\ud800"}}',
    lambda _, data: b'{"context":{"a":"' + b"\xed\xa0\x80" + b'"}}',
    lambda _, data: b'{"a":"' + b"x" * 1_100_000 + b'"}',
    lambda _, data: b"a=1&b=2",
    lambda _, data: b"\x00" * 100,
)
"""Ways to spoil the bytes of a body."""


def encoded(dice: random.Random, body: Any) -> bytes:
    """Write a body as JSON, now and then spoiled."""
    data = json.dumps(body).encode()
    return dice.choice(BROKEN)(dice, data) if dice.random() < 0.2 else data
