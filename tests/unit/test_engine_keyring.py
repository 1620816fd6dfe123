"""Envelope encryption: what opens a secret, and everything that doesn't."""

from __future__ import annotations

from hashlib import sha256
from hmac import new as hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.keyring import Keyring, SecretUnreadableError
from refold.journal.service_keys import fits, identity_of, key_check, key_id

ONE, TWO, THREE = b"1" * 32, b"2" * 32, b"3" * 32
ITEM = "vlt_01k8x3m5n7p9q1r3s5t7v9w1x3"


@given(st.text(max_size=2000))
def test_what_was_sealed_is_opened_again(text: str) -> None:
    """Any Unicode text, the empty one included."""
    ring = Keyring(ONE)
    sealed = ring.seal(ITEM, 1, text)
    assert ring.open(ITEM, 1, *sealed) == text


def test_the_same_text_is_never_sealed_alike() -> None:
    """Each version has a data key and nonces of its own, so equal secrets can't be told."""
    ring = Keyring(ONE)
    sealed = [ring.seal(ITEM, 1, "a secret") for _ in range(50)]
    assert len({s.ciphertext for s in sealed}) == len({s.wrapped for s in sealed}) == 50
    assert len({s.ciphertext[-32:] for s in sealed}) == 50


@pytest.mark.parametrize(
    ("stream", "version"), [("vlt_other", 1), (ITEM, 2), (f"{ITEM}\x001", 1), ("", 1)]
)
def test_nothing_can_be_moved_to_another_place(stream: str, version: int) -> None:
    """Whoever may write the database still can't show one tenant's secret to another."""
    ring = Keyring(ONE)
    sealed = ring.seal(ITEM, 1, "a secret")
    with pytest.raises(SecretUnreadableError):
        ring.open(stream, version, *sealed)
    with pytest.raises(SecretUnreadableError):
        ring.unwrap(stream, version, sealed.wrapped)


def test_a_key_that_is_not_its_own_opens_nothing() -> None:
    """Neither another item's data key nor its ciphertext fits."""
    ring = Keyring(ONE)
    one, two = ring.seal(ITEM, 1, "one"), ring.seal(ITEM, 1, "two")
    for ciphertext, wrapped in ((one.ciphertext, two.wrapped), (two.ciphertext, one.wrapped)):
        with pytest.raises(SecretUnreadableError):
            ring.open(ITEM, 1, ciphertext, wrapped)


@pytest.mark.parametrize("bad", ["", "00", "zz", "ab" * 11, "00" * 60, "é" * 8])
def test_bytes_that_were_never_sealed_are_refused_in_one_way(bad: str) -> None:
    """A damaged body is no reason for another error than a wrong key."""
    ring = Keyring(ONE)
    sealed = ring.seal(ITEM, 1, "a secret")
    for pair in ((bad, sealed.wrapped), (sealed.ciphertext, bad)):
        with pytest.raises(SecretUnreadableError):
            ring.open(ITEM, 1, *pair)


def test_one_changed_bit_is_noticed() -> None:
    """In either half, wherever it is."""
    ring = Keyring(ONE)
    sealed = ring.seal(ITEM, 1, "a secret")
    for half in (0, 1):
        for at in (0, 13, -1):
            data = bytearray.fromhex(sealed[half])
            data[at] ^= 1
            changed = [*sealed]
            changed[half] = data.hex()
            with pytest.raises(SecretUnreadableError):
                ring.open(ITEM, 1, changed[0], changed[1])


def test_the_newest_key_seals_and_all_keys_open() -> None:
    """While the service key changes, secrets stand under either."""
    old = Keyring(ONE).seal(ITEM, 1, "a secret")
    ring = Keyring(TWO, [ONE])
    assert ring.open(ITEM, 1, *old) == "a secret"
    new = ring.seal(ITEM, 1, "a secret")
    assert Keyring(TWO).open(ITEM, 1, *new) == "a secret"
    with pytest.raises(SecretUnreadableError):
        Keyring(ONE).open(ITEM, 1, *new)
    ring.make_primary(THREE)
    assert Keyring(THREE).open(ITEM, 1, *ring.seal(ITEM, 1, "later")) == "later"
    assert ring.open(ITEM, 1, *old) == ring.open(ITEM, 1, *new) == "a secret"
    assert ring.key_id == key_id(THREE)
    assert set(ring.key_ids) == {key_id(key) for key in (ONE, TWO, THREE)}


def test_a_data_key_that_was_wrapped_anew_needs_the_earlier_key_no_more() -> None:
    """The ciphertext stays as it is; only who can reach its key changes."""
    sealed = Keyring(ONE).seal(ITEM, 3, "a secret")
    again = Keyring(TWO, [ONE]).rewrap(ITEM, 3, sealed.wrapped)
    assert Keyring(TWO).open(ITEM, 3, sealed.ciphertext, again) == "a secret"
    with pytest.raises(SecretUnreadableError):
        Keyring(TWO).rewrap(ITEM, 3, sealed.wrapped)


def test_no_key_stands_in_a_name_or_a_message() -> None:
    """What is logged and shown says which key, never what it is."""
    ring = Keyring(ONE, [TWO])
    shown = repr(ring) + ring.key_id + str(SecretUnreadableError())
    for key in (ONE, TWO):
        assert key.hex() not in shown
        assert key.decode() not in shown
    assert len(ring.key_id) == 32


def test_a_journal_tells_its_key_from_another_and_from_another_journal_s() -> None:
    """A check that fits two journals would let their files be swapped."""
    check = key_check("journal-1", ONE)
    assert fits(check, "journal-1", ONE)
    assert not fits(check, "journal-1", TWO)
    assert not fits(check, "journal-2", ONE)


def test_the_identity_secret_is_not_the_key_it_was_made_of() -> None:
    """Whoever learns it learns nothing about the first service key."""
    check = key_check("journal-1", ONE)
    identity = identity_of(check, "journal-1", ONE)
    assert len(identity) == 32
    assert identity not in (ONE, identity_of(key_check("journal-1", TWO), "journal-1", TWO))


def test_a_journal_from_before_keys_could_change_keeps_its_identity() -> None:
    """Its actors and webhook tokens are keyed by the service key itself."""
    check = hmac(ONE, b"refold/key-check/v1\x00journal-1", sha256).hexdigest()
    assert fits(check, "journal-1", ONE)
    assert not fits(check, "journal-1", TWO)
    assert identity_of(check, "journal-1", ONE) == ONE
