"""Who hears of new events: the subscribers of a journal, on the event loop's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from .envelope import Recorded
from .journal import Subscriber, Types


class Subscriptions:
    """Calls subscribers in the order in which they came."""

    def __init__(self) -> None:
        self._subscribers: dict[object, tuple[Subscriber, Types | None]] = {}

    def add(self, subscriber: Subscriber, of: Types | None = None) -> Callable[[], None]:
        """Begin a subscription; the function returned ends it, at the first call."""
        key = object()
        self._subscribers[key] = (subscriber, of)

        def end() -> None:
            self._subscribers.pop(key, None)

        return end

    def notify(self, events: Sequence[Recorded]) -> None:
        """Call everyone with events that are durable.

        The events can't be taken back and their callers are waiting, so a subscriber that raises
        stops nobody: the loop's exception handler hears of it.
        """
        types = {type(event.facts) for event in events}
        for key, (subscriber, of) in tuple(self._subscribers.items()):
            # One that an earlier subscriber has just ended is not called any more.
            if key not in self._subscribers or (of is not None and of.isdisjoint(types)):
                continue
            try:
                subscriber(events if of is None else [e for e in events if type(e.facts) in of])
            except Exception as error:
                asyncio.get_running_loop().call_exception_handler(
                    {
                        "message": f"a journal subscriber failed at position {events[0].position}",
                        "exception": error,
                    }
                )
