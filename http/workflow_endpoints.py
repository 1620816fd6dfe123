"""The endpoints of workflows and their definitions."""

from __future__ import annotations

from typing import Final

from . import execution_routes as executions
from . import wire
from . import workflow_routes as workflows
from .endpoint import IF_MATCH, KEY, PAGES, READ, RUN_FILTERS, WRITE, Endpoint

WORKFLOW_ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/workflows/{workflowId}/executions",
        handler=executions.executions,
        summary="List a workflow's runs, newest first",
        scope=READ,
        repeatable=True,
        parameters=PAGES + RUN_FILTERS,
        answers={200: wire.RunPage},
        refusals=(404, 409, 422),
    ),
    Endpoint(
        method="GET",
        path="/workflows",
        handler=workflows.list_workflows,
        summary="List workflows",
        scope=READ,
        repeatable=True,
        parameters=PAGES,
        answers={200: list[wire.Workflow] | wire.WorkflowPage},
        refusals=(409, 422),
    ),
    Endpoint(
        method="POST",
        path="/workflows",
        handler=workflows.create,
        summary="Create a workflow",
        scope=WRITE,
        request=wire.WorkflowCreate,
        request_required=True,
        parameters=(KEY,),
        answers={201: wire.Workflow},
        refusals=(409, 422),
    ),
    Endpoint(
        method="POST",
        path="/workflows/validate",
        handler=workflows.validate,
        summary="Check a definition without saving it",
        scope=WRITE,
        request=wire.JsonObject,
        request_required=True,
        answers={200: wire.Validation},
    ),
    Endpoint(
        method="GET",
        path="/workflows/{workflowId}",
        handler=workflows.get,
        summary="Get a workflow",
        scope=READ,
        repeatable=True,
        answers={200: wire.Workflow},
        refusals=(404, 409),
    ),
    Endpoint(
        method="PUT",
        path="/workflows/{workflowId}",
        handler=workflows.change,
        summary="Make a new version of a workflow",
        scope=WRITE,
        request=wire.WorkflowChange,
        request_required=True,
        parameters=(IF_MATCH,),
        answers={200: wire.Workflow},
        refusals=(404, 409, 412, 422),
    ),
    Endpoint(
        method="DELETE",
        path="/workflows/{workflowId}",
        handler=workflows.delete,
        summary="Delete a workflow",
        scope=WRITE,
        answers={204: None},
        refusals=(404, 409),
    ),
    Endpoint(
        method="GET",
        path="/workflows/{workflowId}/versions",
        handler=workflows.versions,
        summary="List a workflow's versions",
        scope=READ,
        repeatable=True,
        answers={200: list[wire.WorkflowVersion]},
        refusals=(404, 409),
    ),
    Endpoint(
        method="GET",
        path="/workflows/{workflowId}/versions/{version}",
        handler=workflows.version,
        summary="Get a version of a workflow",
        scope=READ,
        repeatable=True,
        answers={200: wire.WorkflowVersion},
        refusals=(404, 409, 422),
    ),
)
