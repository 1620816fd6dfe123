"""The nodes that only shape data."""

from __future__ import annotations

from typing import ClassVar

from ..component import Context, Json, NodeConfig, Outcome, PureNode
from ..templates import compile_value


class TextTransformConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `text_transform`."""

    template: Json
    """A string, or any JSON value with templates in its strings."""
    is_response: bool = False
    """Whether the output is the answer of a synchronous call."""


class TextTransform(PureNode[TextTransformConfig]):
    """Renders a template.

    The output is what a later node would look for: an object as it is, text as
    `{"text": …}`, and any other value (a single expression keeps its type) as `{"value": …}`.
    """

    component: ClassVar[str] = "text_transform"
    config_type = TextTransformConfig

    def __init__(self, config: TextTransformConfig) -> None:
        self._template = compile_value(config.template, "template")
        self.is_response = config.is_response
        self.is_object = isinstance(config.template, dict)

    def run(self, context: Context) -> Outcome:
        """Render."""
        value = self._template.render(context)
        if isinstance(value, dict):
            return Outcome(value)
        return Outcome({"text" if isinstance(value, str) else "value": value})
