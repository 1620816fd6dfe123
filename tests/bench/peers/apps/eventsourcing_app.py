"""An `eventsourcing` aggregate a run behind FastAPI; each step is saved before the next."""

import os
import sys
import uuid

os.environ.update(PERSISTENCE_MODULE="eventsourcing.sqlite", SQLITE_DBNAME=os.environ["DATABASE"])

import uvicorn
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from fastapi import FastAPI


class Run(Aggregate):
    @event("Started")
    def __init__(self, steps: int):
        self.steps = steps
        self.done: list[dict] = []
        self.status = "running"

    @event("Stepped")
    def stepped(self, out: dict):
        self.done.append(out)

    @event("Completed")
    def complete(self):
        self.status = "completed"


store = Application()
app = FastAPI()


@app.post("/run")
def run(body: dict):
    made = Run(steps=body["steps"])
    store.save(made)
    for place in range(body["steps"]):
        made.stepped({"place": place})
        store.save(made)
    made.complete()
    store.save(made)
    return {"id": str(made.id)}


@app.get("/runs/{run_id}")
def get(run_id: str):
    key = uuid.UUID(run_id)
    events = [{"type": type(e).__name__, "at": str(e.timestamp)} for e in store.events.get(key)]
    made = store.repository.get(key)
    return {"id": run_id, "status": made.status, "done": made.done, "events": events}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
