"""DBOS Transact behind FastAPI: a workflow of steps that touch nothing."""

import os
import sys
import uuid
from contextlib import asynccontextmanager

import uvicorn
from dbos import DBOS, SetWorkflowID
from fastapi import FastAPI

DBOS(
    config={
        "name": "bench",
        "system_database_url": os.environ["DATABASE"],
        "application_version": "1",
        "executor_id": "local",
        "run_admin_server": False,
        "log_level": "WARNING",
        "enable_otlp": False,
    }
)


@DBOS.step()
async def step(place: int) -> dict:
    return {"place": place}


@DBOS.workflow()
async def flow(steps: int) -> dict:
    out = {}
    for place in range(steps):
        out = await step(place)
    return out


@asynccontextmanager
async def lifespan(_app):
    DBOS.launch()
    yield
    DBOS.destroy()


app = FastAPI(lifespan=lifespan)


@app.post("/run")
async def run(body: dict):
    with SetWorkflowID(str(uuid.uuid4())):
        handle = await DBOS.start_workflow_async(flow, body["steps"])
    await handle.get_result()
    return {"id": handle.workflow_id}


@app.get("/runs/{run_id}")
async def get(run_id: str):
    status = await DBOS.get_workflow_status_async(run_id)
    steps = await DBOS.list_workflow_steps_async(run_id)
    return {"id": run_id, "status": status.status, "output": status.output, "steps": steps}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
