"""The worked example of projections/README.md does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from refold.journal.ids import RUN
from tests.support import projection_kit as kit

ROOM = Path(__file__).resolve().parents[2] / "projections"


def test_the_projection_of_the_page_counts_what_it_says() -> None:
    """Who copies it must get something that works."""
    page = (ROOM / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the page is ours
    history = kit.History()
    for facts in (kit.succeeded(), kit.succeeded("n2"), kit.node_failed(), kit.STARTED):
        history.add(f"{RUN}x", facts, has_body=False)
    with kit.generation_of(names["UsageProjection"](), history.events) as connection:
        rows = connection.execute("SELECT * FROM usage ORDER BY component").fetchall()
    assert rows == [("text_transform", 2, 2), ("webhook", 1, 1)]


def test_each_file_and_decision_of_the_room_is_on_the_page() -> None:
    """What is not on the page is not found."""
    page = (ROOM / "README.md").read_text(encoding="utf-8")
    for path in ROOM.rglob("*"):
        listed = path.suffix == ".py" and path.name != "errors.py"
        if listed or path.parent.name == "decisions":
            assert path.name in page, path.name
