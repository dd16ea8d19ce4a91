"""The SQLite store alone: commits made beforehand, against the raw loop, in one run.

`python -m bench.micro_store [profile]`
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import statistics
import sys
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

from abstractruntime.core.checkpoint import Checkpoint, Driver, OpenStep
from abstractruntime.core.commit import Commit, Entry
from abstractruntime.core.delta import Encoding
from abstractruntime.core.head import head_of
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.storage.relational.store import RelationalStore
from abstractruntime.storage.sqlite_file import SqliteFile
from bench.harness import Line, folder, over, side_by_side, under
from bench.raw_sqlite import raw_rate_at

NOW = "2026-01-31T09:00:00.000000+00:00"
DRIVER = Driver("host", "5a0e7f04-27f9-4b2f-9d3e-1f2e3d4c5b6a", 4242, "123456", "f" * 16)


class Commits:
    """A run of one looping node: each commit is the outcome of a step and the next intent."""

    def __init__(self, run_id: str, vars: dict[str, Any] | None = None) -> None:
        self.run_id = run_id
        self.vars = vars if vars is not None else {"n": 0, "context": "c" * 470}
        self.revision = 0
        self.head: dict[str, Any] | None = None
        self.encoding: Encoding | None = None

    def next(self, payload: bytes = b'{"function":"nothing"}') -> Commit:
        """The next commit."""
        revision = self.revision + 1
        delta = None
        if self.encoding is None:
            self.encoding, self.vars = Encoding.of(self.vars)
        else:
            self.vars["n"] = revision
            self.encoding, self.vars, delta = self.encoding.step(self.vars)
        step = self._step(revision)
        run = RunState(
            run_id=self.run_id,
            workflow_id="bench",
            status=RunStatus.RUNNING,
            current_node="node",
            vars=self.vars,
            created_at=NOW,
            updated_at=NOW,
            checkpoint=Checkpoint(
                revision,
                visits={"node": revision},
                entered=True,
                open_steps={"": step},
                driver=DRIVER,
                chain_head=f"{2 * revision:064x}",
            ),
        )
        head = head_of(run)
        records = [Entry(self._record(step, "started"), payload=payload)]
        if revision > 1:
            before = self._step(revision - 1)
            done = self._record(before, "completed", {"ok": True})
            records.insert(0, Entry(done, result=b'{"ok":true}', opened=revision - 1))
        commit = Commit(
            self.run_id,
            self.revision,
            run,
            self.encoding,
            head,
            previous=self.head,
            delta=delta,
            records=tuple(records),
        )
        self.head, self.revision = head, revision
        return commit

    def _step(self, revision: int) -> OpenStep:
        effect = {"type": "call", "payload": {"function": "nothing"}, "result_key": "got"}
        return OpenStep(
            f"{revision:08d}-5a0e-4b2f-9d3e-1f2e3d4c5b6a",
            "node",
            revision,
            effect,
            f"{revision:032x}",
            NOW,
            revision,
            next_node="node",
            salt="5" * 32,
        )

    def _record(self, step: OpenStep, status: str, result: Any = None) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "step_id": step.step_id,
            "node_id": "node",
            "status": status,
            "effect": step.effect,
            "result": result,
            "error": None,
            "started_at": NOW,
            "ended_at": None if result is None else NOW,
            "actor_id": None,
            "session_id": None,
            "attempt": 1,
            "idempotency_key": step.key,
            "prev_hash": f"{2 * step.visit - (status == 'started'):064x}",
            "record_hash": f"{2 * step.visit + (status != 'started'):064x}",
            "signature": None,
            "visit": step.visit,
            "revision": step.visit,
            "chain": 2,
            "salts": {"payload": "5" * 32},
        }


def made(count: int, run_id: str = "00000000-0000-4000-8000-000000000001") -> list[Commit]:
    """So many commits of one run."""
    commits = Commits(run_id)
    return [commits.next() for _ in range(count)]


def opened(at: Path, durability: str) -> RelationalStore:
    """A store of its own."""
    return RelationalStore(SqliteFile(str(at / f"{durability}.db"), durability=durability))


def sequential(durability: str, count: int) -> float:
    """Commits per second of one blocking caller."""
    commits = made(count)
    with folder() as at, opened(at, durability) as store:
        store.commit(commits[0])
        begun = time.perf_counter()
        for commit in commits[1:]:
            store.commit(commit)
        return (count - 1) / (time.perf_counter() - begun)


class Bell:
    """Brings results from the writer thread to a loop, which is woken once for all there are."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.coming: deque[asyncio.Future[None]] = deque()
        self.rung = False

    def ring(self, done: asyncio.Future[None]) -> None:
        self.coming.append(done)
        if not self.rung:
            self.rung = True
            self.loop.call_soon_threadsafe(self.deliver)

    def deliver(self) -> None:
        self.rung = False
        while self.coming:
            self.coming.popleft().set_result(None)


def concurrent(durability: str, runs: int = 64, steps: int = 200) -> float:
    """Commits per second of `runs` coroutines, each awaiting its own."""
    series = [made(steps, f"{n:08d}-0000-4000-8000-000000000001") for n in range(runs)]
    with folder() as at, opened(at, durability) as store:

        async def one(commits: list[Commit], bell: Bell) -> None:
            for commit in commits:
                done = bell.loop.create_future()
                handle = store.submit(commit)
                handle.add_done_callback(partial(bell.ring, done))
                await done
                handle.result()

        async def main() -> float:
            bell = Bell(asyncio.get_running_loop())
            begun = time.perf_counter()
            await asyncio.gather(*(one(commits, bell) for commits in series))
            return runs * steps / (time.perf_counter() - begun)

        return asyncio.run(main())


def raw(level: str, count: int) -> float:
    """The raw loop."""
    with folder() as at:
        return raw_rate_at(at, level, count)


def python_share(count: int = 6000) -> float:
    """CPU microseconds of a commit that are not SQLite's: it goes into no database at all."""
    from bench.no_database import NoDatabase

    commits = made(count)
    store = RelationalStore(NoDatabase())
    store.commit(commits[0])
    begun = time.process_time()
    for commit in commits[1:]:
        store.commit(commit)
    return (time.process_time() - begun) / count * 1e6


def run() -> list[Line]:
    """All figures of the store alone."""
    return [
        side_by_side(
            "store alone, power",
            lambda: sequential("power", 1500),
            lambda: raw("FULL", 1500),
            at_least=0.9,
        ),
        side_by_side(
            "store alone, process",
            lambda: sequential("process", 6000),
            lambda: raw("NORMAL", 6000),
            at_least=0.45,
        ),
        over(
            "64 submitters, power",
            statistics.median(concurrent("power") for _ in range(3)),
            12_000,
            "commits/s",
        ),
        under(
            "Python of one commit",
            statistics.median(python_share() for _ in range(3)),
            35,
            "us",
        ),
    ]


def profile() -> None:
    """Where the time of sequential commits goes."""
    profiler = cProfile.Profile()
    commits = made(6000)
    with folder() as at, opened(at, "process") as store:
        store.commit(commits[0])
        profiler.enable()
        for commit in commits[1:]:
            store.commit(commit)
        profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    profile() if "profile" in sys.argv else run()
