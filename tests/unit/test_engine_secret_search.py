"""What comes back from outside is searched for secrets in every form of one step."""

from __future__ import annotations

import json
import random
import string
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.component import NodeError, Outcome
from refold.engine.secret_index import SPARSE_MIN, SparseParts
from refold.engine.secret_search import (
    DENSE_MAX,
    HELD_MAX,
    SecretSearch,
    SecretSearches,
    masked_result,
)
from tests.support.canary_forms import SHIFTED, SPACED, TRANSFORMS, UNDONE
from tests.support.secret_kit import FixedSecrets

LONG = "Kq7/zX+\"w&9 '\\V%pJ"
SHORT = "x9K&v"
WORDS = "the quick brown fox jumps over the lazy dog, 2025-10-31T12:00:00Z, 00:1b:44:11:3a:b7 "


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
@pytest.mark.parametrize("around", ["", WORDS, "x", '{"a": "', "%41", "\\"])
def test_each_form_of_a_secret_is_masked(name: str, around: str) -> None:
    """Whatever an answer did to it in one step, and wherever it stands."""
    form = TRANSFORMS[name](LONG)
    shown = SecretSearch([LONG]).mask_text(f"{around}{form} {WORDS}")
    # A sign of escape right before it, or a pair of hex digits, may count as part of it.
    assert shown.startswith((f"{around}***", f"{around[:-3]}***", f"{around[:-1]}***"))
    assert shown.endswith(f" {WORDS}")
    assert form not in shown


@pytest.mark.parametrize("name", sorted(set(TRANSFORMS) - SPACED - SHIFTED))
def test_each_whole_form_of_a_short_secret_is_masked(name: str) -> None:
    """Parts of it are not: three letters are in every text."""
    form = TRANSFORMS[name](SHORT)
    search = SecretSearch([SHORT])
    assert search.mask_text(f"a{form} b") == "a*** b"
    assert search.mask_text(f"a{SHORT[:-1]} {SHORT[1:]} b") == f"a{SHORT[:-1]} {SHORT[1:]} b"


@pytest.mark.parametrize("name", sorted(set(TRANSFORMS) - SPACED - UNDONE))
@pytest.mark.parametrize("length", [8, 9, 12])
def test_each_part_of_eight_characters_is_masked(name: str, length: int) -> None:
    """An answer may quote the end of a key, or cut a header off in its middle."""
    form = TRANSFORMS[name](LONG)
    search = SecretSearch([LONG])
    for at in range(len(form) - length + 1):
        part = form[at : at + length]
        assert "***" in search.mask_text(f"({part})"), part
        if "\\u" not in part[-6:] and "%" not in part[-3:] and part[0] not in '\\"':
            assert part not in search.mask_text(f"({part})")


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("ab1", "is ab1, xab1 ab12 ab1_ AB1 ab1", "is ***, xab1 ab12 ab1_ AB1 ***"),
        ("7", "7 of 17", "*** of 17"),
        ("..", "a..b", "a***b"),
        ("*", "a * b", "a * b"),
        ("****************", "a **************** b", "a **************** b"),
        ("1234", "x1234y", "x***y"),
        ("abcdefgh", "ABCDEFG ABCDEFGH abcdefghi", "ABCDEFG *** ***i"),
        ("correct horse", "the correct horses", "the ***s"),
        ("Straße-1234", "STRASSE-1234 straße-1234", "*** ***"),
        ("İstanbul-kapı", "x İstanbul-kapı y", "x *** y"),
        ("日本語のパスワード", "a 日本語のパスワード", "a ***"),
        ("日本語のパスワード", "a " + quote("日本語のパスワード"), "a ***"),
        ("日本語のパスワード", json.dumps("日本語のパスワード"), '"***"'),
        ("key-😀😀😀😀😀😀", json.dumps("key-😀😀😀😀😀😀"), '"***"'),
        ("\ud800abcdefgh", "abcdefgh", "***"),
        ("line one\nline two", "line one\\nline two", "***"),
    ],
)  # fmt: skip
def test_what_counts_as_found(secret: str, text: str, shown: str) -> None:
    """The edges: words, cases that change length, other scripts, line breaks."""
    assert SecretSearch([secret]).mask_text(text) == shown


def test_texts_side_by_side_are_covered_by_one_mask_and_parts_of_two_by_two() -> None:
    """A mask says that something was there, and not how much."""
    search = SecretSearch(["abcdefghij", "0123456789"])
    assert search.mask_text("abcdefghij0123456789") == "***"
    assert search.mask_text("abcdefghijabcdefghij") == "***"
    assert search.mask_text("bcdefghi 12345678") == "*** ***"
    assert search.mask_text("defghij0123") == "defghij0123"


VALUES: list[tuple[Any, Any]] = [
    ({"a": [LONG, 1, None, True]}, {"a": ["***", 1, None, True]}),
    ({LONG: 1, f"{LONG}x": 2, "b": 3}, {"***": 1, "***x": 2, "b": 3}),
    ({f"{LONG}": 1, LONG.upper(): 2}, {"***": 1, "*** (2)": 2}),
    ([4815162, 4815162342, 48151.6234, -4815162342], [4815162, "***", 48151.6234, "***"]),
    ([20, "20", "no 20", 2020], [20, "***", "no ***", 2020]),
    ([7710, "7710", 17710.5], ["***", "***", "***"]),
    (["", {}, [], {"": ""}], ["", {}, [], {"": ""}]),
    ("x" + LONG, "x***"),
    (4815162342, "***"),
    (None, None),
]


@pytest.mark.parametrize(("value", "shown"), VALUES)
def test_json_is_masked_in_texts_keys_and_numbers(value: Any, shown: Any) -> None:
    """A number can be a secret too, if it has four digits; keys stay apart."""
    search = SecretSearch([LONG, "4815162342", "20", "7710"])
    assert search.mask_json(value) == shown
    assert search.mask_json(shown) == shown


def test_a_value_without_finds_is_given_back_itself() -> None:
    """Nothing is copied where nothing is masked."""
    value = {"a": [1, "b", {"c": None}]}
    assert SecretSearch([LONG]).mask_json(value) is value


def test_a_secret_of_many_lines_is_found_line_by_line() -> None:
    """A list of the lines of a key is no way round, however many there are."""
    lines = [f"line-{n}-of-a-key" for n in range(9)]
    assert SecretSearch(["\n".join(lines)]).mask_json(lines) == ["***"] * 9


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="QXZqxz*"), max_size=60)
SECRETS = st.text('QXZ#/+%&"\\ ', min_size=8, max_size=40).filter(str.strip)


@given(SECRETS, TEXTS, TEXTS, st.sampled_from(sorted(TRANSFORMS)))
def test_a_form_in_any_text_is_masked(secret: str, before: str, after: str, name: str) -> None:
    """None of the transformations of it stays in any text."""
    form = TRANSFORMS[name](secret)
    search = SecretSearch([secret])
    shown = search.mask_text(f"{before} {form} {after}")
    assert "***" in shown
    assert not any(part in shown for part in _parts(form, 8))
    assert search.mask_text(shown) == shown
    assert search.mask_json([{form: shown}]) == search.mask_json(search.mask_json([{form: shown}]))


@given(TEXTS)
def test_a_text_without_a_secret_is_unchanged(text: str) -> None:
    """What only looks like one stays."""
    secrets = ["QxZqXzQxZqXzQxZ", "zqxQXZ", "qX"]
    assert SecretSearch(secrets).mask_text(text) == text


def _parts(form: str, length: int) -> list[str]:
    """Give the parts of a form that hold something of the secret."""
    parts = (form[at : at + length] for at in range(len(form) - length + 1))
    return [part for part in parts if part.strip()]


def test_a_large_answer_is_searched_in_no_time() -> None:
    """256 KiB against twenty secrets take some 12 ms; what is asserted is that nothing explodes."""
    secrets = [f"secret-{n:02}-{'ab' * n}-{n * 7919}" for n in range(20)]
    search = SecretSearch(secrets)
    texts = [WORDS * 3000, "\\" * 262144, "%41" * 87381, "0a:" * 87381, "&#65;" * 52428]
    texts += [" ".join(s[i : i + 8] for i in range(20) for s in secrets) * 60, secrets[3] * 8000]
    for text in texts:
        started = time.process_time()
        search.mask_text(text[:262144])
        search.mask_json([text[:262144], text[:1000].split()])
        assert time.process_time() - started < 5


def test_a_search_is_made_once_for_each_state_of_a_vault() -> None:
    """And none at all for a tenant without secrets."""
    searches = SecretSearches()
    secrets = FixedSecrets({"a": LONG}, 1)
    first = searches.of("acme", secrets)
    assert first is not None
    assert searches.of("acme", FixedSecrets({"a": LONG}, 1)) is first
    assert searches.of("acme", FixedSecrets({"a": LONG}, 2)) is not first
    assert searches.of("other", FixedSecrets({}, 3)) is None
    assert masked_result(
        Outcome({"a": LONG}), searches.of("other", FixedSecrets({}, 3))
    ) == Outcome({"a": LONG})


def test_a_secret_that_a_call_was_given_is_found_although_the_vault_forgot_it() -> None:
    """It may be deleted while the call is on the wire."""
    search = SecretSearches().of("acme", FixedSecrets({}), frozenset({LONG}))
    assert search is not None
    assert search.mask_text(LONG) == "***"


def test_the_result_of_a_call_is_masked_in_all_its_parts() -> None:
    """Output, message, what was received, and the errors behind an error."""
    search = SecretSearch([LONG])
    outcome = masked_result(Outcome({"body": LONG}, "h", "failed", f"m {LONG}"), search)
    assert outcome == Outcome({"body": "***"}, "h", "failed", "m ***")
    try:
        try:
            raise ValueError(LONG)
        except ValueError as cause:
            raise NodeError("http_500", f"500 {LONG}", {"headers": {"x": LONG}}) from cause
    except NodeError as error:
        shown = masked_result(error, search)
    assert isinstance(shown, NodeError)
    assert (shown.code, shown.message, shown.received) == (
        "http_500", "500 ***", {"headers": {"x": "***"}},
    )  # fmt: skip
    assert shown.__cause__ is None
    assert shown.__traceback__ is None


ALPHABET = st.text("abc", min_size=SPARSE_MIN, max_size=60)


@given(ALPHABET, st.integers(0, 60), TEXTS, TEXTS, st.lists(ALPHABET, max_size=3))
def test_sparse_parts_find_what_they_promise(
    form: str, at: int, before: str, after: str, others: list[str]
) -> None:
    """Each part of 21 characters and more, whatever else is alike."""
    at = min(at, len(form) - SPARSE_MIN)
    part = form[at : at + SPARSE_MIN + at % 5]
    index = SparseParts()
    for made in (form, *others):
        index.add(made)
    covered: set[int] = set()
    for start, end in index.find(f"{before}{part}{after}{form}"):
        covered.update(range(start, end))
    assert covered >= set(range(len(before), len(before) + len(part)))
    assert covered >= {len(before) + len(part) + len(after) + i for i in range(len(form))}


def test_of_a_large_vault_the_longest_secrets_are_found_by_longer_parts() -> None:
    """Short ones by eight characters still, and nothing takes gigabytes."""
    dice = random.Random(7)
    long = ["".join(dice.choices(string.ascii_letters, k=2000)) for _ in range(60)]
    search = SecretSearch([LONG, *long])
    assert DENSE_MAX < search.size < 2 * DENSE_MAX
    assert search.mask_text(f"a {LONG[2:10]} b") == "a *** b"
    for secret in long:
        assert search.mask_text(f"a {secret[900:921]} b") == "a *** b"
        for name in ("base64", "hex", "URL, each byte", "JSON, each character", "reversed"):
            assert search.mask_text(f"a {TRANSFORMS[name](secret)} b") == "a *** b"


def test_many_short_secrets_are_found_as_few_are() -> None:
    """The way to look for them is another one, and what is found is the same."""
    secrets = [f"{n:04x}-{n % 10}" for n in range(0, 65536, 400)]
    search = SecretSearch(secrets)
    text = " ".join(f"x{secret}y" for secret in secrets)
    assert search.mask_text(text) == " ".join("x***y" for _ in secrets)
    assert search.mask_text(f"{WORDS} 0000- 0000-1") == f"{WORDS} 0000- 0000-1"


def test_searches_are_forgotten_before_they_hold_too_much() -> None:
    """The oldest first, and never the one that is asked for."""
    searches = SecretSearches()
    dice = random.Random(8)
    texts = ["".join(dice.choices(string.ascii_letters, k=900)) for _ in range(250)]
    vaults = [FixedSecrets(dict(zip(texts[n::5], texts[n::5], strict=True)), n) for n in range(5)]
    made = [searches.of(f"org-{n}", vault) for n, vault in enumerate(vaults)]
    assert sum(search.size for search in made if search) > HELD_MAX
    assert searches.of("org-4", vaults[4]) is made[4]
    assert searches.of("org-0", vaults[0]) is not made[0]
