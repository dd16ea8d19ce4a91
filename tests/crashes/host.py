"""A host that also answers branches, and says what became of steps that are in doubt."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from abstractruntime import EffectOutcome
from abstractruntime.core.checkpoint import OpenWait
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.testing.host import Host

Say = Callable[[dict[str, Any]], EffectOutcome | str]
"""What somebody says of the step whose intent this is."""


class Answers(Host):
    """`says` resolves doubts; `surfaced` counts them by key. With an `order` it answers the
    branches of that place first."""

    says: Say
    surfaced: Counter[str]
    order: list[int] | None = None

    def _move(self, run: RunState) -> None:
        checkpoint = run.checkpoint
        assert checkpoint is not None
        if run.status is not RunStatus.WAITING:
            self.tick(run)
        elif checkpoint.join is None:
            super()._move(run)
        else:
            self._move_branches(run)

    def answer(self, run: RunState) -> RunState:
        unknown = ((run.waiting and run.waiting.details) or {}).get("unknown")
        if unknown is None:
            return super().answer(run)
        self._resolve(run, unknown)
        return self.tick(run)

    def _resolve(self, run: RunState, unknown: dict[str, Any]) -> None:
        self.surfaced[unknown["key"]] += 1
        self.runtime.resolve(run.run_id, outcome=self.says(unknown), actor_id="ann")

    def _move_branches(self, run: RunState) -> None:
        assert run.waiting is not None
        assert run.checkpoint is not None
        assert run.waiting.details is not None
        if self.order is not None:
            self._answer_next(run, run.checkpoint.waits, self.order)
            return
        shown = run.waiting.details["branches"]
        for one in shown:
            details = one.get("details") or {}
            if "unknown" in details:
                self._resolve(run, details["unknown"])
                self.tick(run)
                return
            if one["reason"] == "subworkflow":
                self.finish(details["sub_run_id"])
                self.tick(run)
                return
            if one["reason"] == "user":
                self._say(run, one["wait_id"], one["prompt"])
                return
        wake = run.checkpoint.wake_at(run.waiting.until)
        assert wake is not None
        self.clock.forward_to(wake)
        self.tick(run)

    def _answer_next(self, run: RunState, waits: Mapping[str, OpenWait], order: list[int]) -> None:
        branch = next(str(n) for n in order if str(n) in waits)
        self._say(run, waits[branch].wait_id, branch)

    def _say(self, run: RunState, wait_id: str, prompt: str) -> None:
        options: dict[str, Any] = {
            "workflow": self._spec(run),
            "run_id": run.run_id,
            "wait_key": None,
            "wait_id": wait_id,
            "payload": f"to {prompt}",
        }
        if self.awaiting:
            asyncio.run(self.runtime.aresume(**options))
        else:
            self.runtime.resume(**options)
