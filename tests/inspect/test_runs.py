"""Rows, details and ids of runs are read from any store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from abstractruntime import RunState, RunStatus, Runtime, WaitReason, WaitState, open_store
from abstractruntime.authoring import Workflow, ask_user, complete, wait_event
from abstractruntime.core.checkpoint import Checkpoint, Driver, OpenStep
from abstractruntime.errors import InvalidIdentifier, UnknownRun
from abstractruntime.inspect.doctor import examine
from abstractruntime.inspect.runs import detail_of, find_run, list_rows, short_ids, waits_for
from abstractruntime.inspect.standing import standing_of
from abstractruntime.storage.base import Store

NOW = "2026-05-01T12:00:00.000000+00:00"
DRIVER = Driver("host", "boot", 1, "1", "token")

flow = Workflow("flow")


@flow.node
def ask(run):  # type: ignore[no-untyped-def]
    return ask_user("Well?", then=event)


@flow.node
def event(run):  # type: ignore[no-untyped-def]
    return wait_event("news", then=end)


@flow.node
def end(run):  # type: ignore[no-untyped-def]
    return complete({})


@pytest.fixture
def store() -> Store:
    return open_store("memory://")


def run_of(status: RunStatus = RunStatus.RUNNING, **fields: object) -> RunState:
    at = fields.pop("at", Checkpoint(revision=1))
    run = RunState(run_id="r", workflow_id="w", status=status, current_node="n", **fields)  # type: ignore[arg-type]
    return replace(run, checkpoint=at)  # type: ignore[arg-type]


def step(**fields: object) -> OpenStep:
    effect = {"type": "call", "payload": {}, "result_key": None}
    return OpenStep("s", "n", 1, effect, "k", NOW, 1, **fields)  # type: ignore[arg-type]


WAITING = RunStatus.WAITING
USER = WaitState(reason=WaitReason.USER, prompt="Well?")
UNTIL = WaitState(reason=WaitReason.UNTIL, until=NOW)


@pytest.mark.parametrize(
    ("run", "alive", "standing"),
    [
        (run_of(), False, "parked"),
        (run_of(at=Checkpoint(driver=DRIVER)), True, "driven"),
        (run_of(at=Checkpoint(driver=DRIVER)), False, "recoverable"),
        (run_of(at=Checkpoint(queued_at=NOW)), False, "queued"),
        (run_of(at=Checkpoint(open_steps={"": step(wake_at=NOW)})), False, "timed"),
        (run_of(WAITING, waiting=USER), False, "waiting"),
        (run_of(WAITING, waiting=UNTIL), False, "timed"),
        (run_of(RunStatus.FAILED, at=Checkpoint(driver=DRIVER)), True, "ended"),
    ],
)
def test_a_run_stands_in_exactly_one_way(run: RunState, alive: bool, standing: str) -> None:
    assert standing_of(run, live=lambda _: alive) == standing


def test_what_a_run_waits_for_is_a_phrase() -> None:
    assert waits_for(run_of()) == ""
    assert waits_for(run_of(WAITING, waiting=USER)) == "person: Well?"
    assert waits_for(run_of(WAITING, waiting=UNTIL)) == f"until {NOW}"
    event = WaitState(reason=WaitReason.EVENT, wait_key="news")
    assert waits_for(run_of(WAITING, waiting=event)) == "event news"
    child = WaitState(
        reason=WaitReason.SUBWORKFLOW, wait_key="x", details={"sub_run_id": "child-1"}
    )
    assert waits_for(run_of(WAITING, waiting=child)) == "child child-1"
    retry = run_of(at=Checkpoint(open_steps={"": step(wake_at=NOW)}))
    assert waits_for(retry) == f"attempt at {NOW}"


def test_a_detail_holds_the_wait_its_id_and_the_visits(store: Store) -> None:
    runtime = Runtime(store=store)
    run_id = runtime.start(workflow=flow.spec, vars={"a": 1})
    runtime.tick(workflow=flow.spec, run_id=run_id)
    document = detail_of(store, run_id, now=runtime.now_iso()).to_dict()
    assert document["waiting"]["prompt"] == "Well?"
    assert document["wait_id"]
    assert document["visits"] == {"ask": 1}
    assert document["vars"]["a"] == 1
    assert document["standing"] == "waiting"
    with pytest.raises(UnknownRun):
        detail_of(store, "nobody", now=NOW)


def test_rows_are_limited_and_say_whether_there_are_more(store: Store) -> None:
    runtime = Runtime(store=store)
    ids = [runtime.start(workflow=flow.spec) for _ in range(3)]
    rows, more = list_rows(store, now=runtime.now_iso(), limit=2)
    assert (len(rows), more) == (2, True)
    rows, more = list_rows(store, now=runtime.now_iso(), limit=0)
    assert ({row.run_id for row in rows}, more) == (set(ids), False)
    assert list_rows(store, now=NOW, status=RunStatus.FAILED) == ([], False)


def save(store: Store, *run_ids: str) -> None:
    for run_id in run_ids:
        run = RunState(run_id, "w", RunStatus.RUNNING, "n")
        store.run_store.save(run)


def test_an_id_that_begins_another_one_is_found_whole(store: Store) -> None:
    save(store, "order-1", "order-12")
    assert find_run(store, "order-1") == "order-1"
    assert find_run(store, "order-12") == "order-12"
    with pytest.raises(InvalidIdentifier, match="order-12"):
        find_run(store, "order")


def test_short_ids_have_eight_characters_or_as_many_as_tell_them_apart(store: Store) -> None:
    save(store, "aaaaaaaaaa1", "aaaaaaaaaa2", "bbbbbbbbbbb", "c")
    short = short_ids(store, ["aaaaaaaaaa1", "bbbbbbbbbbb", "c"], all_known=False)
    assert short["bbbbbbbbbbb"] == "bbbbbbbb"
    assert short["c"] == "c"
    assert len(short["aaaaaaaaaa1"]) == 11
    for run_id, text in short.items():
        assert find_run(store, text) == run_id


def test_the_doctor_finds_runs_that_contradict_themselves(store: Store) -> None:
    runtime = Runtime(store=store)
    run_id = runtime.start(workflow=flow.spec)
    runtime.tick(workflow=flow.spec, run_id=run_id)
    save(store, "parked")
    health = examine(store, now=runtime.now_iso())
    assert health.ok
    assert health.standings["parked"] == 1
    assert [row.run_id for row in health.parked] == ["parked"]
    assert health.waits == {"user": 1}

    class Bent:
        """The store with a run that is completed and still waits."""

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def list_runs(self, **_: object) -> list[RunState]:
            return [run_of(RunStatus.COMPLETED, waiting=USER)]

    bent = examine(Bent(), now=NOW)  # type: ignore[arg-type]
    assert not bent.ok
    assert "open wait" in bent.troubles[0].faults[0]
    assert "no output" in bent.troubles[0].faults[1]
