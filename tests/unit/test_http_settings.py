"""Settings: flag, else environment, else default; and one clear line for whatever can't work."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from refold.http.setting_types import SettingsError, unusable
from refold.http.settings import Settings

SECRET = "a-secret-of-thirty-two-characters-and-more"


def refusal(flags: dict[str, str | int | None], environ: dict[str, str]) -> str:
    """The message with which these settings are refused."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(flags, environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_defaults_of_the_contract_hold_with_nothing_set() -> None:
    """A first start needs no configuration."""
    settings = Settings.load({}, {})
    assert (settings.host, settings.port, settings.data) == ("127.0.0.1", 8080, Path("data"))
    assert (settings.run_seconds_max, settings.node_seconds_max) == (3600, 300)
    assert (settings.delay_seconds_max, settings.nodes_max) == (900, 500)
    assert (settings.output_bytes_max, settings.body_bytes_max) == (262_144, 1_048_576)
    assert settings.egress_allow == ()
    assert settings.checks_by_secret


def test_a_flag_goes_before_the_environment_and_that_before_the_default() -> None:
    """The nearer a setting is to the command, the more it counts."""
    environ = {"REFOLD_PORT": "9000", "REFOLD_HOST": "::1"}
    settings = Settings.load({"port": "9001", "host": None}, environ)
    assert (settings.port, settings.host, settings.nodes_max) == (9001, "::1", 500)


def test_every_setting_can_be_given_as_its_own_variable() -> None:
    """No declared setting is out of reach, and none has two names."""
    variables = [s.variable for s in Settings.DECLARED]
    assert len(set(variables)) == len(variables)
    for setting in Settings.DECLARED:
        assert setting.variable == f"REFOLD_{setting.name.upper()}"
        assert setting.help.endswith(".")
        if isinstance(setting.default, int):
            loaded = Settings.load({}, {setting.variable: str(setting.default + 1)})
            assert getattr(loaded, setting.name) == setting.default + 1


def test_lists_are_separated_by_commas() -> None:
    """White space and a trailing comma do no harm."""
    settings = Settings.load({}, {"REFOLD_EGRESS_ALLOW": " 127.0.0.0/8, ::1,internal.example ,"})
    assert settings.egress_allow == ("127.0.0.0/8", "::1", "internal.example")
    algorithms = Settings.load({"jwt_algorithms": "ES256,EdDSA"}, {}).jwt_algorithms
    assert algorithms == ("ES256", "EdDSA")


def test_an_empty_variable_counts_as_not_set_and_an_empty_flag_is_refused() -> None:
    """Compose files pass empty variables on; nobody types an empty flag on purpose."""
    assert Settings.load({}, {"REFOLD_PORT": "", "REFOLD_HOST": ""}).host == "127.0.0.1"
    assert refusal({"host": ""}, {}).startswith("--host is not usable")


@pytest.mark.parametrize(
    "text", ["-1", "65536", "80x", " 80", "8_0", "٨٠", "8e3", "80.0", "9" * 20]
)
def test_a_port_is_a_plain_whole_number_in_its_range(text: str) -> None:
    """What int() would take beyond that is a typing error."""
    expected = f"--port: {text!r} is not usable; it expects a whole number from 0 to 65535."
    assert refusal({"port": text}, {}) == expected


@pytest.mark.parametrize("text", ["nan", "inf", "0", "-1", "61", "1e-1"])
def test_a_time_limit_is_finite_and_in_its_range(text: str) -> None:
    """A limit that compares false with everything limits nothing."""
    assert "a number of seconds from 0.01 to 60" in refusal({"template_seconds_max": text}, {})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("REFOLD_PROT", "did you mean REFOLD_PORT?"),
        ("REFOLD_port", "did you mean REFOLD_PORT?"),
        ("REFOLD_DATABASE_URL", "`refold serve --help` lists them all."),
    ],
)
def test_an_unknown_variable_stops_the_start_and_never_shows_its_value(
    name: str, hint: str
) -> None:
    """A mistyped name would otherwise leave a default in force that nobody chose."""
    assert refusal({}, {name: SECRET}) == f"{name} is not a setting of Refold; {hint}"


def test_variables_of_tests_and_of_others_are_left_alone() -> None:
    """The suite's own variables are in the environment of the services it starts."""
    Settings.load({}, {"REFOLD_TEST_SEED": "1", "PATH": "/bin", "XREFOLD_PORT": "x"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log_format", "xml"),
        ("host", "a b"),
        ("host", "http://a/"),
        ("jwt_algorithms", "none"),
        ("jwt_algorithms", "HS256,RS512"),
        ("egress_allow", "10.0.0.0/33"),
        ("egress_allow", "10.0.0"),
        ("egress_allow", "http://a"),
        ("egress_allow", "*"),
        ("data", "a\x00b"),
    ],
)
def test_a_value_that_cant_work_names_its_setting_and_what_is_expected(
    name: str, text: str
) -> None:
    """The operator needs no manual to mend it."""
    message = refusal({}, {f"REFOLD_{name.upper()}": text})
    assert message.startswith(f"REFOLD_{name.upper()}")
    assert "it expects" in message


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a",
        "https:///keys",
        "https://user:hidden-word@a/keys",
        "https://a:0/",
        "https://a:x/",
        "http://[::1",
        "https://a/ b",
        "http://keys.example/jwks",
    ],
)
def test_an_address_of_keys_must_be_safe_to_ask_and_is_never_repeated(url: str) -> None:
    """Whoever can change the keys on their way can sign any token."""
    message = refusal({}, {"REFOLD_JWKS_URL": url})
    assert url not in message
    assert "hidden-word" not in message


def test_an_address_of_keys_on_this_machine_may_be_plain() -> None:
    """Nobody stands between the service and its own loopback."""
    for host in ("127.0.0.1:81", "localhost", "[::1]:81"):
        assert not Settings.load({"jwks_url": f"http://{host}/keys"}, {}).checks_by_secret


def test_two_sources_of_one_key_are_refused() -> None:
    """Which of them counts would be a guess."""
    assert refusal({"jwks_url": "https://a/b"}, {"REFOLD_JWT_SECRET": SECRET}) == (
        "REFOLD_JWT_SECRET and REFOLD_JWKS_URL are both set; keep one."
    )
    assert "keep one" in refusal({"vault_key_file": "/a"}, {"REFOLD_VAULT_KEY": SECRET})


def test_no_secret_is_ever_shown() -> None:
    """Configurations end up in logs and in bug reports."""
    settings = Settings.load({}, {"REFOLD_JWT_SECRET": SECRET, "REFOLD_VAULT_KEY": SECRET})
    assert settings.jwt_secret == SECRET
    shown = f"{settings!r} {settings} {list(settings.__rich_repr__())}"
    assert SECRET not in shown
    assert "jwt_secret='***'" in shown
    assert SECRET not in refusal({"host": "a b"}, {"REFOLD_JWT_SECRET": SECRET})
    assert SECRET not in refusal({}, {"REFOLD_VAULT_KEY": SECRET + "\x00"})


def test_an_error_about_a_secret_or_an_address_leaves_its_value_out() -> None:
    """Whoever writes the next check may pass the value without a thought."""
    for setting in Settings.DECLARED:
        message = str(unusable(setting, setting.variable, "better", SECRET))
        hidden = {"jwt_secret", "vault_key", "vault_keys_old", "smtp_password"}
        hidden |= {"jwks_url", "public_url", "api_base_url"}
        assert (SECRET in message) == (setting.name not in hidden)


def test_settings_can_not_be_changed_once_loaded() -> None:
    """What a service says about its configuration stays true while it runs."""
    settings = copy.copy(Settings.load({}, {}))
    with pytest.raises(AttributeError):
        settings.port = 1  # type: ignore[misc]
