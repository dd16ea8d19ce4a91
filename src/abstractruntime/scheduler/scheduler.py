"""Moves runs when their time comes: due timers and retries, parents whose child has ended, runs
whose driver died. Leaves alone what its host drives (parked) and what a live driver has."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.times import normal, seconds_between
from abstractruntime.engine.drive import run_blocking
from abstractruntime.engine.runtime import Runtime
from abstractruntime.errors import Contended, NotWaiting, UnknownRun
from abstractruntime.scheduler.recovery import orphaned
from abstractruntime.scheduler.registry import WorkflowRegistry
from abstractruntime.storage.base import Capability

_LOG = logging.getLogger("abstractruntime.scheduler")

CONCURRENCY = 64
"""Runs moved at once; a blocking handler holds one place and one thread."""

WAITING_FACTOR = 16
"""Runs under way for each place: most of them wait for a commit, not for a handler."""

BATCH = 1000
"""Due runs fetched at a time."""

WATCH_S = 0.02
"""How often a sleeping scheduler looks whether others have written."""


@dataclass
class SchedulerStats:
    """Counters since the scheduler was made; `errors` keeps the newest as text."""

    runs_resumed: int = 0
    runs_failed: int = 0
    poll_cycles: int = 0
    last_poll_at: str | None = None
    errors: list[str] = field(default_factory=list)


class Scheduler:
    """Moves the runs of one runtime in a thread of its own, or by `poll_once`.

    `on_run_resumed(state)` hears of each run it moved, `on_run_failed(run_id, error)` of each
    that it could not move. TypeError when the runtime's run store is no QueryableRunStore.
    """

    def __init__(
        self,
        *,
        runtime: Runtime,
        registry: WorkflowRegistry,
        poll_interval_s: float = 1.0,
        max_errors_kept: int = 100,
        on_run_resumed: Callable[[RunState], None] | None = None,
        on_run_failed: Callable[[str, Exception], None] | None = None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        if Capability.QUERYABLE not in runtime.store.capabilities:
            raise TypeError(
                "Scheduler requires a run_store that implements QueryableRunStore "
                f"(list_runs, list_due_wait_until, list_children); "
                f"{type(runtime.run_store).__name__} does not"
            )
        self._runtime = runtime
        self._registry = registry
        self._poll_interval_s = poll_interval_s
        self._max_errors_kept = max_errors_kept
        self._on_run_resumed = on_run_resumed
        self._on_run_failed = on_run_failed
        self._concurrency = concurrency
        self._stats = SchedulerStats()
        self._moving: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._executor: ThreadPoolExecutor | None = None

    @property
    def is_running(self) -> bool:
        """Whether its thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def stats(self) -> SchedulerStats:
        """The counters, live."""
        return self._stats

    def start(self) -> None:
        """Begin to move runs. RuntimeError when it runs already."""
        if self.is_running:
            raise RuntimeError("Scheduler is already running")
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._stop,), name="abstractruntime-scheduler", daemon=True
        )
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Take on no more runs and wait up to `timeout` seconds for those being moved."""
        thread = self._thread
        self._stop.set()
        if thread is not None:
            thread.join(timeout)
            if not thread.is_alive():
                self._thread = None

    def poll_once(self) -> int:
        """Move everything that is due now, to its next wait or end; how many runs were moved."""
        return run_blocking(lambda: self._poll(self._threads()))

    # -- by hand

    def resume_event(
        self, *, run_id: str, wait_key: str, payload: Any, actor_id: str | None = None
    ) -> RunState:
        """Answer a waiting run and move it on. Raises NotWaiting (a ValueError), as `resume`."""
        run = self._runtime.get_state(run_id)
        if run.status is not RunStatus.WAITING:
            raise NotWaiting(
                f"Run '{run_id}' is not waiting (status={run.status.value})", run_id=run_id
            )
        workflow = self._registry.get_or_raise(run.workflow_id)
        return self._runtime.resume(
            workflow=workflow,
            run_id=run_id,
            wait_key=wait_key,
            payload=payload,
            actor_id=actor_id,
        )

    def find_waiting_runs(
        self,
        *,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        """Waiting runs that match, newest updated first."""
        return self._runtime.store.list_runs(
            status=RunStatus.WAITING, wait_reason=wait_reason, workflow_id=workflow_id, limit=limit
        )

    def resume_subworkflow_parent(
        self, *, child_run_id: str, child_output: dict[str, Any] | None
    ) -> RunState | None:
        """Move the parent that waits for this child, by hand; None when none waits for it."""
        child = self._runtime.get_state(child_run_id)
        if child.parent_run_id is None:
            return None
        try:
            parent = self._runtime.get_state(child.parent_run_id)
        except UnknownRun:
            return None
        wait_key = f"subworkflow:{child_run_id}"
        if parent.waiting is None or parent.waiting.wait_key != wait_key:
            return None
        return self._runtime.resume(
            workflow=self._registry.get_or_raise(parent.workflow_id),
            run_id=parent.run_id,
            wait_key=wait_key,
            payload={"sub_run_id": child_run_id, "output": child_output},
        )

    def cancel_with_children(
        self, run_id: str, *, reason: str | None = None, actor_id: str | None = None
    ) -> list[RunState]:
        """Cancel the run and every live run below it; those that were cancelled by this call.

        Driven ones, and those with undos, are asked and end soon (Runtime.cancel_tree).
        """
        return self._runtime.cancel_tree(run_id, reason=reason, actor_id=actor_id)

    # -- the loop

    def _run(self, stop: threading.Event) -> None:
        import asyncio

        asyncio.run(self._watch(stop))

    async def _watch(self, stop: threading.Event) -> None:
        """Poll at once, then whenever a run is due, others wrote, or the interval is over."""
        import asyncio

        tasks: set[asyncio.Task[Any]] = set()
        executor = self._threads()
        recover = True
        while not stop.is_set():
            try:
                for run_id in self._ready(recover=recover):
                    task = asyncio.create_task(self._move(run_id, executor))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                recover = await self._sleep(stop)
            except Exception as error:
                self._note("poll", error)
                await asyncio.sleep(WATCH_S)
        if tasks:
            await asyncio.wait(tasks)

    async def _sleep(self, stop: threading.Event) -> bool:
        """Sleep to the next wake time at most; True when the whole interval went by."""
        import asyncio

        store, loop = self._runtime.store, asyncio.get_running_loop()
        seen, end = store.changes(), loop.time() + self._poll_interval_s
        # Whatever is due, the moves that were begun come first.
        await asyncio.sleep(0)
        at = min(end, loop.time() + self._due_in())
        while not stop.is_set():
            left = at - loop.time()
            if left <= 0:
                return loop.time() >= end
            await asyncio.sleep(min(left, WATCH_S))
            now_seen = store.changes()
            if now_seen != seen:
                seen = now_seen
                if self._free(store.list_answered(now_iso=self._now(), limit=BATCH)):
                    return False
                at = min(end, loop.time() + self._due_in())
        return False

    def _due_in(self) -> float:
        """Seconds to the next wake time of a run that could be moved then."""
        store, now = self._runtime.store, self._now()
        wake = store.next_wake()
        if wake is None:
            return self._poll_interval_s
        left = seconds_between(now, wake)
        if left > 0:
            return left
        due = store.list_due(now, limit=BATCH + len(self._moving))
        return 0.0 if self._free(due) else WATCH_S

    def _free(self, found: Iterable[str]) -> list[str]:
        """Of these runs, those to move now: as many as there is room for."""
        now = monotonic()
        with self._lock:
            room = self._concurrency * WAITING_FACTOR - len(self._moving)
            free = [
                run_id
                for run_id in found
                if run_id not in self._moving and self._not_before.get(run_id, 0.0) <= now
            ]
            return free[: max(room, 0)]

    async def _poll(self, executor: ThreadPoolExecutor) -> int:
        """One cycle, awaited to its end."""
        import asyncio

        moved = 0
        tried: set[str] = set()
        # Asked for by hand: what was put off is tried too, though once.
        while ready := self._ready(recover=True, tried=tried):
            tried.update(ready)
            results = await asyncio.gather(*(self._move(run_id, executor) for run_id in ready))
            moved += sum(results)
        return moved

    def _ready(self, *, recover: bool, tried: set[str] | None = None) -> list[str]:
        """Runs to move now that nobody here is moving, marked as being moved.

        Without those put off; or, where `tried` is given, without those.
        """
        store, now = self._runtime.store, self._now()
        self._stats.poll_cycles += 1
        self._stats.last_poll_at = now
        found = dict.fromkeys(store.list_due(now, limit=BATCH + len(self._moving)))
        found.update(dict.fromkeys(store.list_answered(now_iso=now, limit=BATCH)))
        if recover:
            found.update(dict.fromkeys(orphaned(store)))
            past = monotonic()
            self._not_before = {run: t for run, t in self._not_before.items() if t > past}
        if tried is not None:
            for run_id in tried:
                found.pop(run_id, None)
            for run_id in found:
                self._not_before.pop(run_id, None)
        ready = self._free(found)
        with self._lock:
            self._moving.update(ready)
        return ready

    async def _move(self, run_id: str, executor: ThreadPoolExecutor) -> bool:
        """Move one run as far as it goes; whether it was moved."""
        try:
            after = await self._runtime.amove(
                find=self._registry.get_or_raise, run_id=run_id, executor=executor
            )
        except Contended:
            # Another driver was first: the run is in good hands.
            self._put_off(run_id)
            return False
        except Exception as error:
            self._put_off(run_id)
            self._stats.runs_failed += 1
            self._note(run_id, error)
            self._tell(self._on_run_failed, run_id, error)
            return False
        finally:
            with self._lock:
                self._moving.discard(run_id)
        if after is None:
            return False
        self._stats.runs_resumed += 1
        if after.status is RunStatus.FAILED:
            self._stats.runs_failed += 1
        self._tell(self._on_run_resumed, after)
        return True

    def _put_off(self, run_id: str) -> None:
        """It stays due: not again before the interval is over."""
        self._not_before[run_id] = monotonic() + self._poll_interval_s

    def _tell(self, listener: Callable[..., None] | None, *said: Any) -> None:
        if listener is None:
            return
        try:
            listener(*said)
        except Exception as error:
            self._note("listener", error)

    def _note(self, where: str, error: Exception) -> None:
        _LOG.error("scheduler: %s: %s", where, error)
        self._stats.errors.append(f"{where}: {error}")
        del self._stats.errors[: -self._max_errors_kept]

    def _threads(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._concurrency, "abstractruntime-handler")
        return self._executor

    def _now(self) -> str:
        return normal(self._runtime.now_iso())
