"""Tell a projection to make its rows anew, to go back, or to try again what it stopped at."""

from __future__ import annotations

import asyncio

from .call import Answer, Call, answer
from .rebuild_wire import ProjectionTold
from .services import App


async def rebuild(app: App, call: Call) -> Answer:
    """Make a projection's rows anew beside the live ones, which serve until those take over."""
    name = call.params["projection"]
    # A process is started, which takes longer than a request may hold up the others.
    await asyncio.to_thread(app.views.upkeep.rebuild, name)
    return _told(app, name)


async def roll_back(app: App, call: Call) -> Answer:
    """Bring the rows that were live before the last rebuild to the head, and let them take over.

    Those that give way are kept in their place, so that the same request goes forward again.
    """
    name = call.params["projection"]
    await asyncio.to_thread(app.views.upkeep.roll_back, name)
    return _told(app, name)


async def retry(app: App, call: Call) -> Answer:
    """Let a projection that stopped try again, one of a developer with the code there is now."""
    name = call.params["projection"]
    app.views.upkeep.retry(name)
    return _told(app, name)


def _told(app: App, name: str) -> Answer:
    (status,) = (status for status in app.views.status() if status.name == name)
    return answer(202, ProjectionTold(status.name, status.version, status.position, status.state))
