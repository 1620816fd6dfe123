"""The files of the vault key: read, replaced as a whole, and forgotten once nothing needs them."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from refold.http.keys import forget_old_vault_keys, replace_vault_key, vault_keys
from refold.http.setting_types import SettingsError
from refold.http.settings import Settings


def text_of(key: bytes) -> str:
    """Write a key as a setting has it."""
    return base64.b64encode(key).decode()


def loaded(data: Path, **environ: str) -> Settings:
    """Read settings from an environment."""
    return Settings.load({"data": str(data)}, {f"REFOLD_{k}": v for k, v in environ.items()})


def test_the_first_start_has_one_key_of_its_own(tmp_path: Path) -> None:
    """Which it may replace, since nobody else keeps it."""
    keys = vault_keys(loaded(tmp_path))
    assert (len(keys.primary), keys.older, keys.is_own) == (32, (), True)
    assert vault_keys(loaded(tmp_path)) == keys


def test_a_replaced_key_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    """All of them, newest first, in files that only their owner may read."""
    first = vault_keys(loaded(tmp_path)).primary
    second = replace_vault_key(tmp_path)
    assert vault_keys(loaded(tmp_path)).older == (first,)
    third = replace_vault_key(tmp_path)
    keys = vault_keys(loaded(tmp_path))
    assert (keys.primary, keys.older) == (third, (second, first))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["vault_key", "vault_keys_old"]
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o600}
    forget_old_vault_keys(tmp_path)
    forget_old_vault_keys(tmp_path)
    assert vault_keys(loaded(tmp_path)).older == ()
    assert [p.name for p in tmp_path.iterdir()] == ["vault_key"]


def test_a_replacement_that_the_disk_refuses_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever of its steps: the key that is in use is never lost."""
    first = vault_keys(loaded(tmp_path)).primary
    done, replace = [0], Path.replace

    def refusing(self: Path, target: Path) -> Path:
        if done[0] == 0:
            raise OSError(28, "No space left on device")
        done[0] -= 1
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    for steps in (0, 1):
        done[0] = steps
        with pytest.raises(SettingsError, match="No space left"):
            replace_vault_key(tmp_path)
        keys = vault_keys(loaded(tmp_path))
        assert (keys.primary, keys.older) == (first, ())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["vault_key", "vault_keys_old"]


def test_earlier_keys_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    """Separated by commas or lines; one that is the present key is none."""
    one, two, three = (os.urandom(32) for _ in range(3))
    listed = f"{text_of(one)}, {text_of(two)} ,{text_of(three)}"
    data = tmp_path / "data"
    keys = vault_keys(loaded(data, VAULT_KEY=text_of(three), VAULT_KEYS_OLD=listed))
    assert (keys.primary, keys.older, keys.is_own) == (three, (one, two), False)
    (tmp_path / "old").write_text(f"\n{text_of(two)}\n{text_of(one)}\n\n")
    named = str(tmp_path / "old")
    keys = vault_keys(loaded(data, VAULT_KEY=text_of(three), VAULT_KEYS_OLD_FILE=named))
    assert keys.older == (two, one)
    assert not data.exists()
    for key in (one, two, three):
        assert text_of(key) not in repr(keys)


@pytest.mark.parametrize("bad", ["nonsense", "c2hvcnQ=", "{good},c2hvcnQ=", "{good}{good}"])
def test_an_unusable_earlier_key_is_refused_without_being_shown(tmp_path: Path, bad: str) -> None:
    """A key cut short in copying would be noticed only when secrets are lost."""
    text = bad.replace("{good}", text_of(os.urandom(32)))
    with pytest.raises(SettingsError) as caught:
        vault_keys(loaded(tmp_path, VAULT_KEYS_OLD=text))
    assert str(caught.value) == (
        "REFOLD_VAULT_KEYS_OLD is not usable; it expects 32 bytes in base64."
    )


def test_earlier_keys_are_named_in_one_way_only(tmp_path: Path) -> None:
    """Two sources would leave it open which of them is meant."""
    with pytest.raises(SettingsError, match="both set"):
        loaded(tmp_path, VAULT_KEYS_OLD="x", VAULT_KEYS_OLD_FILE="/x")


def test_a_file_of_earlier_keys_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """They open every backup that was made in their time."""
    vault_keys(loaded(tmp_path))
    replace_vault_key(tmp_path)
    (tmp_path / "vault_keys_old").chmod(0o644)
    with pytest.raises(SettingsError, match="has mode 0644"):
        vault_keys(loaded(tmp_path))
