"""Writes golden stores with the code as it is: `python -m tests.migrations.golden.make v2`.

Each version that writes another format gets a folder of its own; those of earlier versions stay.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from abstractruntime import EffectOutcome, RunStatus, Runtime, Snapshot, open_store
from abstractruntime.engine import liveness
from abstractruntime.engine.advance import advance
from abstractruntime.engine.drive import drive
from abstractruntime.inspect.standing import standing_of
from abstractruntime.storage.base import Store
from abstractruntime.testing.clock import VirtualClock
from abstractruntime.testing.crashes import Crash, CrashingStore, Fuse, When
from tests.migrations.golden.flows import HANDLERS, HOST, POLICY, registry

HERE = Path(__file__).parent


class Maker:
    """Brings a run into each status and standing; a run's actor is its name."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.registry = registry()
        self.clock = VirtualClock(step=0.001)

    def runtime(self, store: Store | None = None, **handlers: Any) -> Runtime:
        return Runtime(
            store=store or self.store,
            context=self.clock,
            workflow_registry=self.registry,
            effect_policy=POLICY,
            effect_handlers={**HANDLERS, **handlers},
        )

    def run(self, name: str, workflow: str, *, steps: float = 100, **handlers: Any) -> str:
        runtime, spec = self.runtime(**handlers), self.registry.get_or_raise(workflow)
        run_id = runtime.start(workflow=spec, vars={"by": "golden"}, actor_id=name, session_id="s")
        if steps:
            runtime.tick(workflow=spec, run_id=run_id, max_steps=steps)
        return run_id

    def make(self) -> None:
        self.run("started", "works", steps=0)
        self.run("parked", "works", steps=1)
        self.run("completed", "works")
        self.run("waits for an event", "event")
        self.run("waits for a person", "person")
        self.run("waits for a time", "timer")
        self.run("has grown", "grows")
        self.run("waits for a child", "parent")
        self.run("waits for a long child", "long parent", steps=100)
        self.run("failed", "raises")
        self.runtime().cancel_run(self.run("cancelled", "event"), reason="no more needed")
        self.between_attempts()
        self.left_by_its_driver()
        self.cancelled_while_performing()
        self.with_a_child_that_ended()
        self.rewound()
        self.with_a_snapshot()
        self.with_artifacts()

    def between_attempts(self) -> None:
        """A scheduler leaves the run between two attempts, timed."""
        run_id = self.run("between attempts", "retry", steps=0)
        find = self.registry.get_or_raise
        runtime = self.runtime()
        me = liveness.begin("golden-token")
        drive(advance(runtime._settings, run_id, find, me, patient=False), self.store)
        liveness.end(me.token)

    def left_by_its_driver(self) -> None:
        """The process dies when the first effect is performed and its outcome not yet written."""
        run_id = self.run("left by its driver", "works", steps=0)
        dying = self.runtime(CrashingStore(self.store, Fuse(2, When.BEFORE, verb="commit")))
        try:
            dying.tick(workflow=self.registry.get_or_raise("works"), run_id=run_id)
        except Crash:
            return
        raise AssertionError("nothing has crashed")

    def cancelled_while_performing(self) -> None:
        """The outcome of an effect comes to a run that has ended meanwhile: it is evidence."""

        def stop(run: Any, effect: Any) -> EffectOutcome:
            self.runtime().cancel_run(run.run_id)
            return EffectOutcome.completed({"too": "late"})

        self.run("cancelled while performing", "stopped", stop=stop)

    def with_a_child_that_ended(self) -> None:
        parent = self.run("has a message of its child", "parent")
        (child,) = self.store.list_children(parent_run_id=parent)
        spec = self.registry.get_or_raise("event")
        self.runtime().resume(workflow=spec, run_id=child.run_id, wait_key="go", payload={"n": 1})

    def rewound(self) -> None:
        run_id = self.run("rewound", "works")
        runtime = self.runtime()
        run = runtime.get_state(run_id)
        run.status, run.current_node, run.output = RunStatus.RUNNING, "second", None
        runtime.run_store.save(run)

    def with_a_snapshot(self) -> None:
        """One run stands at its second generation; its snapshot is of the first."""
        run_id = self.run("restored afresh", "event")
        runtime = self.runtime()
        snapshots = runtime.snapshot_store
        assert snapshots is not None
        taken = Snapshot.from_run(
            run=runtime.get_state(run_id), name="Before the answer", tags=["golden"]
        )
        snapshots.save(taken)
        spec = self.registry.get_or_raise("event")
        runtime.resume(workflow=spec, run_id=run_id, wait_key="go", payload={"n": 2})
        runtime.restore(taken.snapshot_id, fresh=True)

    def with_artifacts(self) -> None:
        artifacts = self.store.artifact_store
        if artifacts is not None:
            artifacts.store_json({"golden": [1, 2]}, artifact_id="chosen", tags={"kind": "json"})
            artifacts.store_text("Golden text, é", run_id="some-run")


def shown(store: Store) -> dict[str, dict[str, Any]]:
    """Every run as it is to be found: by name, a child's by its parent's."""
    runs = {run.run_id: run for run in store.list_runs(limit=1000)}
    found = {}
    for run in runs.values():
        name = run.actor_id or ""
        found[f"{name}, child" if run.parent_run_id else name] = {
            "run_id": run.run_id,
            "workflow": run.workflow_id,
            "status": run.status.value,
            "standing": standing_of(run),
            "records": len(store.list_records(run.run_id)),
            "vars": sorted(run.vars),
            "evidence": len(store.list_evidence(run.run_id)),
        }
    return dict(sorted(found.items()))


def write(folder: Path, say: Callable[[str], None] = print) -> None:
    """Make both stores below `folder`, with what is to be found in them."""
    with tempfile.TemporaryDirectory() as temporary:
        database = Path(temporary) / "runs.db"
        urls = {"sqlite": f"sqlite:///{database}", "files": f"files:///{folder / 'files'}"}
        expected = {}
        for kind, url in urls.items():
            with open_store(url) as store:
                Maker(store).make()
                expected[kind] = shown(store)
        packed = gzip.compress(database.read_bytes(), mtime=0)
        (folder / "runs.db.gz").write_bytes(packed)
        say(f"{len(expected['sqlite'])} runs, {len(packed)} bytes of SQLite")
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def main(version: str) -> None:
    folder = HERE / version
    if folder.exists():
        raise SystemExit(f"{folder} is there: what was written stays as it is")
    folder.mkdir()
    try:
        with mock.patch.object(liveness, "_host", return_value=HOST):
            write(folder)
    except BaseException:
        shutil.rmtree(folder)
        raise


if __name__ == "__main__":
    main(sys.argv[1])
