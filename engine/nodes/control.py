"""The nodes that steer a run: `delay` waits, `terminate` ends it."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from ..component import (
    ConfigError,
    Context,
    Json,
    NodeConfig,
    NodeError,
    Outcome,
    PureNode,
    WaitNode,
)
from ..templates import compile_text, compile_value
from .operands import need_number

DELAY_SECONDS_MAX: Final = 900
_SECONDS_IN: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
_MICROSECONDS: Final = 1_000_000


class DelayConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `delay`: a number of units, or a template that gives one."""

    duration: Json
    unit: Literal["seconds", "minutes", "hours", "days"] = "seconds"


class Delay(WaitNode[DelayConfig]):
    """Waits, zero seconds at least; output `{"waited_seconds": n}`.

    Too long a wait, or one that is no number, is refused on save where it is written out, and
    else fails the node with code `delay_invalid`.
    """

    component: ClassVar[str] = "delay"
    config_type = DelayConfig
    seconds_max: ClassVar[float] = DELAY_SECONDS_MAX
    """The longest wait, in seconds; set once, at start, from the service's settings."""

    def __init__(self, config: DelayConfig) -> None:
        self._duration = compile_value(config.duration, "duration")
        self._unit_seconds = _SECONDS_IN[config.unit]
        if self._duration.is_static:
            try:
                self.duration_us({})
            except NodeError as error:
                raise ConfigError({"duration": [error.message]}) from error

    def duration_us(self, context: Context) -> int:
        """Say how long to wait, in microseconds."""
        try:
            number = need_number(self._duration.render(context), "duration")
        except NodeError as error:
            if error.code != "type_mismatch":
                raise
            raise NodeError("delay_invalid", error.message) from error
        if number < 0:
            raise NodeError("delay_invalid", "Operand 'duration' is negative")
        if number > self.seconds_max / self._unit_seconds:
            message = f"Operand 'duration' is over the limit of {self.seconds_max:g} seconds"
            raise NodeError("delay_invalid", message)
        return round(number * self._unit_seconds * _MICROSECONDS)

    def finish(self, waited_us: int) -> Outcome:
        """Say how long it was, in seconds, without a fraction where there is none."""
        whole, rest = divmod(waited_us, _MICROSECONDS)
        return Outcome({"waited_seconds": waited_us / _MICROSECONDS if rest else whole})


class TerminateConfig(NodeConfig, frozen=True, kw_only=True):
    """The `data` of a `terminate`."""

    status: Literal["completed", "failed"] = "completed"
    message: str = ""
    """A template; the run's error message where the status is `failed`."""


class Terminate(PureNode[TerminateConfig]):
    """Ends the run with a status; output `{"status": …, "message": …}`."""

    component: ClassVar[str] = "terminate"
    config_type = TerminateConfig

    def __init__(self, config: TerminateConfig) -> None:
        self._status: Literal["completed", "failed"] = config.status
        self._message = compile_text(config.message, "message")

    def run(self, context: Context) -> Outcome:
        """Render the message; a failure without one has a message of ours."""
        message = self._message.render_text(context)
        if self._status == "failed":
            message = message.strip() or "Workflow was terminated as failed"
        return Outcome(
            {"status": self._status, "message": message},
            ends=self._status,
            message=message if self._status == "failed" else "",
        )
