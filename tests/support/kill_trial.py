"""One service and its load, killed again and again: the conductor of the crash tests."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from tests.support.kill_audit import Audit
from tests.support.kill_load import Ledger, Visitor, World, answer_form, ask, end_schedule, prepare
from tests.support.service import Client, Endpoint, Service, endpoint, token

VISITORS = 8
MOMENT_SECONDS_MAX = 8
STILL_THERE_MAX = 2
REPEATED_MAX = 200


class Moment:
    """The moment of a kill: the n-th call, the n-th answer, or so many seconds."""

    def __init__(self, choice: random.Random) -> None:
        self.kind = choice.choice(("hit", "hit", "answer", "answer", "time", "start"))
        self.seconds = choice.random() * (1.2 if self.kind == "start" else 0.6)
        self._left = choice.choice((1, choice.randrange(1, 20), choice.randrange(1, 150)))
        self._lock = threading.Lock()
        self.is_over = threading.Event()

    def count_for(self, kind: str, service: Service) -> None:
        """Count one call or one answer; the last one kills on the spot."""
        if kind != self.kind:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                if service.process is not None:
                    service.process.kill()
                self.is_over.set()


class Trial:
    """Keeps a service, the endpoint that it calls, the ledger, and the audit of its journal."""

    def __init__(
        self, data: Path, seed: int, target: Endpoint, *fault: str, projection: str = ""
    ) -> None:
        """`fault` is the command of a faulty service; `projection` is one of a developer."""
        self.choice = random.Random(seed)
        environ = {"REFOLD_SHUTDOWN_SECONDS_MAX": "5", "REFOLD_PROJECTION": projection}
        self.service = Service(data, environ)
        self._fault = fault
        self.endpoint = target
        self.world = World(random.Random(seed + 1))
        target.answer = self.world.answer
        self.ledger = Ledger()
        self._doubtful = 0
        self.audit = Audit(data / "journal.db")

    @property
    def wrong(self) -> list[str]:
        """Everything that was found to be wrong."""
        return self.ledger.wrong + self.audit.wrong + self._complaints()

    def begin(self) -> None:
        """Start the service for the first time and define the workflows, without any fault yet."""
        self.start()
        prepare(self.service, self.ledger, self.endpoint.url)
        if self._fault:
            self.service.stop()
            self.service.command = self._fault

    def round(self) -> None:
        """Load the service, kill it at a random moment, audit what is left, start it again."""
        moment = Moment(self.choice)
        self.world.on_hit = lambda: moment.count_for("hit", self.service)
        self.ledger.on_answer = lambda: moment.count_for("answer", self.service)
        if self.service.process is None:
            self.service.port = 0
            serves = self.service.launch()
            if moment.kind == "start":
                moment.is_over.wait(moment.seconds)
            else:
                serves.wait(30)
        if moment.kind != "start":
            with self.load(moment.is_over):
                is_timed = moment.kind == "time"
                moment.is_over.wait(moment.seconds if is_timed else MOMENT_SECONDS_MAX)
                self.service.kill()
        self.service.kill()
        self._doubtful += self.ledger.take_doubtful()
        self.audit.killed(self.ledger, list(self.endpoint.hits))

    @contextmanager
    def load(self, is_over: threading.Event) -> Generator[None]:
        """Let the clients in for the length of a block."""
        visitors = [
            Visitor(
                self.service, self.ledger, self.world, random.Random(self.choice.getrandbits(64))
            )
            for _ in range(VISITORS)
        ]
        threads = [threading.Thread(target=one.visit, args=(is_over,)) for one in visitors]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            is_over.set()
            for thread in threads:
                thread.join()

    def finish(self) -> None:
        """Start once more, ask again for all that is in doubt, and wait until all runs ended."""
        self.world.on_hit = self.ledger.on_answer = lambda: None
        self.start()
        client = self.service.client()
        sure = [asked for asked in self.ledger.asked if asked.run]
        doubtful = [asked for asked in self.ledger.asked if not asked.run]
        for asked in doubtful + self.choice.sample(sure, min(REPEATED_MAX, len(sure))):
            ask(client, self.ledger, asked)
        end_schedule(client, self.ledger)
        self.audit.read_on()
        for run in self.audit.unfinished():
            if not ends(self.service.port, run, self._answer):
                self.audit.wrong.append(f"stuck: {run}")
                break
        self._compare_finished(client)
        client.close()

    def start(self) -> None:
        """Start the service if it does not run, on a port that is free just then."""
        if self.service.process is None:
            self.service.port = 0
            self.service.start()

    def _answer(self, run: str) -> None:
        client = self.service.client()
        answer_form(client, self.ledger, run)
        client.close()

    def _compare_finished(self, client: Client) -> None:
        for run, told in self.ledger.finished.items():
            found = client.get(f"/workflows/runs/{run}")
            if isinstance(told, bytes):
                is_same = told == found.body
            else:
                is_same = {k: v for k, v in told.items() if k != "workflow"} == found.json
            if not is_same:
                self.ledger.wrong.append(f"answered otherwise than before: {run} {found.body!r}")

    def _complaints(self) -> list[str]:
        """What the service itself logged as a fault of its own."""
        signs = ("Traceback", " CRITICAL ", " ERROR ", " WARNING ")
        return [
            f"logged: {line}"
            for line in self.service.log
            # Which is what it is there for, such as when the machine is too busy for a lock.
            if any(s in line for s in signs) and "process ended and is started again" not in line
        ]

    def summary(self) -> str:
        """Say what was done, so that a run which tested little is seen."""
        return json.dumps(
            {
                "kills": len(self.audit.kills),
                "runs": len(self.audit.runs),
                "acknowledged": len(self.ledger.acknowledged),
                "finished": len(self.ledger.finished),
                "cancelled": len(self.ledger.cancelled),
                "in doubt after a kill": self._doubtful,
                "events": self.audit.head,
                "calls": len(self.endpoint.hits),
                "called again": self.audit.called_again(),
                "interrupted": self.audit.interrupted(),
                "children": len(self.audit.family.parents),
                "items": len(self.audit.family.items),
                "answered forms": len(self.audit.family.answers),
                "firings": self.audit.firings.fired,
                "answers": dict(sorted(self.ledger.answers.items())),
            }
        )


@contextmanager
def trial(data: Path, seed: int, *fault: str, projection: str = "") -> Generator[Trial]:
    """Conduct a trial, and leave nothing running behind."""
    with endpoint() as target:
        made = Trial(data, seed, target, *fault, projection=projection)
        try:
            yield made
        finally:
            made.service.kill()


def ends(port: int, run: str, answer: Callable[[str], None]) -> bool:
    """Follow a run's live tail to its end, answering its forms; False if it stands still."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    headers = {"Authorization": f"Bearer {token()}", "Accept": "text/event-stream"}
    try:
        connection.request("GET", f"/workflows/runs/{run}/events", headers=headers)
        response = connection.getresponse()
        quiet = 0
        while line := response.readline():
            if line.startswith(b"event: "):
                quiet = 0
                if line.strip() == b"event: interaction.requested":
                    answer(run)
            elif line.startswith(b": still there"):
                quiet += 1
                if quiet >= STILL_THERE_MAX:
                    return False
        return response.status == 200
    finally:
        connection.close()
