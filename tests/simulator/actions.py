"""What clients do: one action after the other, chosen by chance, with what must come of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from tests.simulator.clients import Asked, Client, new_key
from tests.simulator.outside import HOST
from tests.simulator.workflows import WILD, seeded_case, wild
from tests.support.graphs import payload

Action = Callable[[Client, Random], Awaitable[None]]


async def visit(client: Client, dice: Random) -> None:
    """Act until the service is gone."""
    while True:
        await asyncio.sleep(dice.choice((0.0, 0.001, 0.05, 1.0, 10.0, 60.0)) * dice.random())
        action = dice.choice(ACTIONS)
        client.ledger.actions_total += 1
        # Some hang up in the middle, and never learn what came of it.
        patience = dice.choice((0.0, 0.002, 0.5)) if dice.random() < 0.05 else None
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await action(client, dice)


async def define(client: Client, dice: Random) -> None:
    """Save a workflow, scripted or wild."""
    known = client.known
    if len(known.workflows) >= 8:
        return
    case = seeded_case(dice) if dice.random() < 0.5 else None
    if case is not None:
        kind, body = "case", {"name": "case", "nodes": case.nodes, "edges": case.edges}
    else:
        kind = dice.choice((*WILD, "family", "hook", "secret"))
        below = [name for name, k in known.workflows.items() if k in ("once", "fork", "loop")]
        if (kind == "family" and not below) or (kind == "secret" and not known.secrets):
            return
        child = dice.choice(below) if below else ""
        secret = dice.choice(list(known.secrets)) if known.secrets else ""
        body = {**wild(dice, kind, child=child, secret=secret), "name": kind}
    reply = await client.call("POST", "/workflows", body)
    if not client.expect(reply, 201, what=f"a new {kind} workflow"):
        return
    made = reply.json
    client.acknowledged(made["id"], 1)
    known.workflows[made["id"]] = kind
    if case is not None:
        client.ledger.cases[made["id"]] = case
        client.outside.scripts[made["id"]] = (case.script(case.faulty), case.script(()))
    if made["webhook_url"]:
        known.hooks.append(made["webhook_url"].partition("http://refold.test")[2])


async def change(client: Client, dice: Random) -> None:
    """Make a new version of a workflow, now and then two at once."""
    if not client.known.workflows:
        return
    name = dice.choice(list(client.known.workflows))
    kind = client.known.workflows[name]
    # What has a schedule is not switched off for long, or nothing would ever fire.
    is_active = kind == "timed" or dice.random() < 0.85
    bodies = [{"description": str(dice.random()), "is_active": is_active}]
    bodies += [{"description": "beside"}] if dice.random() < 0.5 else []
    path = f"/workflows/{name}"
    replies = await asyncio.gather(*(client.call("PUT", path, body) for body in bodies))
    for reply in replies:
        if client.expect(reply, 200, 404, what="a change") and reply.status == 200:
            client.acknowledged(name, reply.json["version"])


async def remove(client: Client, dice: Random) -> None:
    """Delete a workflow, if nothing uses it."""
    if len(client.known.workflows) < 5:
        return
    name = dice.choice(list(client.known.workflows))
    reply = await client.call("DELETE", f"/workflows/{name}")
    if client.expect(reply, 204, 404, 409, what="a deletion") and reply.status == 204:
        client.known.workflows.pop(name, None)
        client.ledger.deleted.add(name)
        again = await client.call("GET", f"/workflows/{name}")
        client.expect(again, 404, what="a deleted workflow")


async def execute(client: Client, dice: Random) -> None:
    """Start a run, often under a key, often waiting for it."""
    if not client.known.workflows:
        await define(client, dice)
        return
    name = dice.choice(list(client.known.workflows))
    case = client.ledger.cases.get(name)
    context = {"n": 1} if case is None else payload(case)
    key = new_key(dice) if dice.random() < 0.7 else ""
    asked = Asked(client.tenant, f"/workflows/{name}/execute", {"context": context}, key)
    await _start(client, dice, asked)


async def trigger(client: Client, dice: Random) -> None:
    """Call a webhook."""
    if client.known.hooks:
        key = new_key(dice) if dice.random() < 0.5 else ""
        asked = Asked(client.tenant, dice.choice(client.known.hooks), {"n": 2}, key)
        await _start(client, dice, asked)


async def repeat(client: Client, dice: Random) -> None:
    """Ask again what was asked before, under its key: most of all what had no answer."""
    if client.known.asked:
        await client.start_run(dice.choice(client.known.asked[-30:]), dice.choice((0, 5)))


async def rerun(client: Client, dice: Random) -> None:
    """Run again what has ended."""
    run = _some_run(client, dice, is_ended=dice.random() < 0.8)
    if run:
        body = dice.choice(({}, {"definition": "original"}))
        asked = Asked(client.tenant, f"/workflows/runs/{run}/rerun", body, new_key(dice))
        await _start(client, dice, asked)


async def resume(client: Client, dice: Random) -> None:
    """Carry on from a node of what has ended."""
    run = _some_run(client, dice, is_ended=dice.random() < 0.9)
    story = client.audit.runs.get(run)
    if story is not None:
        nodes = sorted({node for iteration, node in story.settled if not iteration})
        node = dice.choice([*nodes, "t", "n0"])
        body = dice.choice(({}, {"allow_completed": True}, {"allow_completed": True}))
        asked = Asked(
            client.tenant, f"/workflows/runs/{run}/resume-from/{node}", body, new_key(dice)
        )
        await _start(client, dice, asked)


async def cancel(client: Client, dice: Random) -> None:
    """Ask a run to stop."""
    run = _some_run(client, dice)
    if run:
        reply = await client.call("POST", f"/workflows/runs/{run}/cancel")
        is_taken = client.expect(reply, 202, 404, 409, what="a cancel")
        if is_taken and reply.status == 202 and not client.audit.runs[run].is_cancelled:
            client.audit.wrong(f"a cancel of {run} was acknowledged and is not journaled")


async def answer(client: Client, dice: Random) -> None:
    """Answer a form that is open."""
    del dice
    for run, story in list(client.audit.runs.items()):
        forms = sorted(story.forms) if story.tenant == client.tenant and not story.is_ended else ()
        for iteration, node in forms:
            path = f"/workflows/runs/{run}/interactions/{node}"
            reply = await client.call("POST", path, {"action": "go"})
            is_taken = client.expect(reply, 202, 404, 409, what="an answer to a form")
            if (
                is_taken
                and reply.status == 202
                and (iteration, node) in client.audit.runs[run].forms
            ):
                client.audit.wrong(f"an answer to {run} was acknowledged and is not journaled")
            return


async def look(client: Client, dice: Random) -> None:
    """Look at a run, its events, and the lists, which are never older than what was promised."""
    run = _some_run(client, dice)
    if not run:
        await client.call("GET", "/workflows")
        return
    workflow = client.audit.workflow_of(run)
    was_ended = 0 < client.audit.runs[run].ended_at <= client.life.store.head
    if dice.random() < 0.5:
        path = f"/workflows/runs/{run}"
        reply = await client.call("GET", path)
        client.remember(path, reply)
        is_shown = client.expect(reply, 200, 404, what="a run") and reply.status == 200
        if is_shown and was_ended and reply.json["status"] not in ("completed", "failed"):
            client.audit.wrong(f"{run} is shown as {reply.json['status']} after its end")
        return
    path = f"/workflows/{workflow}/executions?per_page=100"
    reply = await client.call("GET", path)
    client.remember(path, reply)
    if client.expect(reply, 200, 404, what="a list") and reply.status == 200:
        shown = reply.json
        if shown["meta"]["total"] <= 100 and run not in {row["id"] for row in shown["data"]}:
            client.audit.wrong(f"a list leaves out {run}, which was acknowledged")
    await client.call("GET", f"/workflows/runs/{run}/events")


async def look_back(client: Client, dice: Random) -> None:
    """Ask for what was seen before, as of then: it must be the same to the letter."""
    if not client.known.seen:
        return
    path, position, body = dice.choice(client.known.seen[-20:])
    erasures = client.known.erasures
    sign = "&" if "?" in path else "?"
    reply = await client.call("GET", f"{path}{sign}as_of=p{position}")
    is_shown = client.expect(reply, 200, 404, what="a look back") and reply.status == 200
    is_same = reply.body == body or erasures != client.known.erasures
    if is_shown and not is_same:
        client.audit.wrong(f"{path} as of {position} is {reply.body!r}, and was {body!r}")


async def keep_secret(client: Client, dice: Random) -> None:
    """Put a secret into the vault, change it or delete it."""
    known, number = client.known.secrets, dice.getrandbits(96)
    if len(known) < 2:
        name, secret = f"key-{number % 1000}", f"s3cr3t-{number:024x}"
        client.audit.secrets.append(secret.encode())
        client.outside.secrets.append(secret)
        reply = await client.call("POST", "/workflows/vault", {"name": name, "secret": secret})
        if client.expect(reply, 201, 409, 422, what="a vault item") and reply.status == 201:
            client.acknowledged(reply.json["id"], 1)
            known[name] = reply.json["id"]
    else:
        name = dice.choice(list(known))
        secret = f"n3w-{number:024x}"
        client.audit.secrets.append(secret.encode())
        client.outside.secrets.append(secret)
        path = f"/workflows/vault/{known[name]}"
        reply = await client.call("PUT", path, {"secret": secret})
        client.expect(reply, 200, 404, what="a change of a secret")


async def subscribe(client: Client, dice: Random) -> None:
    """Ask to be told of everything that was and will be."""
    path = f"/told/{dice.randrange(2)}/{client.tenant}"
    if path in client.known.told:
        return
    # Noted before: an answer that is lost leaves a subscription all the same, maybe a second.
    client.known.told.add(path)
    wanted = {"url": f"http://{HOST}{path}", "after": 0}
    reply = await client.call("POST", "/subscriptions", wanted)
    if client.expect(reply, 201, what="a subscription") and reply.status == 201:
        made = reply.json
        client.acknowledged(made["id"], 1)
        client.audit.secrets.append(made["secret"].encode())
        client.outside.heard.setdefault(path, set())


async def erase(client: Client, dice: Random) -> None:
    """Erase the data of a run that has ended."""
    run = _some_run(client, dice)
    if run and client.audit.runs[run].is_ended:
        client.known.erasures += 1
        client.known.seen.clear()
        reply = await client.call("POST", "/journal/erasures", {"run": run, "reason": "asked"})
        client.expect(reply, 200, 404, 409, what="an erasure")
        client.known.seen.clear()


async def trespass(client: Client, dice: Random) -> None:
    """Ask for what is another tenant's: it must look like what never was."""
    other = client.ledger.known["bolt" if client.tenant == "acme" else "acme"]
    if not other.runs or not other.workflows:
        return
    run, workflow = dice.choice(list(other.runs)), dice.choice(list(other.workflows))
    method, path = dice.choice(
        (
            ("GET", f"/workflows/runs/{run}"),
            ("GET", f"/workflows/runs/{run}/events"),
            ("GET", f"/workflows/runs/{run}/lineage"),
            ("POST", f"/workflows/runs/{run}/cancel"),
            ("POST", f"/workflows/runs/{run}/rerun"),
            ("POST", f"/workflows/runs/{run}/resume-from/t"),
            ("GET", f"/workflows/{workflow}"),
            ("GET", f"/workflows/{workflow}/executions"),
            ("GET", f"/workflows/{workflow}/versions"),
            ("POST", f"/workflows/{workflow}/execute"),
            ("DELETE", f"/workflows/{workflow}"),
        )
    )
    reply = await client.call(method, path)
    if reply.status not in (404, 503):
        client.audit.wrong(f"{method} of another tenant's answered {reply.status}: {path}")


async def come_late(client: Client, dice: Random) -> None:
    """Use a token before and after its end."""
    token = client.token(5)
    reply = await client.call("GET", "/workflows", token=token)
    client.expect(reply, 200, what="a fresh token")
    await asyncio.sleep(36 + dice.random())
    reply = await client.call("GET", "/workflows", token=token)
    if reply.status != 401:
        client.audit.wrong(f"an expired token was answered {reply.status}")


async def _start(client: Client, dice: Random, asked: Asked) -> None:
    if asked.key:
        client.known.asked.append(asked)
    wait = dice.choice((0, 0, 1, 30)) if "/webhooks/" not in asked.path else 0
    if asked.key and dice.random() < 0.15:
        # The same twice at once.
        await asyncio.gather(client.start_run(asked, wait), client.start_run(asked, wait))
    else:
        await client.start_run(asked, wait)


def _some_run(client: Client, dice: Random, *, is_ended: bool = False) -> str:
    stories = client.audit.runs
    runs = [run for run in client.known.runs if not is_ended or stories[run].is_ended][-20:]
    return dice.choice(runs) if runs else ""


ACTIONS: tuple[Action, ...] = (
    *[define] * 4,
    *[execute] * 8,
    *[trigger] * 2,
    *[repeat] * 3,
    *[rerun] * 2,
    *[resume] * 4,
    *[cancel] * 2,
    *[answer] * 2,
    *[look] * 3,
    *[look_back] * 2,
    *[keep_secret] * 2,
    change,
    remove,
    subscribe,
    erase,
    trespass,
    come_late,
)
