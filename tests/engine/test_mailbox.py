"""Messages reach the wait they are for: before it, while it is open, from before the run exists."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from abstractruntime import Effect, RunStatus, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.canonical import MAX_BYTES
from abstractruntime.errors import (
    DuplicateRun,
    InvalidIdentifier,
    InvalidInput,
    LimitExceeded,
    NotJson,
    RunEnded,
    UnsupportedByStore,
)
from abstractruntime.storage.paired import PairedStore
from tests.contract.plain_stores import AsdictLedger, AsdictRuns
from tests.engine.conftest import World


def reader(count: int = 1, **payload: Any) -> WorkflowSpec:
    """Hears `count` messages, one after another, and ends with all of them."""
    effect = Effect("wait_event", {"wait_key": "k", **payload}, "last")

    def hear(run: Any, ctx: Any) -> StepPlan:
        heard = run.vars.setdefault("heard", [])
        if "last" in run.vars:
            heard.append(run.vars.pop("last"))
        if len(heard) >= count:
            return StepPlan("hear", complete_output={"heard": heard})
        return StepPlan("hear", effect)

    return WorkflowSpec("reader", "hear", {"hear": hear})


def resumptions(world: World, run_id: str) -> list[dict[str, Any]]:
    ledger = world.runtime.get_ledger(run_id)
    said = [record["result"] for record in ledger if record["effect"] is None]
    return [result for result in said if result and result.get("kind") == "resumed"]


def test_messages_from_before_the_run_its_first_step_and_its_wait_come_in_order(
    world: World,
) -> None:
    work = reader(4)
    world.runtime.send("run-1", "k", "before the run")
    world.runtime.start(workflow=work, run_id="run-1")
    world.runtime.send("run-1", "k", "before its first step")
    state = world.tick(work, "run-1")
    assert state.status is RunStatus.WAITING
    world.runtime.send("run-1", "other", "for another wait")
    world.runtime.send("run-1", "k", "while it waits")
    assert world.tick(work, "run-1").vars["heard"][-1] == "while it waits"
    ended = world.resume(work, "run-1", "an answer")
    assert ended.output == {
        "heard": ["before the run", "before its first step", "while it waits", "an answer"]
    }
    (dead,) = world.runtime.list_dead_letters("run-1")
    assert dead.message.payload == "for another wait"
    assert dead.reason == "the run ended before it was read: completed"
    assert world.runtime.list_messages("run-1") == []


def test_a_message_that_is_there_costs_no_stop_and_no_commit(world: World) -> None:
    work = reader(1)
    world.runtime.send("r", "k", 1)
    world.runtime.start(workflow=work, run_id="r")
    state = world.tick(work, "r")
    assert state.output == {"heard": [1]}
    assert state.checkpoint is not None
    assert state.checkpoint.revision == 2


def test_the_record_of_the_move_names_the_message_its_sender_and_its_wait(world: World) -> None:
    work = reader()
    run_id = world.start(work)
    waits = world.tick(work, run_id)
    assert waits.checkpoint is not None
    (opened,) = waits.checkpoint.waits.values()
    message_id = world.runtime.send(run_id, "k", {"n": 1}, actor_id="someone")
    assert world.runtime.get_state(run_id) == waits, "a message changes nothing of its run"
    world.tick(work, run_id)
    assert resumptions(world, run_id) == [
        {
            "kind": "resumed",
            "wait_key": "k",
            "wait_id": opened.wait_id,
            "cause": "message",
            "message_id": message_id,
            "sender": "someone",
            "payload": {"n": 1},
        }
    ]


def test_the_same_dedupe_key_twice_is_one_message_also_after_it_was_read(world: World) -> None:
    work = reader(2)
    run_id = world.start(work)
    first = world.runtime.send(run_id, "k", 1, dedupe_key="d")
    assert world.runtime.send(run_id, "k", 2, dedupe_key="d") == first
    assert [m.payload for m in world.runtime.list_messages(run_id)] == [1]
    assert world.tick(work, run_id).vars["heard"] == [1]
    assert world.runtime.send(run_id, "k", 3, dedupe_key="d") == first
    assert world.tick(work, run_id).status is RunStatus.WAITING
    world.runtime.send(run_id, "k", 4, dedupe_key="e")
    assert world.tick(work, run_id).output == {"heard": [1, 4]}
    assert world.runtime.send(run_id, "k", 5, dedupe_key="d") == first, "a late repeat is no error"
    with pytest.raises(RunEnded):
        world.runtime.send(run_id, "k", 6)


def test_messages_are_read_whoever_moves_the_run_between_them(world: World) -> None:
    """Each tick is another flow, and one of them reads many at once."""
    work = reader(200)
    world.runtime.start(workflow=work, run_id="r")
    for n in range(30):
        world.runtime.send("r", "k", n)
        if n % 3 == 0:
            world.make()
            world.tick(work, "r")
    for n in range(30, 200):
        world.runtime.send("r", "k", n)
    state = world.tick(work, "r", max_steps=1000)
    assert state.output == {"heard": list(range(200))}
    assert state.checkpoint is not None
    assert state.checkpoint.revision < 60, "moves by messages share commits"
    assert world.store.list_messages("r") == []


def test_people_and_jobs_are_never_answered_by_messages(world: World) -> None:
    def ask(run: Any, ctx: Any) -> StepPlan:
        if "said" in run.vars:
            return StepPlan("ask", complete_output=run.vars["said"])
        return StepPlan("ask", Effect("ask_user", {"prompt": "?", "wait_key": "k"}, "said"))

    work = WorkflowSpec("ask", "ask", {"ask": ask})
    run_id = world.start(work)
    world.runtime.send(run_id, "k", "early")
    state = world.tick(work, run_id)
    world.runtime.send(run_id, "k", "late")
    assert world.tick(work, run_id) == state
    assert world.store.list_answered() == []
    assert world.resume(work, run_id, {"a": "person"}).output == {"a": "person"}


def test_a_wait_for_several_names_takes_the_oldest_and_says_which_it_was(world: World) -> None:
    work = reader(3, wait_key=None, wait_keys=["a", "b"])
    run_id = world.start(work)
    for name, payload in (("b", 1), ("c", 2), ("a", 3)):
        world.runtime.send(run_id, name, payload)
    state = world.tick(work, run_id)
    assert state.waiting is not None
    assert (state.waiting.wait_key, state.waiting.details) == ("a", {"wait_keys": ["a", "b"]})
    ended = world.resume(work, run_id, 4, wait_key="b")
    assert ended.output == {
        "heard": [
            {"wait_key": "b", "payload": 1},
            {"wait_key": "a", "payload": 3},
            {"wait_key": "b", "payload": 4},
        ]
    }
    assert [said["wait_key"] for said in resumptions(world, run_id)] == ["b", "a", "b"]


@pytest.mark.parametrize("keys", [[], "a", [""], ["a", 1], ["x" * 257], ["k"] * 257])
def test_keys_that_are_none_fail_the_step(world: World, keys: Any) -> None:
    state = world.run(reader(1, wait_key=None, wait_keys=keys))
    assert state.status is RunStatus.FAILED
    assert "wait_keys" in str(state.error)


# ---- who is reached


def test_emit_reaches_every_run_that_waits_for_it_now(world: World) -> None:
    work = reader()
    waiting = [world.run(work).run_id for _ in range(3)]
    other = world.run(reader(1, wait_key="other")).run_id
    several = world.run(reader(1, wait_key=None, wait_keys=["x", "k"])).run_id
    started = world.start(work)
    assert world.runtime.emit("k", {"n": 1}, dedupe_key="d") == 4
    assert world.runtime.emit("k", {"n": 2}, dedupe_key="d") == 0, "they heard it"
    assert world.runtime.emit("nobody waits for this") == 0
    for run_id in waiting:
        assert world.tick(work, run_id).output == {"heard": [{"n": 1}]}
    assert world.tick(work, several).output == {"heard": [{"wait_key": "k", "payload": {"n": 1}}]}
    assert [world.runtime.list_messages(each) for each in (other, started)] == [[], []]
    assert world.runtime.emit("k") == 0


def test_the_awaiting_verbs_do_the_same(world: World) -> None:
    async def talk() -> int:
        run_id = await world.runtime.astart(workflow=work, run_id="r")
        await asyncio.gather(*(world.runtime.asend(run_id, "k", n) for n in range(2)))
        await world.runtime.atick(workflow=work, run_id=run_id)
        return await world.runtime.aemit("k", "emitted")

    work = reader(3)
    assert asyncio.run(talk()) == 1
    heard = world.tick(work, "r").output
    assert heard is not None
    assert sorted(heard["heard"], key=str) == [0, 1, "emitted"]


# ---- what expires, what is refused


def test_an_expired_message_is_never_delivered_and_named_as_a_dead_letter(world: World) -> None:
    work = reader()
    run_id = world.start(work)
    world.runtime.send(run_id, "k", "brief", ttl_s=5)
    world.runtime.send(run_id, "k", "lasting", ttl_s=50)
    assert len(world.runtime.list_messages(run_id)) == 2
    world.clock.forward(5)
    (letter,) = world.runtime.list_dead_letters(run_id)
    assert letter.message.payload == "brief"
    assert letter.reason == "expired at 2026-01-01T00:00:05.000000+00:00"
    assert world.tick(work, run_id).output == {"heard": ["lasting"]}
    assert [dead.message.payload for dead in world.runtime.list_dead_letters(run_id)] == ["brief"]


@pytest.mark.parametrize("ttl_s", [0, -1, float("inf"), float("nan"), True, "5"])
def test_a_ttl_that_is_no_time_is_refused(world: World, ttl_s: Any) -> None:
    with pytest.raises(InvalidInput, match="ttl_s"):
        world.runtime.send("r", "k", 1, ttl_s=ttl_s)


def test_what_cannot_be_sent_is_refused_and_nothing_is_kept(world: World) -> None:
    for fault, name, payload in (
        (InvalidIdentifier, "", 1),
        (InvalidIdentifier, "x" * 257, 1),
        (NotJson, "k", {"x": {1}}),
        (NotJson, "k", float("nan")),
        (LimitExceeded, "k", "x" * (MAX_BYTES - 1)),
    ):
        with pytest.raises(fault):
            world.runtime.send("r", name, payload)
    with pytest.raises(InvalidIdentifier):
        world.runtime.send("", "k", 1)
    with pytest.raises(InvalidIdentifier):
        world.runtime.send("r", "k", 1, dedupe_key="")
    assert world.runtime.list_messages("r") == []
    world.runtime.send("r", "k", "x" * (MAX_BYTES - 2))


def test_a_message_that_the_run_cannot_hold_fails_it_and_is_kept(world: World) -> None:
    work = reader(1)
    deep = {"wait_key": "k"}

    def hear(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("hear", Effect("wait_event", deep, ".".join(["a"] * 150)), "hear")

    work = WorkflowSpec("deep", "hear", {"hear": hear})
    payload: Any = 1
    for _ in range(100):
        payload = [payload]
    run_id = world.start(work)
    world.runtime.send(run_id, "k", payload)
    state = world.tick(work, run_id)
    assert state.status is RunStatus.FAILED
    assert "cannot be stored" in str(state.error)
    assert len(world.runtime.list_dead_letters(run_id)) == 1


def test_a_pair_of_a_users_own_stores_says_that_it_has_no_mailbox() -> None:
    runtime = Runtime(store=PairedStore(AsdictRuns(), AsdictLedger()))
    work = reader()
    run_id = runtime.start(workflow=work)
    with pytest.raises(UnsupportedByStore, match="has no mailbox"):
        runtime.send(run_id, "k", 1)
    assert runtime.tick(workflow=work, run_id=run_id).status is RunStatus.WAITING
    ended = runtime.resume(workflow=work, run_id=run_id, wait_key="k", payload=1)
    assert ended.output == {"heard": [1]}


# ---- starting once


def test_a_run_id_of_the_callers_is_started_once(world: World) -> None:
    work = reader()
    assert world.runtime.start(workflow=work, run_id="mine", vars={"n": 1}) == "mine"
    before = world.runtime.get_state("mine")
    with pytest.raises(DuplicateRun):
        world.runtime.start(workflow=work, run_id="mine")
    same = world.runtime.start(workflow=work, run_id="mine", on_duplicate="return", vars={"n": 2})
    assert same == "mine"
    assert world.runtime.get_state("mine") == before
    other = WorkflowSpec("other", "hear", work.nodes)
    with pytest.raises(DuplicateRun, match="reader"):
        world.runtime.start(workflow=other, run_id="mine", on_duplicate="return")


@pytest.mark.parametrize("given", [{"run_id": ""}, {"run_id": "x" * 257}, {"on_duplicate": "?"}])
def test_a_start_that_cannot_be_is_refused(world: World, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        world.runtime.start(workflow=reader(), **given)
