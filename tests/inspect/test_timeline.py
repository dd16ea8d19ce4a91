"""A ledger is read as steps with attempts and durations, and counted."""

from __future__ import annotations

import pytest

from abstractruntime import DefaultEffectPolicy, Runtime, open_store
from abstractruntime.authoring import Workflow, ask_user, call, complete, goto
from abstractruntime.inspect.timeline import each_record, summarise, timeline
from abstractruntime.storage.base import Store

flow = Workflow("flow")


@flow.node
def begin(run):  # type: ignore[no-untyped-def]
    return goto(work)


@flow.node
def work(run):  # type: ignore[no-untyped-def]
    return call(shaky, name="ann", into="done", then=ask)


@flow.node
def ask(run):  # type: ignore[no-untyped-def]
    return ask_user("Good?", then=end)


@flow.node
def end(run):  # type: ignore[no-untyped-def]
    return complete({})


attempts: list[int] = []


@flow.function
def shaky(name, step):  # type: ignore[no-untyped-def]
    attempts.append(step.attempt)
    if step.attempt == 1:
        raise ValueError("not yet")
    return name


@pytest.fixture
def finished() -> tuple[Store, str]:
    store = open_store("memory://")
    policy = DefaultEffectPolicy(default_max_attempts=2, default_backoff_base=0.0)
    runtime = Runtime(store=store, effect_policy=policy)
    run_id = runtime.start(workflow=flow.spec)
    state = runtime.tick(workflow=flow.spec, run_id=run_id)
    assert state.waiting is not None
    runtime.resume(workflow=flow.spec, run_id=run_id, wait_key=None, payload={"text": "yes"})
    return store, run_id


def test_steps_are_listed_once_with_their_attempts(finished: tuple[Store, str]) -> None:
    store, run_id = finished
    steps = timeline(each_record(store, run_id))
    assert [(step.node, step.what, step.status) for step in steps] == [
        ("begin", "moved", "completed"),
        ("work", "call", "completed"),
        ("ask", "ask_user", "waiting"),
        ("ask", "resumed", "completed"),
        ("end", "completed", "completed"),
    ]
    worked, asked = steps[1], steps[2]
    assert worked.attempts == 2
    assert worked.about == 'shaky(name="ann")'
    assert worked.seconds is not None
    assert asked.waited_s is not None
    assert steps[0].about == "to work"


def test_a_ledger_is_counted_in_one_pass(finished: tuple[Store, str]) -> None:
    store, run_id = finished
    summary = summarise(each_record(store, run_id))
    assert summary.steps == 2
    assert summary.effects == {"call": 1}
    assert (summary.waits, summary.answers, summary.failed_attempts) == (1, 1, 1)
    assert summary.moves == {"moved": 1, "resumed": 1, "completed": 1}
    assert summary.records == len(store.list_records(run_id))


def test_a_ledger_is_read_page_by_page(
    finished: tuple[Store, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run_id = finished
    whole = store.list_records(run_id)
    monkeypatch.setattr("abstractruntime.inspect.timeline.PAGE", 1)
    assert list(each_record(store, run_id)) == whole
    assert list(each_record(store, run_id, after=2)) == [
        record for record in whole if record["revision"] > 2
    ]
    assert list(each_record(store, "nobody")) == []


def test_a_ledger_that_begins_in_the_middle_of_a_step_is_read(
    finished: tuple[Store, str],
) -> None:
    store, run_id = finished
    outcome = [r for r in store.list_records(run_id) if r["status"] == "completed" and r["effect"]]
    (step,) = timeline(outcome)
    assert (step.what, step.status, step.attempts) == ("call", "completed", 2)
