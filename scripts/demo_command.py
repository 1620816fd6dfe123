"""`refold demo`: a run fails on a 503 and is resumed from its last good node, before your eyes."""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..journal.events import decode_facts

if TYPE_CHECKING:
    from rich.console import Console

    from .demo_stage import Service, Shop

_EXAMPLE: Final = "paid_order.json"
_MESSAGE: Final = "Webhook request failed: 503 Service Unavailable"
_WAIT_SECONDS: Final = 20


def demo() -> int:
    """Watch a run fail on a 503 and carry on from its last good node.

    Starts the real service in a temporary directory and a small shop for it to call; nothing
    leaves this machine. The exit code is 0 only if everything went as it should.
    """
    from .demo_stage import DemoError, open_shop, served
    from .tables import console

    out = console()
    try:
        with tempfile.TemporaryDirectory(prefix="refold-demo-") as directory, open_shop() as shop:
            _heading(out, "1. Start the service, and a shop for it to call")
            with served(Path(directory)) as service:
                out.print(f"   service  http://127.0.0.1:{service.port}")
                out.print(f"   shop     {shop.url}  (its first shipment will fail)")
                _play(out, service, shop)
    except DemoError as error:
        sys.stdout.flush()
        print(f"refold: {error}", file=sys.stderr)
        return 1
    return 0


def _play(out: Console, service: Service, shop: Shop) -> None:
    _heading(out, "2. Define a workflow")
    workflow = service.call("POST", "/workflows", json.loads(_example()))
    names = [node["id"] for node in workflow["nodes"]]
    out.print(f"   {workflow['name']}: {' -> '.join(names)}   ({workflow['id']})")

    _heading(out, "3. Execute it")
    payload = {"shop": shop.url, "order": "A-17", "amount": 4200}
    path = f"/workflows/{workflow['id']}/execute"
    first = service.call("POST", path, {"context": payload}, _WAIT_SECONDS)
    _show_run(out, service, first, {first["id"]: "run 1"})
    _demand(
        (first["status"], first["failed_node_id"]) == ("failed", names[2]),
        f"The run should have failed at '{names[2]}', and is {first['status']}",
    )
    _demand(
        first["error_message"] == _MESSAGE,
        f"The run failed with another message: {first['error_message']}",
    )

    _heading(out, f"4. Resume it from '{names[1]}', the last node that succeeded")
    path = f"/workflows/runs/{first['id']}/resume-from/{names[1]}"
    answer = service.call("POST", path, {}, _WAIT_SECONDS)
    second = answer["new_run"]
    out.print(f"   {answer['message']}")
    _show_run(out, service, second, {first["id"]: "run 1", second["id"]: "run 2"})
    _demand(
        second["status"] == "completed",
        f"The resumed run should have completed: {second['status']}",
    )
    _demand_replayed(first, second, kept=names[:2], executed=names[2:])

    _heading(out, "5. What the shop saw")
    _show_calls(out, shop)
    counts = {node: shop.count(f"/{node}") for node in names[1:3]}
    _demand(
        counts == {names[1]: 1, names[2]: 2},
        f"The shop should have seen '{names[1]}' once and '{names[2]}' twice, not {counts}",
    )
    out.print(second["logs"][-1]["output"]["text"], style="bold green")
    out.print(
        f"Run 1 failed at '{names[2]}'; run 2 carried on from '{names[1]}', which was called once "
        "in all."
    )


def _example() -> str:
    return (files("refold.engine") / "examples" / _EXAMPLE).read_text("utf-8")


def _heading(out: Console, text: str) -> None:
    out.print(f"\n{text}", style="bold")


def _show_run(out: Console, service: Service, run: dict[str, Any], names: dict[str, str]) -> None:
    from ..http.times import from_wire
    from .tables import event_line, event_table, plain_table

    how = f": {run['error_message']}" if run["error_message"] else ""
    out.print(f"   {names[run['id']]}  {run['id']}  {run['status']}{how}\n")
    rows: list[tuple[str, ...]] = []
    for log in run["logs"]:
        source = log["replayed_from"]
        rows.append(
            (
                log["node_id"],
                log["component_id"],
                log["status"],
                str(log["attempt"]),
                names[source["run_id"]] if source else "",
            )
        )
    columns = ("node", "component", "status", "attempt", "replayed from")
    out.print(plain_table(f"Log of {names[run['id']]}", columns, rows))
    page = service.call("GET", f"/workflows/runs/{run['id']}/events?limit=1000")
    lines = [
        event_line(
            event["version"],
            from_wire(event["at"]),
            decode_facts(event["type"], event["schema"], json.dumps(event["facts"]).encode()),
            event["src"],
        )
        for event in page["data"]
    ]
    table = event_table(f"Events of {names[run['id']]}", lines, lambda stream: names[stream])
    out.print(table)


def _show_calls(out: Console, shop: Shop) -> None:
    from .tables import plain_table

    rows = [(call.path, str(call.status), call.key) for call in shop.calls]
    out.print(plain_table("", ("call", "answer", "idempotency key"), rows))


def _demand_replayed(
    first: dict[str, Any], second: dict[str, Any], *, kept: list[str], executed: list[str]
) -> None:
    """See that what the cut keeps came from the first run, and the rest did not."""
    for log in second["logs"]:
        node, source = log["node_id"], log["replayed_from"]
        if node in kept:
            _demand(
                source is not None and source["run_id"] == first["id"],
                f"'{node}' should have been replayed from run 1",
            )
        else:
            _demand(source is None, f"'{node}' should have been executed, not replayed")
    shown = [log["node_id"] for log in second["logs"]]
    _demand(shown == [*kept, *executed], f"The resumed run should show four nodes, not {shown}")


def _demand(holds: bool, sentence: str) -> None:
    from .demo_stage import DemoError

    if not holds:
        raise DemoError(f"{sentence}.")
