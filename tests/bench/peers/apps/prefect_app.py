"""Prefect flows in an HTTP process, recorded by a Prefect server."""

import sys

import uvicorn
from fastapi import FastAPI
from prefect import flow, task
from prefect.runtime import flow_run


@task(persist_result=True)
async def step(place: int) -> dict:
    return {"place": place}


@flow(log_prints=False, persist_result=True, validate_parameters=False)
async def steps_in_order(steps: int):
    for place in range(steps):
        await step(place)
    return flow_run.id


app = FastAPI()


@app.post("/run")
async def run(body: dict):
    return {"id": str(await steps_in_order(body["steps"]))}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
