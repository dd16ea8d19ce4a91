"""Many calls at the same time in one process."""

from __future__ import annotations

import asyncio
import threading

import pytest

from abstractruntime.integrations.abstractcore import create_remote_runtime
from tests.integrations.stub import Asked, Stub
from tests.integrations.test_handlers import EffectType, one_step

RUNS = 200


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_two_hundred_runs_wait_for_their_model_at_the_same_time(stub: Stub) -> None:
    """The model answers none before it has been asked by all."""
    together = threading.Barrier(RUNS, timeout=50)

    def script(asked: Asked, _: int) -> str:
        together.wait()
        return "Hello."

    stub.script = script
    runtime = create_remote_runtime(
        server_base_url=stub.origin, model="stub-model", store="memory://", awaiting=True
    )
    spec = one_step(EffectType.LLM_CALL, {"prompt": "x"})

    async def all_of_them() -> set[str]:
        ids = [await runtime.astart(workflow=spec) for _ in range(RUNS)]
        moves = [runtime.atick(workflow=spec, run_id=run_id) for run_id in ids]
        return {state.status.value for state in await asyncio.gather(*moves)}

    assert asyncio.run(all_of_them()) == {"completed"}
    keys = {asked.headers["idempotency-key"] for asked in stub.chats}
    assert len(keys) == RUNS
