"""The store contract, fifth concern: questions about many runs."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.checkpoint import MAIN, Driver, OpenStep
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.storage.base import Capability, Store
from abstractruntime.testing.commits import Script, as_seen, time_at, waiting_for
from abstractruntime.testing.contract_base import ContractBase, created, needs

WAITING = RunStatus.WAITING


def ids(runs: list[RunState]) -> list[str]:
    return [run.run_id for run in runs]


def retry_at(wake_at: str) -> OpenStep:
    """An open step whose next attempt is due then."""
    effect: dict[str, Any] = {"type": "call", "payload": {}, "result_key": None}
    return OpenStep(
        "s", "first", 1, effect, "key", time_at(0), 1, next_node="second", wake_at=wake_at
    )


class ListingContract(ContractBase):
    """Runs by status, by time, by family."""

    @needs(Capability.QUERYABLE)
    def test_runs_are_listed_newest_first_as_they_load(self, store: Store) -> None:
        scripts = {
            name: created(store, name, start=start, vars={"text": "é" * 3000})
            for name, start in (("b", 10), ("a", 20), ("c", 30))
        }
        assert ids(store.list_runs()) == ["c", "a", "b"]
        scripts["b"].clock = 40
        store.commit(scripts["b"].commit(vars={"n": 1}))
        assert ids(store.list_runs()) == ["b", "c", "a"]
        for run in store.list_runs():
            assert as_seen(run) == as_seen(scripts[run.run_id].state)

    @needs(Capability.QUERYABLE)
    def test_filters_and_limit_are_met_together(self, store: Store) -> None:
        event = {"status": WAITING, "waiting": waiting_for("k")}
        user = {"status": WAITING, "waiting": waiting_for("u", reason=WaitReason.USER)}
        created(store, "1", start=1)
        created(store, "2", start=2, **event)
        created(store, "3", start=3, workflow_id="other", **event)
        created(store, "4", start=4, **user)
        created(store, "5", start=5, **event)
        done = created(store, "6", start=6)
        store.commit(done.finish_with({}))
        assert ids(store.list_runs(status=WAITING)) == ["5", "4", "3", "2"]
        assert ids(store.list_runs(status=RunStatus.COMPLETED)) == ["6"]
        assert ids(store.list_runs(wait_reason=WaitReason.EVENT)) == ["5", "3", "2"]
        assert ids(store.list_runs(wait_reason=WaitReason.USER, status=WAITING)) == ["4"]
        assert ids(store.list_runs(workflow_id="other")) == ["3"]
        flow = store.list_runs(workflow_id="flow", wait_reason=WaitReason.EVENT, limit=1)
        assert ids(flow) == ["5"]
        assert ids(store.list_runs(status=RunStatus.FAILED)) == []
        assert store.list_runs(limit=0) == []

    @needs(Capability.QUERYABLE)
    def test_a_run_is_listed_by_what_it_is_now(self, store: Store) -> None:
        script = created(store, "r", status=WAITING, waiting=waiting_for("k", until=time_at(5)))
        store.commit(script.commit(status=RunStatus.RUNNING, waiting=None))
        assert store.list_runs(status=WAITING) == []
        assert store.list_runs(wait_reason=WaitReason.EVENT) == []
        assert store.list_due(time_at(9)) == []
        assert ids(store.list_runs(status=RunStatus.RUNNING)) == ["r"]

    # -- time

    @needs(Capability.QUERYABLE)
    def test_due_runs_come_earliest_first(self, store: Store) -> None:
        for name, at in (("c", 30), ("a", 10), ("d", 40), ("b", 20)):
            wait = waiting_for("t", until=time_at(at), reason=WaitReason.UNTIL)
            created(store, name, status=WAITING, waiting=wait)
        assert store.list_due(time_at(9)) == []
        assert store.list_due(time_at(30)) == ["a", "b", "c"]
        assert store.list_due(time_at(99), limit=2) == ["a", "b"]
        assert store.list_due(time_at(99), limit=0) == []
        assert store.next_wake() == time_at(10)

    @needs(Capability.QUERYABLE)
    def test_every_pause_with_a_time_is_due(self, store: Store) -> None:
        limited = waiting_for("k", until=time_at(40))
        created(store, "limited", status=WAITING, waiting=limited)
        created(store, "retried", kernel={"open_steps": {MAIN: retry_at(time_at(20))}})
        created(store, "queued", kernel={"queued_at": time_at(30)})
        created(store, "timer", status=WAITING, waiting=waiting_for("t", until=time_at(10)))
        created(store, "endless", status=WAITING, waiting=waiting_for("k"))
        created(store, "parked")
        assert store.list_due(time_at(99)) == ["timer", "retried", "queued", "limited"]
        assert store.list_due(time_at(20)) == ["timer", "retried"]
        assert store.next_wake() == time_at(10)

    @needs(Capability.QUERYABLE)
    def test_an_ended_run_is_never_due(self, store: Store) -> None:
        script = created(store, "r", kernel={"queued_at": time_at(1)})
        assert store.list_due(time_at(9)) == ["r"]
        # What is left in its checkpoint wakes nobody.
        store.commit(script.commit(status=RunStatus.CANCELLED, error="Cancelled"))
        assert store.list_due(time_at(9)) == []
        assert store.next_wake() is None

    @needs(Capability.QUERYABLE)
    def test_times_of_other_offsets_are_compared_as_times(self, store: Store) -> None:
        for name, until in (
            ("second", "2026-01-01T01:00:10+01:00"),
            ("third", "2025-12-31T19:00:20.5-05:00"),
            ("first", "2026-01-01T00:00:05Z"),
        ):
            created(store, name, status=WAITING, waiting=waiting_for("t", until=until))
        assert store.list_due(time_at(60)) == ["first", "second", "third"]
        assert store.list_due("2026-01-01T02:00:10+02:00") == ["first", "second"]
        assert store.next_wake() == time_at(5)

    @needs(Capability.QUERYABLE)
    def test_nothing_wakes_an_empty_store(self, store: Store) -> None:
        assert store.next_wake() is None
        assert store.list_due(time_at(0)) == []
        assert store.list_runs() == []
        assert store.list_driven() == []
        assert store.list_answered() == []
        assert store.list_children(parent_run_id="r") == []

    # -- drivers and families

    @needs(Capability.QUERYABLE)
    def test_driven_runs_are_the_live_ones_with_a_driver(self, store: Store) -> None:
        driver = Driver("host", "boot", 7, "then", "token")
        script = created(store, "driven", vars={"text": "é" * 9000}, kernel={"driver": driver})
        created(store, "free")
        waiting = {"status": WAITING, "waiting": waiting_for("k"), "kernel": {"driver": driver}}
        created(store, "waits", **waiting)
        ended = created(store, "ended", kernel={"driver": driver})
        store.commit(ended.finish_with({}))
        assert sorted(ids(store.list_driven())) == ["driven", "waits"]
        assert len(store.list_driven(limit=1)) == 1
        found = next(run for run in store.list_driven() if run.run_id == "driven")
        assert found.vars == {}
        assert found.checkpoint is not None
        assert found.checkpoint.driver == driver
        assert found.checkpoint.revision == 1
        store.commit(script.commit(kernel={"driver": None}))
        assert ids(store.list_driven()) == ["waits"]

    @needs(Capability.QUERYABLE)
    def test_children_are_listed_oldest_first(self, store: Store) -> None:
        parent = created(store, "parent")
        creations = [Script("b", parent_run_id="parent", start=5).commit()]
        store.commit(parent.commit(creates=creations))
        first = created(store, "c", parent_run_id="parent", start=3)
        created(store, "a", parent_run_id="parent", start=4)
        created(store, "stranger", parent_run_id="other", start=1)
        assert ids(store.list_children(parent_run_id="parent")) == ["c", "a", "b"]
        first.clock = 99
        store.commit(first.finish_with({"é": 1}))
        assert ids(store.list_children(parent_run_id="parent")) == ["c", "a", "b"]
        running = store.list_children(parent_run_id="parent", status=RunStatus.RUNNING)
        assert ids(running) == ["a", "b"]
        (done,) = store.list_children(parent_run_id="parent", status=RunStatus.COMPLETED)
        assert as_seen(done) == as_seen(first.state)

    @needs(Capability.QUERYABLE)
    def test_a_run_is_found_by_how_its_id_begins(self, store: Store) -> None:
        for run_id in ("abc-1", "abc-2", "abd-1", "a%c"):
            created(store, run_id)
        assert list(store.find_prefix("abd")) == ["abd-1"]
        assert sorted(store.find_prefix("abc")) == ["abc-1", "abc-2"]
        assert list(store.find_prefix("a%")) == ["a%c"]
        assert list(store.find_prefix("x")) == []
        assert len(store.find_prefix("a", limit=2)) == 2
