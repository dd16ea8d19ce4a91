"""Runs and ledgers in memory."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.models import (
    Effect,
    EffectType,
    RunState,
    RunStatus,
    StepRecord,
    WaitReason,
    WaitState,
)
from abstractruntime.errors import InvalidTime, NotJson, RevisionConflict
from abstractruntime.storage import InMemoryLedgerStore, InMemoryRunStore, QueryableRunStore


def run(run_id: str, **fields: Any) -> RunState:
    return RunState(
        **{"workflow_id": "wf", "status": RunStatus.RUNNING, "current_node": "n", **fields},
        run_id=run_id,
    )


def at(minute: int) -> str:
    return f"2026-01-01T00:{minute:02}:00.000000+00:00"


def waiting(run_id: str, reason: WaitReason, **wait: Any) -> RunState:
    return run(run_id, status=RunStatus.WAITING, waiting=WaitState(reason, **wait))


def test_an_unknown_run_is_none() -> None:
    assert InMemoryRunStore().load("nobody") is None


def test_a_run_comes_back_equal_with_every_field() -> None:
    store = InMemoryRunStore()
    saved = run(
        "r",
        vars={"text": "é\u0000", "number": 2**70, "nested": {"list": [1, None, 1.5]}},
        waiting=WaitState(
            WaitReason.USER, "k", None, "n", "answer", "Why?", ["a"], False, {"d": 1}
        ),
        status=RunStatus.WAITING,
        output={"o": 1},
        error="e",
        actor_id="a",
        session_id="s",
        parent_run_id="p",
        checkpoint=Checkpoint(revision=3, visits={"n": 2}, entered=True),
    )
    store.save(saved)
    assert store.load("r") == saved


def test_what_is_stored_shares_nothing_with_what_was_given_or_what_is_handed_out() -> None:
    store = InMemoryRunStore()
    given = run("r", vars={"items": [1]})
    store.save(given)
    given.vars["items"].append(2)
    first = store.load("r")
    assert first is not None
    first.vars["items"].append(3)
    second = store.load("r")
    assert second is not None
    assert second.vars == {"items": [1]}


def test_what_json_cannot_hold_is_refused_with_its_path_and_nothing_is_stored() -> None:
    store = InMemoryRunStore()
    with pytest.raises(NotJson) as caught:
        store.save(run("r", vars={"when": {"at": object()}}))
    assert caught.value.where["path"] == "$.vars.when.at"
    assert store.load("r") is None


def test_saving_again_replaces_the_run() -> None:
    store = InMemoryRunStore()
    store.save(run("r", current_node="a"))
    store.save(run("r", current_node="b"))
    loaded = store.load("r")
    assert loaded is not None
    assert loaded.current_node == "b"


def test_a_stale_object_is_refused_and_names_both_revisions() -> None:
    store = InMemoryRunStore()
    store.save(run("r", checkpoint=Checkpoint(revision=5)))
    with pytest.raises(RevisionConflict) as caught:
        store.save(run("r", current_node="lost", checkpoint=Checkpoint(revision=4)))
    assert caught.value.where == {"run_id": "r", "expected": 4, "found": 5}
    loaded = store.load("r")
    assert loaded is not None
    assert loaded.current_node == "n"


@pytest.mark.parametrize("revision", [5, 6])
def test_an_object_as_new_as_the_stored_one_or_newer_is_saved(revision: int) -> None:
    store = InMemoryRunStore()
    store.save(run("r", checkpoint=Checkpoint(revision=5)))
    newer = run("r", current_node="m", checkpoint=Checkpoint(revision=revision))
    store.save(newer)
    assert store.load("r") == newer


def test_a_run_without_a_checkpoint_overwrites_and_leaves_the_kernels_fields_alone() -> None:
    store = InMemoryRunStore()
    kernel = Checkpoint(revision=5, visits={"n": 3}, entered=True)
    store.save(run("r", checkpoint=kernel))
    store.save(run("r", current_node="edited"))
    loaded = store.load("r")
    assert loaded is not None
    # The edit has a revision of its own, above that of the commit beneath it.
    after = replace(kernel, revision=6)
    assert (loaded.current_node, loaded.checkpoint) == ("edited", after)
    assert loaded.checkpoint is not None
    assert loaded.checkpoint.last_commit == 5


def test_an_edit_makes_what_was_loaded_before_it_stale_and_its_own_object_current() -> None:
    store = InMemoryRunStore()
    store.save(run("r", checkpoint=Checkpoint(revision=5, visits={"n": 3})))
    one, other = store.load("r"), store.load("r")
    assert one is not None
    assert other is not None
    one.checkpoint = replace(one.checkpoint, visits={})  # type: ignore[type-var]
    for node in ("first", "second"):
        one.current_node = node
        store.save(one)
    with pytest.raises(RevisionConflict):
        store.save(other)
    stored = store.load("r")
    assert stored is not None
    assert stored.current_node == "second"
    assert stored.checkpoint == one.checkpoint == Checkpoint(revision=7, visits={"n": 3})


def test_the_store_can_be_queried() -> None:
    assert isinstance(InMemoryRunStore(), QueryableRunStore)


def test_runs_are_listed_newest_first_by_all_that_is_asked_for() -> None:
    store = InMemoryRunStore()
    store.save(run("old", updated_at=at(1)))
    store.save(run("new", updated_at=at(3), workflow_id="other"))
    user = waiting("user", WaitReason.USER)
    user.updated_at = at(2)
    store.save(user)
    assert [each.run_id for each in store.list_runs()] == ["new", "user", "old"]
    assert [each.run_id for each in store.list_runs(status=RunStatus.RUNNING)] == ["new", "old"]
    assert [each.run_id for each in store.list_runs(wait_reason=WaitReason.USER)] == ["user"]
    assert [each.run_id for each in store.list_runs(workflow_id="other")] == ["new"]
    assert store.list_runs(status=RunStatus.WAITING, workflow_id="other") == []
    assert [each.run_id for each in store.list_runs(limit=2)] == ["new", "user"]
    assert store.list_runs(limit=0) == []


def test_at_most_a_hundred_runs_are_listed_unless_more_are_asked_for() -> None:
    store = InMemoryRunStore()
    for number in range(120):
        store.save(run(str(number)))
    assert len(store.list_runs()) == 100
    assert len(store.list_runs(limit=1000)) == 120


def test_due_runs_are_listed_earliest_first_whatever_the_offset_of_their_time() -> None:
    store = InMemoryRunStore()
    store.save(waiting("later", WaitReason.UNTIL, until=at(30)))
    store.save(waiting("second", WaitReason.UNTIL, until=at(10)))
    # 01:05 two hours east of Greenwich was 23:05 the day before.
    store.save(waiting("first", WaitReason.UNTIL, until="2026-01-01T01:05:00+02:00"))
    store.save(waiting("event", WaitReason.EVENT, until=at(11)))
    store.save(waiting("forever", WaitReason.EVENT))
    store.save(run("running"))
    due = store.list_due_wait_until(now_iso=at(11))
    assert [each.run_id for each in due] == ["first", "second", "event"]
    assert [each.run_id for each in store.list_due_wait_until(now_iso=at(30), limit=1)] == ["first"]
    assert store.list_due_wait_until(now_iso="2025-12-31T23:04:59Z") == []


def test_a_run_is_due_at_its_very_time() -> None:
    store = InMemoryRunStore()
    store.save(waiting("r", WaitReason.UNTIL, until=at(10)))
    assert store.list_due_wait_until(now_iso="2026-01-01T00:09:59.999999+00:00") == []
    assert len(store.list_due_wait_until(now_iso=at(10))) == 1


def test_a_time_that_is_none_is_never_due_and_asking_by_one_is_refused() -> None:
    store = InMemoryRunStore()
    store.save(waiting("r", WaitReason.UNTIL, until="tomorrow"))
    assert store.list_due_wait_until(now_iso=at(59)) == []
    with pytest.raises(InvalidTime):
        store.list_due_wait_until(now_iso="2026-01-01T00:00:00")


def test_children_are_listed_oldest_first_by_parent_and_status() -> None:
    store = InMemoryRunStore()
    store.save(run("b", parent_run_id="p", created_at=at(2)))
    store.save(run("a", parent_run_id="p", created_at=at(1), status=RunStatus.COMPLETED))
    store.save(run("c", parent_run_id="q", created_at=at(0)))
    assert [each.run_id for each in store.list_children(parent_run_id="p")] == ["a", "b"]
    done = store.list_children(parent_run_id="p", status=RunStatus.COMPLETED)
    assert [each.run_id for each in done] == ["a"]
    assert store.list_children(parent_run_id="nobody") == []


# ---- ledgers


def record(run_id: str, note: str) -> StepRecord:
    effect = Effect(EffectType.LLM_CALL, {"note": note})
    return StepRecord.start(run=run(run_id), node_id="n", effect=effect)


def notes(store: InMemoryLedgerStore, run_id: str) -> list[str]:
    return [each["effect"]["payload"]["note"] for each in store.list(run_id)]


def test_an_unknown_ledger_is_empty() -> None:
    store = InMemoryLedgerStore()
    assert store.list("nobody") == []
    assert store.last("nobody") is None


def test_records_come_back_in_order_by_run_with_the_apis_keys() -> None:
    store = InMemoryLedgerStore()
    store.append(record("r", "one"))
    store.append(record("s", "other"))
    store.append_many([record("r", "two"), record("r", "three")])
    assert notes(store, "r") == ["one", "two", "three"]
    assert notes(store, "s") == ["other"]
    assert store.last("r") == store.list("r")[-1]
    assert list(store.list("r")[0]) == [
        "run_id",
        "step_id",
        "node_id",
        "status",
        "effect",
        "result",
        "error",
        "started_at",
        "ended_at",
        "actor_id",
        "session_id",
        "attempt",
        "idempotency_key",
        "prev_hash",
        "record_hash",
        "signature",
    ]


def test_a_ledger_shares_nothing_with_its_readers_and_writers() -> None:
    store = InMemoryLedgerStore()
    given = record("r", "one")
    store.append(given)
    given.finish_failure("changed")
    store.list("r")[0]["effect"]["payload"]["note"] = "changed"
    assert notes(store, "r") == ["one"]
    assert store.list("r")[0]["status"] == "started"


def test_of_records_appended_together_all_are_there_or_none() -> None:
    store = InMemoryLedgerStore()
    bad = record("r", "bad")
    bad.result = {"when": object()}
    with pytest.raises(NotJson):
        store.append_many([record("r", "good"), bad])
    assert store.list("r") == []


def test_threads_that_append_lose_no_record() -> None:
    store = InMemoryLedgerStore()

    def append(name: str) -> None:
        for number in range(50):
            store.append(record("r", f"{name}{number}"))

    threads = [threading.Thread(target=append, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = notes(store, "r")
    assert [each for each in kept if each[0] == "a"] == [f"a{number}" for number in range(50)]
    assert len(kept) == 100
