"""`/docs`: the OpenAPI document as a page that needs no script and nothing from elsewhere."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import Any, Final

from .errors import TYPES

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
code,pre{font:14px/1.45 ui-monospace,monospace;background:#f4f4f4;border-radius:4px}
code{padding:.1em .3em}pre{padding:1rem;overflow:auto}h2{margin-top:3rem}
details{border:1px solid #ddd;border-radius:6px;margin:.5rem 0;padding:.6rem 1rem}
summary{cursor:pointer}summary b{display:inline-block;width:4.5rem}
td,th{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}
code,pre{background:#262626}details{border-color:#444}a{color:#8bf}}
"""
ERROR_CODES: Final = {
    "invalid_http": (400, "What came is no HTTP request."),
    "invalid_json": (400, "The body is not JSON that two readers understand alike."),
    "unauthorized": (401, "The token, key or signature is missing, expired or not ours."),
    "insufficient_scope": (403, "The token is good and lacks the scope of this route."),
    "resource_missing": (404, "No such thing, or another tenant's."),
    "node_not_found": (404, "The run's definition has no such node."),
    "method_not_allowed": (405, "The path exists and takes other methods."),
    "request_timeout": (408, "The request took too long to arrive."),
    "workflow_inactive": (409, "The workflow is switched off."),
    "workflow_in_use": (409, "An unfinished run or a workflow that names it holds it."),
    "run_not_finished": (409, "Only an ended run can be run again."),
    "run_already_finished": (409, "The run has ended, so nothing stops or answers it."),
    "run_not_failed": (409, "Only a failed run is resumed, unless `allow_completed` says so."),
    "definition_incompatible": (409, "The definition lacks what this call needs of it."),
    "interaction_closed": (409, "The form was answered already, or is not open."),
    "idempotency_key_reused": (409, "The key was used for another request."),
    "payload_erased": (409, "What would be needed was erased."),
    "no_bundle": (409, "The run's evidence does not fit into one bundle."),
    "payload_archived": (409, "What would be needed is in a segment, not in the database."),
    "vault_name_taken": (409, "Another vault item has this name."),
    "vault_full": (409, "The tenant's vault holds as many items as it can."),
    "subscriptions_full": (409, "The tenant has as many subscriptions as it may have."),
    "vault_key_configured": (409, "The vault key is a setting, so it is changed there."),
    "rotation_running": (409, "The last change of the vault key is not through yet."),
    "views_busy": (409, "The projection is being rebuilt already."),
    "not_stopped": (409, "The projection is at work, so there is nothing to retry."),
    "nothing_kept": (409, "The projection has no kept rows to go back to."),
    "search_off": (409, "The search is not switched on; the message says how it is."),
    "version_mismatch": (412, "`If-Match` names another version than the current one."),
    "payload_too_large": (413, "The body is larger than the service takes."),
    "unsupported_media_type": (415, "Bodies are `application/json`; events have their own types."),
    "parameter_missing": (422, "A required field is missing."),
    "parameter_invalid": (422, "A field or parameter can't be; `errors` says which and why."),
    "node_not_completed": (422, "The chosen node has no success to carry on from."),
    "search_too_broad": (422, "The search takes too long; rarer words find sooner."),
    "too_many_requests": (
        429,
        "The tenant or workflow has as much of this as it may; `Retry-After` says when to ask.",
    ),
    "headers_too_large": (431, "The address and the headers together are too long."),
    "run_failed": (500, "The run of a synchronous call failed; `X-Run-Id` names it."),
    "internal_server_error": (500, "A fault of ours; the request id finds it in the log."),
    "journal_damaged": (500, "An entry is not what was written; the message says which."),
    "overloaded": (503, "Too much is waiting; `Retry-After` says when to try again."),
    "read_only": (503, "The journal can't be written; nothing was changed."),
    "proofs_unavailable": (503, "The tree over the journal is not there yet, or can't be read."),
    "signing_refused": (503, "A checkpoint would contradict the last one; an operator must act."),
    "unknown_event": (503, "A newer version wrote what this would need; it has to be upgraded."),
    "run_still_running": (504, "The run of a synchronous call goes on; `X-Run-Id` names it."),
}


def render(document: dict[str, Any]) -> str:
    """Return the page."""
    info = document["info"]
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(
        f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"{_code(schema)}</details>"
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    errors = "".join(
        f'<tr id="{code}"><td><code>{code}</code></td><td>{status}</td>'
        f"<td><code>{TYPES[status]}</code></td><td>{_text(meaning)}</td></tr>"
        for code, (status, meaning) in ERROR_CODES.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])} "
        'The same as data: <a href="/openapi.json">/openapi.json</a>.</p>'
        f"<h2>Operations</h2>{operations}"
        f"<h2>Errors</h2><table><tr><th>code</th><th>status</th><th>type</th><th></th></tr>"
        f"{errors}</table><h2>Schemas</h2>{schemas}</body></html>"
    )


def content_policy() -> str:
    """Return the page's content security policy: its own style, by hash, and nothing else."""
    style = b64encode(sha256(_STYLE.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{p['in']}</td>"
        f"<td>{_text(p.get('description', ''))}</td></tr>"
        for p in operation.get("parameters", ())
    )
    body = operation.get("requestBody")
    sent = _code(body["content"]["application/json"]["schema"]) if body else ""
    answers = "".join(
        f"<tr><td>{status}</td><td>{_text(response['description'])}</td></tr>"
        for status, response in operation["responses"].items()
    )
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><b>{method.upper()}</b> '
        f"<code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
        f"<p>{_text(operation['description'])}</p>"
        f"{f'<h4>Parameters</h4><table>{rows}</table>' if rows else ''}"
        f"{f'<h4>Body</h4>{sent}' if sent else ''}"
        f"<h4>Answers</h4><table>{answers}</table></details>"
    )


def _text(text: str) -> str:
    """Escape a sentence and set what stands between back quotes as code."""
    parts = escape(text).split("`")
    return "".join(
        f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts)
    )


def _code(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2))}</pre>"
