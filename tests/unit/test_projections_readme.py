"""projections/README.md lists what is there."""

from __future__ import annotations

from pathlib import Path

ROOM = Path(__file__).resolve().parents[2] / "projections"


def test_each_file_and_decision_of_the_room_is_on_the_page() -> None:
    """What is not on the page is not found."""
    page = (ROOM / "README.md").read_text(encoding="utf-8")
    for path in ROOM.rglob("*"):
        listed = path.suffix == ".py" and path.name != "errors.py"
        if listed or path.parent.name == "decisions":
            assert path.name in page, path.name
