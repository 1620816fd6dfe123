"""The command line, as real processes: what it prints where, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jwt
import pytest

from refold.http.settings import Settings


def refold(*arguments: str, where: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `refold` as a user would, in an environment without other settings."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    environ |= {"COLUMNS": "100", "NO_COLOR": "1", **variables}
    command = [str(Path(sys.executable).with_name("refold")), *arguments]
    return subprocess.run(
        command, cwd=where, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_token_stands_alone_on_standard_output_and_is_signed_with_the_kept_secret(
    tmp_path: Path,
) -> None:
    """Scripts take it as it is, before the first start as well as after."""
    done = refold("token", "--data", "d", "--org", "acme", "--ttl", "60", where=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    secret = (tmp_path / "d" / "jwt_secret").read_text(encoding="utf-8").strip()
    claims = jwt.decode(done.stdout.strip(), secret, algorithms=["HS256"])
    assert (claims["org_id"], claims["exp"] - claims["iat"]) == ("acme", 60)
    assert {"admin", "workflows:execute", "journal:read"} <= set(claims["scope"].split())


def test_a_token_carries_the_audience_and_scopes_that_were_asked_for(tmp_path: Path) -> None:
    """A token that the configured service refuses would be useless."""
    secret = "s" * 40
    arguments = ("token", "--scope", "journal:read", "--jwt-audience", "us", "--sub", "eve")
    done = refold(*arguments, where=tmp_path, REFOLD_JWT_SECRET=secret)
    claims = jwt.decode(done.stdout.strip(), secret, algorithms=["HS256"], audience="us")
    assert (claims["scope"], claims["sub"]) == ("journal:read", "eve")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("serve", "--port", "99999"), "--port: '99999' is not usable"),
        (("serve", "--prot", "1"), "Did you mean --port?"),
        (("serve", "--jwt-secret", "hidden-word"), "--jwt-secret"),
        (("serve", "stray"), "stray"),
        (("srve",), 'Did you mean "serve"?'),
        (("token", "--ttl", "0"), "not 0 seconds"),
        (("token", "--scope", "everything"), "everything"),
        (("token", "--org", ""), "tenant"),
        (("token", "--jwt-secret-file", "nowhere"), "can't be read"),
    ],
)
def test_what_was_asked_wrongly_is_told_in_one_line_with_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    """One line on standard error, nothing on standard output, and no traceback."""
    done = refold(*arguments, where=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("refold: ")
    assert done.stderr.count("\n") == 1
    assert word in done.stderr
    assert "hidden-word" not in done.stderr


def test_an_unknown_variable_stops_every_command_before_it_writes(tmp_path: Path) -> None:
    """A setting that was meant and not heard is worse than no start."""
    for command in ("serve", "token"):
        done = refold(command, where=tmp_path, REFOLD_PORTS="1")
        assert done.returncode == 2
        assert done.stderr == (
            "refold: REFOLD_PORTS is not a setting of Refold; did you mean REFOLD_PORT?\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_command_and_every_setting_but_no_secret(tmp_path: Path) -> None:
    """A stranger finds out from the program itself what it can do."""
    overview = refold("--help", where=tmp_path)
    assert overview.returncode == 0
    assert "Run the service" in overview.stdout
    assert "Print a JWT" in overview.stdout
    assert refold(where=tmp_path).stdout == overview.stdout
    shown = refold("serve", "--help", where=tmp_path, COLUMNS="160").stdout
    for setting in Settings.DECLARED:
        assert (f"{setting.flag} " in shown) != setting.secret, setting.name


def test_serving_starts_without_what_only_other_commands_draw_with() -> None:
    """The tables and progress bars of rich are a good part of an idle service's memory."""
    probe = (
        "import sys; from refold.scripts import cli, serve_command; "
        "sys.exit('rich.console' in sys.modules or 'refold.http.auth' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=60).returncode == 0


def test_a_reader_that_leaves_early_is_no_crash(tmp_path: Path) -> None:
    """`refold token | true` must not end in a traceback."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [str(Path(sys.executable).with_name("refold")), "token"]
    with os.fdopen(write_end, "wb") as out:
        done = subprocess.run(
            command, cwd=tmp_path, stdout=out, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")
