"""The store contract, seventh concern: an atomic store as the api's RunStore and LedgerStore."""

from __future__ import annotations

import pytest

from abstractruntime.core.models import (
    Effect,
    RunState,
    RunStatus,
    StepRecord,
    WaitReason,
    WaitState,
)
from abstractruntime.errors import NotJson, RevisionConflict
from abstractruntime.storage.base import Capability, QueryableRunStore, Store
from abstractruntime.testing.commits import as_seen, time_at, waiting_for
from abstractruntime.testing.contract_base import (
    ContractBase,
    assert_refused,
    created,
    loaded,
    needs,
)


def new_run(**vars: object) -> RunState:
    return RunState.new(workflow_id="flow", entry_node="first", vars=dict(vars))


class ViewsContract(ContractBase):
    """A host saves and lists; what it does is journaled."""

    @needs(Capability.ATOMIC)
    def test_a_saved_run_is_a_run_of_the_store(self, store: Store) -> None:
        run = new_run(a=1, b={"é": [1]})
        store.run_store.save(run)
        found = loaded(store, run.run_id)
        assert (found.vars, found.workflow_id, found.status) == (run.vars, "flow", run.status)
        assert found.checkpoint is not None
        assert found.checkpoint.revision == 1
        assert as_seen(found) == as_seen(store.run_store.load(run.run_id) or run)
        assert store.run_store.load("nobody") is None

    @needs(Capability.ATOMIC)
    def test_an_edit_changes_public_fields_and_is_journaled(self, store: Store) -> None:
        script = created(store, "r", vars={"a": 1})
        store.commit(script.begin({"text": "x"}))
        run = loaded(store, "r")
        run.vars["a"] = 2
        store.run_store.save(run)
        found = loaded(store, "r")
        assert found.vars == {"a": 2}
        assert found.checkpoint is not None
        assert found.checkpoint.revision == 3
        assert found.checkpoint.open_steps == script.checkpoint.open_steps
        (edited,) = store.list_records("r", after=2)
        assert edited["result"]["kind"] == "edited"

    @needs(Capability.ATOMIC)
    def test_an_object_may_be_saved_again_and_again(self, store: Store) -> None:
        created(store, "r", vars={"n": 0})
        run = store.run_store.load("r")
        assert run is not None
        for n in range(1, 4):
            run.vars["n"] = n
            store.run_store.save(run)
        assert loaded(store, "r").vars == {"n": 3}

    @needs(Capability.ATOMIC)
    def test_a_stale_object_is_refused(self, store: Store) -> None:
        script = created(store, "r", vars={"n": 0})
        stale = loaded(store, "r")
        store.commit(script.commit(vars={"n": 1}))
        stale.vars["mine"] = True
        with pytest.raises(RevisionConflict) as caught:
            store.run_store.save(stale)
        assert (caught.value.where["expected"], caught.value.where["found"]) == (1, 2)
        assert loaded(store, "r").vars == {"n": 1}

    @needs(Capability.ATOMIC)
    def test_an_object_without_a_revision_overwrites(self, store: Store) -> None:
        script = created(store, "r", vars={"n": 0})
        store.commit(script.commit(vars={"n": 1}))
        run = loaded(store, "r")
        run.checkpoint = None
        run.vars = {"mine": True}
        store.run_store.save(run)
        assert loaded(store, "r").vars == {"mine": True}
        assert_refused(store, script.commit(), found=3)

    @needs(Capability.ATOMIC)
    def test_an_edit_of_any_public_field_is_stored(self, store: Store) -> None:
        created(store, "r")
        run = loaded(store, "r")
        run.status, run.output, run.error = RunStatus.FAILED, {"é": 1}, "text"
        run.workflow_id, run.actor_id, run.session_id = "other", "somebody", None
        store.run_store.save(run)
        found = loaded(store, "r")
        assert (found.status, found.output, found.error) == (run.status, {"é": 1}, "text")
        assert (found.workflow_id, found.actor_id, found.session_id) == ("other", "somebody", None)

    @needs(Capability.ATOMIC)
    def test_a_save_that_changes_nothing_writes_nothing(self, store: Store) -> None:
        created(store, "r", vars={"a": [1]})
        store.run_store.save(loaded(store, "r"))
        checkpoint = loaded(store, "r").checkpoint
        assert checkpoint is not None
        assert checkpoint.revision == 1
        assert store.list_records("r") == []

    @needs(Capability.ATOMIC)
    def test_what_is_no_json_is_refused_with_its_path(self, store: Store) -> None:
        created(store, "r", vars={"a": 1})
        run = loaded(store, "r")
        run.vars["bad"] = {"x": [float("nan")]}
        with pytest.raises(NotJson) as caught:
            store.run_store.save(run)
        assert "bad" in caught.value.where["path"]
        assert loaded(store, "r").vars == {"a": 1}

    @needs(Capability.ATOMIC, Capability.QUERYABLE)
    def test_the_view_of_runs_can_be_queried(self, store: Store) -> None:
        runs = store.run_store
        assert isinstance(runs, QueryableRunStore)
        until = WaitState(WaitReason.UNTIL, until=time_at(20))
        created(store, "later", status=RunStatus.WAITING, waiting=until)
        created(
            store, "soon", status=RunStatus.WAITING, waiting=waiting_for("t", until=time_at(10))
        )
        created(store, "retried", kernel={"queued_at": time_at(1)})
        created(store, "child", parent_run_id="later")
        due = runs.list_due_wait_until(now_iso=time_at(30))
        assert [run.run_id for run in due] == ["soon", "later"]
        assert [run.run_id for run in runs.list_due_wait_until(now_iso=time_at(30), limit=1)] == [
            "soon"
        ]
        assert runs.list_due_wait_until(now_iso=time_at(5)) == []
        children = runs.list_children(parent_run_id="later")
        assert [run.run_id for run in children] == ["child"]
        waiting = runs.list_runs(status=RunStatus.WAITING, wait_reason=WaitReason.UNTIL)
        assert [run.run_id for run in waiting] == ["later"]

    @needs(Capability.ATOMIC)
    def test_a_record_can_be_appended_to_a_run(self, store: Store) -> None:
        script = created(store, "r", vars={"a": 1})
        store.commit(script.commit(records=[script.note("moved")]))
        record = StepRecord.start(
            run=loaded(store, "r"), node_id="first", effect=Effect("call", {"é": 1})
        )
        store.ledger_store.append(record)
        found = store.ledger_store.list("r")
        assert [entry["step_id"] for entry in found] == ["r-n1", record.step_id]
        assert found[1]["effect"]["payload"] == {"é": 1}
        assert loaded(store, "r").vars == {"a": 1}
        assert store.ledger_store.list("nobody") == []
