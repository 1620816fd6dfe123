"""A Temporal worker and an HTTP front in one process: a workflow of activities that do nothing."""

import asyncio
import sys
import uuid
from contextlib import asynccontextmanager
from datetime import timedelta

import uvicorn
from fastapi import FastAPI
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

TASKS = "bench"


@activity.defn
async def step(place: int) -> dict:
    return {"place": place}


@workflow.defn(sandboxed=False)
class Flow:
    @workflow.run
    async def run(self, steps: int) -> dict:
        out = {}
        limit = timedelta(seconds=10)
        for place in range(steps):
            out = await workflow.execute_activity(step, place, start_to_close_timeout=limit)
        return out


async def connected() -> Client:
    while True:
        try:
            return await Client.connect(sys.argv[2])
        except RuntimeError:
            # The server is still starting and tells nobody when it is up.
            await asyncio.sleep(0.1)


@asynccontextmanager
async def lifespan(app):
    app.state.client = await connected()
    async with Worker(app.state.client, task_queue=TASKS, workflows=[Flow], activities=[step]):
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/run")
async def run(body: dict):
    made = str(uuid.uuid4())
    await app.state.client.execute_workflow(Flow.run, body["steps"], id=made, task_queue=TASKS)
    return {"id": made}


@app.get("/runs/{run_id}")
async def get(run_id: str):
    handle = app.state.client.get_workflow_handle(run_id)
    history = await handle.fetch_history()
    return {"id": run_id, "events": history.to_json_dict()["events"]}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
