"""What a push reports while it runs: events for the caller's callback, and lines for the log."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, TypeVar

from .._events import PushWarning, RegistryWarning, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .._events import Event, OnEvent

T = TypeVar("T")

_LOG = logging.getLogger("ocipush")


class CallbackRaised(BaseException):
    """Ends a push whose ``on_event`` raised.

    What the callback raised may look like a lost connection or an unreadable file. This is no ``Exception``, so nothing
    on its way out of the push can take it for one and retry.
    """


class Reporter:
    """Reports one push: the only place that calls ``on_event``.

    Attributes:
        push_id: identifies the push in its events.
    """

    def __init__(self, on_event: OnEvent | None = None) -> None:
        self.push_id = uuid.uuid4().hex[:12]
        self._on_event = on_event
        self._raised: BaseException | None = None
        self._registry_warnings: set[str] = set()

    async def run(self, push: Awaitable[T]) -> T:
        """Await a push. What ``on_event`` raised meanwhile is raised unchanged, whatever else the push ended with."""
        try:
            return await push
        except BaseException:
            if self._raised is None:
                raise
        raise self._raised  # outside the handler, so that it keeps its own context

    def emit(self, event: Event) -> None:
        """Pass an event to the callback. After the callback has raised, it is not called again.

        Raises:
            CallbackRaised: the callback raised an exception, now or before.
        """
        if self._on_event is None:
            return
        if self._raised is None:
            try:
                self._on_event(event)
            except BaseException as exc:  # noqa: BLE001 - run() raises it
                self._raised = exc
            else:
                return
        raise CallbackRaised

    def warn(self, text: str) -> None:
        """Report something that does not stop the push."""
        _LOG.warning("%s", text)
        self.emit(PushWarning(self.push_id, text))

    def registry_warning(self, text: str) -> None:
        """Report the text of a ``Warning`` header, unless it was reported before."""
        if text not in self._registry_warnings:
            self._registry_warnings.add(text)
            _LOG.warning("the registry warns: %s", text)
            self.emit(RegistryWarning(self.push_id, text))

    def retrying(self, what: str, reason: str, attempt: int, delay: float) -> None:
        """Report that ``what`` failed for ``reason``, and that attempt ``attempt`` follows in ``delay`` seconds."""
        _LOG.info("%s: %s; attempt %d in %.1f s", what, reason, attempt, delay)
        self.emit(RetryScheduled(self.push_id, what, reason, attempt, delay))

    def resending(self, blobs: int) -> None:
        """Log that the registry refused a manifest because it misses blobs, which are uploaded now."""
        _LOG.info("the registry does not have %d blobs that it seemed to have; uploading them", blobs)
