"""What goes over the wire where runs are started by events, and where a node is tried out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from .wire import JsonObject, RunId, Time

Text = Annotated[str, Meta(min_length=1, max_length=1024)]


class CloudEvent(Struct, frozen=True):
    """An event by CloudEvents 1.0; what else stands in it is an extension."""

    specversion: Literal["1.0"]
    id: Text
    source: Text
    """With the id it names the event: sent again, it makes no second runs."""
    type: Annotated[str, Meta(min_length=1, max_length=255)]
    subject: Text | None = None
    time: Time | None = None
    datacontenttype: Text | None = None
    dataschema: Text | None = None
    data: Any = None
    data_base64: str | None = None


class EventRuns(Struct, frozen=True):
    """The runs that an event, or a batch of them, started."""

    runs: list[RunId]


class NodeTest(Struct, frozen=True, forbid_unknown_fields=True):
    """A node, and what its templates see."""

    node: JsonObject
    context: JsonObject = {}
    """Outputs by node id, and roots such as `trigger`, `payload` and `item`."""
    authorization_id: str | None = None
    """The grant that a workflow would name, for the nodes that use one."""


class NodeTested(Struct, frozen=True):
    """What came of a node."""

    status: Literal["success", "error"]
    output: Any
    handle: str | UnsetType = UNSET
    """The handle that it leaves by, of a node that has handles."""
