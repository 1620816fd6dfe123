"""The `refold` command: finds the command that was asked for and tells errors in one line.

A command is one line in `_COMMANDS` and one file, which is imported only when it is called, so
that `serve` does not carry the tables and progress bars of the others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from ..http.setting_types import SettingsError
from ..journal.errors import JournalError
from ..projections.errors import ProjectionError

_COMMANDS = {
    "serve": "refold.scripts.serve_command:serve",
    "bench": "refold.scripts.bench.command:bench",
    "token": "refold.scripts.token_command:token",
    "demo": "refold.scripts.demo_command:demo",
    "replay": "refold.scripts.replay_command:replay",
    "diff": "refold.scripts.diff_command:diff",
    "rebuild": "refold.scripts.rebuild_command:rebuild",
    "keys": "refold.scripts.keys_command:keys",
    "projections": "refold.scripts.projections_command:projections",
    "export": "refold.scripts.export_command:export",
    "verify": "refold.scripts.verify_command:verify",
    "archive": "refold.scripts.archive_command:archive",
    "simulate": "refold.scripts.simulate_command:simulate",
    "doctor": "refold.scripts.doctor_command:doctor",
    "backup": "refold.scripts.backup_command:backup",
    "sbom": "refold.scripts.sbom_command:sbom",
    "restore": "refold.scripts.restore_command:restore",
}

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 for a failure, or 2 for what was asked wrongly."""
    asked = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app = _application()
        if not asked or asked[0].startswith("-"):
            # The overview shows each command's first sentence, which stands in its file.
            app.resolved_commands()
        code = app(asked)
        sys.stdout.flush()
    except (CycloptsError, SettingsError) as error:
        return _tell(error, EXIT_USAGE)
    except BrokenPipeError:
        # The reader has what it wanted; a second flush at exit would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (JournalError, ProjectionError, OSError) as error:
        return _tell(error, EXIT_FAILED)
    return code if isinstance(code, int) else 0


def _application() -> App:
    app = App(
        name="refold",
        help="An event-sourced workflow service: every run is its journal of events.\n\n"
        "`refold COMMAND --help` tells about one command.",
        version_flags=["--version"],
        help_format="plaintext",
        print_error=False,
        exit_on_error=False,
        result_action="return_value",
        version=_version,
    )
    for name, place in _COMMANDS.items():
        app.command(place, name=name)
    return app


def _version() -> str:
    from importlib.metadata import version

    return version("refold")


def _tell(error: Exception, code: int) -> int:
    message = " ".join(str(error).split()) or type(error).__name__
    print(f"refold: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
