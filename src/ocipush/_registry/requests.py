"""Requests that are safe to repeat, repeated as the retry policy says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from .._http.redact import redact
from ..errors import ConnectFailedError, TransportError
from .retry import RETRIED_STATUSES, may_pass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._http.answer import Answer
    from .._http.client import Client
    from .rate_gate import RateGate
    from .retry import RetryPolicy


async def send_repeatedly(
    client: Client,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes = b"",
    retry: RetryPolicy,
    pace: RateGate,
    on_retry: Callable[[str, str, int, float], None],
    retry_refused: bool = True,
) -> Answer:
    """Send a request that is safe to repeat, and repeat it as ``retry`` says.

    ``retry_refused=False`` gives a refused connection back at once.
    """
    attempt, started = 0, anyio.current_time()
    while True:
        attempt += 1
        try:
            async with pace.turn():
                answer = await client.send(method, url, headers=headers, body=body, answer=client.timeouts.answer)
        except TransportError as exc:
            refused = isinstance(exc, ConnectFailedError) and exc.refused
            delay = retry.delay(attempt) if may_pass(exc) and (retry_refused or not refused) else None
            if delay is None:
                exc.attempts, exc.seconds = attempt, anyio.current_time() - started
                raise
            reason = exc.message
        else:
            limited = answer.is_rate_limit
            if answer.status not in RETRIED_STATUSES and not limited:
                pace.served(answer.latency)
                return answer
            asked = answer.retry_after
            delay = retry.delay(attempt, retry_after=asked)
            if limited or asked is not None:
                pace.limited(min(asked, retry.cap) if asked is not None else delay or 0.0)
            if delay is None:
                return replace(answer, attempts=attempt, seconds=anyio.current_time() - started)
            reason = f"answered {answer.status}"
        on_retry(f"{method} {redact(url)}", reason, attempt + 1, delay)
        await anyio.sleep(delay)
