"""The service as containers run it: nobody's user, and nothing to write but the data directory."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.http_kit import create, quick, run
from tests.support.service import Service

NOBODY = 65534
SERVE = (sys.executable, "-B", "-m", "refold.scripts.cli", "serve")
# A name space of its own, in which everything is mounted read-only but the data directory; /proc
# and /dev stay as they are. Then root is given away for good.
UNSHARED = """
set -eu
mount --make-rprivate /
mount --bind "$1" "$1"
mount -o remount,bind,ro /
for place in /tmp /var /home /root /run /work; do
  [ -d "$place" ] || continue
  mount --bind "$place" "$place"
  mount -o remount,bind,ro "$place"
done
mount --bind "$1" "$1"
mount -o remount,bind,rw "$1"
shift
exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --inh-caps=-all \
  --bounding-set=-all "$@"
"""


def _refusal() -> str:
    """Say why this machine can't try it, "" if it can."""
    if os.getuid() != 0:
        return "only root can become somebody else"
    if not (shutil.which("unshare") and shutil.which("setpriv")):
        return "unshare or setpriv is not installed"
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "a name space of mounts can't be made here"


def _reaches(path: Path) -> bool:
    """Tell whether everybody may walk to a path."""
    return all(p.stat().st_mode & stat.S_IXOTH for p in [path, *path.parents] if p.is_dir())


def test_nobody_serves_from_a_disk_that_can_not_be_written() -> None:
    """First start, a run, a stop and a second start: with no right but to its own directory."""
    reason = _refusal() or ("" if _reaches(Path(sys.executable)) else "nobody can't reach Python")
    if reason:
        pytest.skip(reason)
    # Not below pytest's own directory, which only its owner may walk through.
    home = Path(tempfile.mkdtemp())
    try:
        data = home / "data"
        data.mkdir(mode=0o700)
        home.chmod(0o755)
        os.chown(data, NOBODY, NOBODY)
        confined = ("unshare", "--mount", "sh", "-c", UNSHARED, "sh", str(data))
        _see_that_it_holds(confined, data, home)
        command = (*confined, *SERVE)
        service = Service(data, {"TMPDIR": "/nowhere"}, command=command)
        for _ in range(2):
            service.start()
            try:
                client = service.client()
                run(client, create(client, quick()))
                assert len(client.get("/workflows").json) > 0
                client.close()
                owner = Path(f"/proc/{_serving(service)}").stat().st_uid
            finally:
                code = service.stop()
            assert code == 0, "".join(service.log)
            assert owner == NOBODY
        made = [path for path in data.rglob("*") if path.is_file()]
        assert made
        for path in made:
            assert path.stat().st_uid == NOBODY, path
            assert path.stat().st_mode & 0o077 == 0, path
        assert not any("Traceback" in line or "ERROR" in line for line in service.log)
    finally:
        shutil.rmtree(home)


def _see_that_it_holds(confined: tuple[str, ...], data: Path, home: Path) -> None:
    """A place that could be written all the same would prove nothing."""
    for place, is_writable in ((data, True), (home, False), (Path("/tmp"), False)):
        tried = [*confined, "sh", "-c", 'f="$1/tried" && : > "$f" && rm "$f"', "sh", str(place)]
        done = subprocess.run(tried, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == is_writable, (place, done.stderr)


def _serving(service: Service) -> int:
    assert service.process is not None
    return service.process.pid
