"""Concurrent jobs end with the first failure."""

from __future__ import annotations

import anyio
import pytest

from ocipush._push.together import together

pytestmark = pytest.mark.anyio


async def test_failure_has_no_notes_about_jobs_that_a_cancellation_ended() -> None:
    async def fail() -> None:
        caller.cancel()
        raise LookupError("the cause")

    with anyio.CancelScope() as caller, pytest.raises(LookupError, match="the cause") as caught:
        await together([anyio.sleep_forever, fail, anyio.sleep_forever])
    assert not hasattr(caught.value, "__notes__")


async def test_other_failures_become_notes_of_the_first() -> None:
    async def fail(text: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError(text)

    async def first() -> None:
        await anyio.wait_all_tasks_blocked()
        raise LookupError("the first")

    with pytest.raises(LookupError) as caught:
        await together([lambda: fail("the second"), first])
    texts = [str(caught.value), *caught.value.__notes__]
    assert {text.removeprefix("also failed: ") for text in texts} == {"the first", "the second"}
