"""What is done to a run alone or to it and all below it, as methods of `Runtime`: cancel, pause.

Each delegates to one operation; the a-prefixed twin awaits the same flow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from abstractruntime.core.checkpoint import Driver
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.engine.load import load_draft
from abstractruntime.engine.operations.cancel import Cancel, cancel, cancel_tree
from abstractruntime.engine.operations.pause import pause, unpause
from abstractruntime.engine.requests import Flow
from abstractruntime.engine.settings import Settings

T = TypeVar("T")


class Families:
    """Mixed into `Runtime`, which drives the flows."""

    _settings: Settings

    def _drive(self, flow: Callable[[Driver], Flow[T]]) -> T:
        raise NotImplementedError

    async def _adrive(self, flow: Callable[[Driver], Flow[T]], executor: Any = None) -> T:
        raise NotImplementedError

    def cancel_run(
        self,
        run_id: str,
        *,
        reason: str | None = None,
        actor_id: str | None = None,
        tree: bool = False,
        request: bool = False,
    ) -> RunState:
        """End the run as CANCELLED, children only as their close policies say; `tree`: every live
        run below it too. Ended runs come back unchanged. Raises UnknownRun.

        A run with undos comes back RUNNING, in phase "cancelling", until they are performed by
        whoever moves it; so does a driven one with `request` or `tree`: its driver ends it at its
        next commit, and its handler may clean up (StepContext.cancelled). The request is durable;
        a call that was cut short is finished by the next one or by a scheduler.
        """
        said = Cancel(reason, actor_id, request)
        return self._drive(lambda _: _cancel(self._settings, run_id, said, tree))

    async def acancel_run(
        self,
        run_id: str,
        *,
        reason: str | None = None,
        actor_id: str | None = None,
        tree: bool = False,
        request: bool = False,
    ) -> RunState:
        """`cancel_run`, awaited."""
        said = Cancel(reason, actor_id, request)
        return await self._adrive(lambda _: _cancel(self._settings, run_id, said, tree))

    def cancel_tree(
        self, run_id: str, *, reason: str | None = None, actor_id: str | None = None
    ) -> list[RunState]:
        """`cancel_run` with `tree`; the runs that this call ended as CANCELLED, parents first."""
        said = Cancel(reason, actor_id, request=True)
        return self._drive(lambda _: cancel_tree(self._settings, [run_id], said))

    async def acancel_tree(
        self, run_id: str, *, reason: str | None = None, actor_id: str | None = None
    ) -> list[RunState]:
        """`cancel_tree`, awaited."""
        said = Cancel(reason, actor_id, request=True)
        return await self._adrive(lambda _: cancel_tree(self._settings, [run_id], said))

    def pause_run(
        self,
        run_id: str,
        *,
        reason: str | None = None,
        actor_id: str | None = None,
        tree: bool = False,
    ) -> RunState:
        """Nobody moves the run until `unpause_run`; its waits, timers and messages stand.

        `tree`: nor any live run below it. A driver that has one of them finishes the attempt under
        way. Raises UnknownRun, RunEnded.
        """
        return self._drive(
            lambda _: pause(self._settings, run_id, reason=reason, actor_id=actor_id, tree=tree)
        )

    async def apause_run(
        self,
        run_id: str,
        *,
        reason: str | None = None,
        actor_id: str | None = None,
        tree: bool = False,
    ) -> RunState:
        """`pause_run`, awaited."""
        return await self._adrive(
            lambda _: pause(self._settings, run_id, reason=reason, actor_id=actor_id, tree=tree)
        )

    def unpause_run(
        self,
        run_id: str,
        *,
        reason: str | None = None,
        actor_id: str | None = None,
        tree: bool = False,
    ) -> RunState:
        """Let the run, with `tree` every run below it too, be moved again; nothing is executed.

        Raises UnknownRun.
        """
        return self._drive(
            lambda _: unpause(self._settings, run_id, reason=reason, actor_id=actor_id, tree=tree)
        )

    async def aunpause_run(
        self,
        run_id: str,
        *,
        reason: str | None = None,
        actor_id: str | None = None,
        tree: bool = False,
    ) -> RunState:
        """`unpause_run`, awaited."""
        return await self._adrive(
            lambda _: unpause(self._settings, run_id, reason=reason, actor_id=actor_id, tree=tree)
        )


def is_cancelled(run: RunState) -> bool:
    """Whether the run is cancelled, or is to be as soon as it can."""
    if run.status is RunStatus.CANCELLED:
        return True
    at = run.checkpoint
    return at is not None and at.terms.phase == "cancelling"


def _cancel(settings: Settings, run_id: str, said: Cancel, tree: bool) -> Flow[RunState]:
    if not tree:
        return (yield from cancel(settings, run_id, said))
    yield from cancel_tree(settings, [run_id], said)
    return (yield from load_draft(settings, run_id)).run
