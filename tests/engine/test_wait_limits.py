"""Waits with a time limit: what happens when nobody came, and to who comes late."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import Effect, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.errors import NotWaiting, StaleAnswer
from tests.engine.conftest import World

KINDS = {
    "wait_event": {"wait_key": "k"},
    "ask_user": {"prompt": "Well?", "wait_key": "k"},
}


def limited(kind: str, **payload: Any) -> WorkflowSpec:
    """Waits once, and says where it went and with what."""
    effect = Effect(kind, {**KINDS[kind], **payload}, "said")

    def end(name: str) -> Any:
        return lambda run, ctx: StepPlan(
            name, complete_output={"at": name, "said": run.vars.get("said")}
        )

    nodes = {"wait": lambda run, ctx: StepPlan("wait", effect, "done"), "done": end("done")}
    return WorkflowSpec("limited", "wait", {**nodes, "late": end("late")})


@pytest.mark.parametrize("kind", KINDS)
def test_a_wait_shows_its_limit_and_is_due_then(world: World, kind: str) -> None:
    work = limited(kind, timeout_s=60)
    state = world.run(work)
    until = "2026-01-01T00:01:00.000000+00:00"
    assert state.waiting is not None
    assert state.waiting.until == until
    assert world.store.next_wake() == until
    world.clock.forward(59)
    assert world.store.list_due(world.clock.now) == []
    assert world.tick(work, state.run_id) == state
    world.clock.forward(1)
    assert world.store.list_due(world.clock.now) == [state.run_id]
    ended = world.tick(work, state.run_id)
    assert ended.output == {"at": "done", "said": {"timeout": True}}
    said = world.runtime.get_ledger(state.run_id)[-2]["result"]
    assert (said["kind"], said["cause"], said["wait_key"]) == ("resumed", "timeout", "k")


@pytest.mark.parametrize("kind", KINDS)
def test_a_late_wait_goes_to_its_own_node(world: World, kind: str) -> None:
    work = limited(kind, until="2026-01-01T01:01:00+01:00", timeout_node="late")
    state = world.run(work)
    world.clock.forward(60)
    assert world.tick(work, state.run_id).output == {"at": "late", "said": {"timeout": True}}


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_in_time_ends_the_limit(world: World, kind: str) -> None:
    work = limited(kind, timeout_s=60, timeout_node="late")
    state = world.run(work)
    world.clock.forward(61)  # its time is over, but nobody has said so yet: the first commit wins
    ended = world.resume(work, state.run_id, {"text": "yes"}, wait_key="k")
    assert ended.output == {"at": "done", "said": {"text": "yes"}}
    assert world.store.next_wake() is None


@pytest.mark.parametrize("kind", KINDS)
def test_who_answers_late_is_told(world: World, kind: str) -> None:
    work = limited(kind, timeout_s=60)
    state = world.run(work)
    assert state.checkpoint is not None
    (opened,) = state.checkpoint.waits.values()
    world.clock.forward(60)
    world.tick(work, state.run_id)
    with pytest.raises(NotWaiting):
        world.resume(work, state.run_id, {}, wait_key="k", wait_id=opened.wait_id)


def test_who_answers_a_wait_that_opened_again_is_told(world: World) -> None:
    def again(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("again", Effect("wait_event", {"wait_key": "k", "timeout_s": 60}))

    work = WorkflowSpec("w", "again", {"again": again})
    state = world.run(work)
    assert state.checkpoint is not None
    (opened,) = state.checkpoint.waits.values()
    world.clock.forward(60)
    assert world.tick(work, state.run_id).status is RunStatus.WAITING
    with pytest.raises(StaleAnswer):
        world.resume(work, state.run_id, {}, wait_id=opened.wait_id)


def test_a_message_sent_in_time_is_heard_though_nobody_looked_in_time(world: World) -> None:
    work = limited("wait_event", timeout_s=60, timeout_node="late")
    state = world.run(work)
    world.clock.forward(59)
    world.runtime.send(state.run_id, "k", "in time")
    world.clock.forward(60)
    assert world.tick(work, state.run_id).output == {"at": "done", "said": "in time"}


def test_a_late_message_stays_readable(world: World) -> None:
    work = limited("wait_event", timeout_s=60, timeout_node="second")
    again = Effect("wait_event", {"wait_key": "k"}, "said")
    second = {"second": lambda run, ctx: StepPlan("second", again, "done")}
    work = WorkflowSpec("limited", "wait", {**work.nodes, **second})
    state = world.run(work)
    world.clock.forward(60)
    world.runtime.send(state.run_id, "k", "late")
    ended = world.tick(work, state.run_id)
    assert ended.output == {"at": "done", "said": "late"}, "the next wait for it hears it"
    causes = [
        record["result"]["cause"]
        for record in world.runtime.get_ledger(state.run_id)
        if record["effect"] is None and (record["result"] or {}).get("kind") == "resumed"
    ]
    assert causes == ["timeout", "message"]


def test_a_limit_that_is_past_when_the_wait_opens_ends_it_at_once(world: World) -> None:
    work = limited("wait_event", until="2025-12-31T23:59:59Z", timeout_node="late")
    assert world.run(work).output == {"at": "late", "said": {"timeout": True}}
    run_id = world.start(work)
    world.runtime.send(run_id, "k", "early, but after the limit")
    assert world.tick(work, run_id).output == {"at": "late", "said": {"timeout": True}}


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"timeout_s": 0}, "payload.timeout_s must be seconds above 0"),
        ({"timeout_s": True}, "payload.timeout_s must be seconds above 0"),
        ({"timeout_s": "5"}, "payload.timeout_s must be seconds above 0"),
        ({"timeout_s": 1e300}, "out of range"),
        ({"until": "2026-01-01T00:00:00"}, "payload.until has no offset"),
        ({"timeout_s": 1, "until": "2026-01-01T00:00:00Z"}, "not both"),
        ({"timeout_node": "late"}, "payload.timeout_node needs"),
        ({"timeout_s": 1, "timeout_node": "nowhere"}, "payload.timeout_node names no node"),
        ({"timeout_s": 1, "timeout_node": 5}, "payload.timeout_node names no node"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_that_makes_no_sense_fails_the_step(
    world: World, kind: str, payload: dict[str, Any], error: str
) -> None:
    state = world.run(limited(kind, **payload))
    assert state.status is RunStatus.FAILED
    assert error in str(state.error)
