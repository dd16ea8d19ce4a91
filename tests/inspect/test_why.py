"""Why a run stands where it does, read as a person would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    EffectOutcome,
    Retry,
    Runtime,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
    open_store,
)
from abstractruntime.errors import UnknownRun
from abstractruntime.inspect.explain import explain
from abstractruntime.inspect.spans import lasting
from abstractruntime.inspect.why import Why, why
from abstractruntime.storage.base import Store
from tests.engine.conftest import Clock


class Died(BaseException):
    """The process ends here."""


class Place:
    """A store, a clock, and what is asked of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.registry = WorkflowRegistry()

    def runtime(self, **handlers: Callable[..., Any]) -> Runtime:
        return Runtime(
            store=self.store,
            context=self.clock,
            workflow_registry=self.registry,
            effect_handlers=dict(handlers),
        )

    def run(self, spec: WorkflowSpec, **handlers: Callable[..., Any]) -> str:
        runtime = self.runtime(**handlers)
        run_id = runtime.start(workflow=spec, run_id="c0ffee52-0000")
        runtime.tick(workflow=spec, run_id=run_id)
        return run_id

    def why(self, run_id: str) -> Why:
        return why(self.store, run_id, now=self.clock.now)

    def said(self, run_id: str) -> str:
        return explain(self.why(run_id), now=self.clock.now)

    def next(self, run_id: str) -> list[tuple[str, ...]]:
        return [way.words for way in self.why(run_id).ways]


@pytest.fixture(params=["memory://", "sqlite:///{}/runs.db", "files:///{}"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    store = open_store(request.param.format(tmp_path))
    yield Place(store)
    store.close()


def plan(*effects: Effect, **options: Any) -> WorkflowSpec:
    """One effect at node 'a', or several at once."""

    def node(run: Any, ctx: Any) -> StepPlan:
        if len(effects) == 1:
            return StepPlan("a", effects[0], "b")
        return StepPlan("a", effects=effects, next_node="b", into="all", **options)

    return WorkflowSpec(
        "orders", "a", {"a": node, "b": lambda run, ctx: StepPlan("b", complete_output={})}
    )


def waits_for(key: str, **more: Any) -> WorkflowSpec:
    return plan(Effect("wait_event", {"wait_key": key, **more}))


def asks(prompt: str, **more: Any) -> Effect:
    return Effect("ask_user", {"prompt": prompt, **more})


def boom(run: Any, effect: Any) -> EffectOutcome:
    return EffectOutcome.failed("the bank is closed")


def dies(run: Any, effect: Any) -> EffectOutcome:
    raise Died


def test_a_typo_in_the_key_is_named_with_the_key_that_was_meant(place: Place) -> None:
    run_id = place.run(waits_for("payment:received"))
    place.clock.forward(60)
    place.runtime().send(run_id, "payment:recieved", {"sum": 7})
    place.runtime().send(run_id, "weather", "rain")
    place.clock.forward(120)
    assert place.said(run_id) == (
        "Run c0ffee52 (orders) waits at node 'a'. "
        "It waits for the message 'payment:received' since 00:00:00 UTC (3 minutes). "
        "A message came as 'payment:recieved' 2 minutes ago and is unread: "
        "is 'payment:received' meant? Unread under other names: 'weather'."
    )
    assert place.next(run_id)[0] == (
        "send", "c0ffee52", "payment:received", "--payload", '{"sum":7}'
    )  # fmt: skip


def test_another_spelling_of_the_key_counts_as_a_typo(place: Place) -> None:
    run_id = place.run(waits_for("Payment"))
    place.runtime().send(run_id, "payment ", 1)
    assert place.why(run_id).unread[0].meant == "Payment"


def test_messages_that_are_there_need_somebody_to_move_the_run(place: Place) -> None:
    run_id = place.run(waits_for("go"))
    place.runtime().send(run_id, "go", 1)
    assert "1 such message is there: it goes on when a scheduler" in place.said(run_id)


def test_a_message_that_expired_is_told(place: Place) -> None:
    run_id = place.run(waits_for("go"))
    place.runtime().send(run_id, "go", 1, ttl_s=5)
    place.clock.forward(6)
    assert "1 came, but expired before it was read." in place.said(run_id)


def test_a_wait_whose_time_is_over_and_that_nobody_moved(place: Place) -> None:
    run_id = place.run(waits_for("approval", timeout_s=3600))
    assert "It gives up waiting at 01:00:00 UTC, in 1 hour." in place.said(run_id)
    place.clock.forward(3600 + 120)
    said = place.said(run_id)
    assert "Its time limit (01:00:00 UTC, 2 minutes ago) is over" in said
    assert "no scheduler or worker is running" in said


def test_a_timer_says_when_it_goes_on(place: Place) -> None:
    run_id = place.run(plan(Effect("wait_until", {"until": "2026-01-03T10:00:00+00:00"})))
    assert place.said(run_id) == (
        "Run c0ffee52 (orders) waits at node 'a'. It waits until 2026-01-03 10:00 UTC, in 2 days."
    )
    assert place.next(run_id) == [("continue", "c0ffee52", "--wait")]


def test_a_question_is_shown_with_its_choices_and_how_to_answer(place: Place) -> None:
    run_id = place.run(plan(asks("Deploy?", choices=["yes", "no"])))
    place.clock.forward(2)
    said = place.said(run_id)
    assert "It waits for a person since 00:00:00 UTC (2 seconds): “Deploy?”" in said
    assert "Choices: yes, no." in said
    assert place.next(run_id)[0] == ("answer", "c0ffee52", "yes")


def test_a_retry_that_paused_itself_says_what_failed_and_how_to_go_on(place: Place) -> None:
    retry = Retry(attempts=2, backoff_s=0, on_exhausted="pause")
    run_id = place.run(plan(Effect("pay", {}, retry=retry)), pay=boom)
    place.clock.forward(300)
    assert place.said(run_id) == (
        "Run c0ffee52 (orders) is paused at node 'a'. It paused itself 5 minutes ago: "
        "Effect failed after 2 attempts: the bank is closed. Once unpaused it tries again. "
        "Attempt 2 at 'pay' failed 5 minutes ago: the bank is closed. "
        "Attempt 3 waits for the pause to end."
    )
    assert place.next(run_id)[0] == ("unpause", "c0ffee52")


def test_a_pause_says_who_and_why(place: Place) -> None:
    run_id = place.run(waits_for("go"))
    place.runtime().pause_run(run_id, reason="audit", actor_id="ann")
    place.clock.forward(7)
    said = place.said(run_id)
    assert "It was paused by ann 7 seconds ago: audit." in said
    assert "what it waits for stays open" in said
    assert "It waits for the message 'go'" in said


def test_between_two_attempts_it_says_when_the_next_is_due(place: Place) -> None:
    spec = plan(Effect("pay", {}, retry=Retry(attempts=3, backoff_s=30)))
    first = waits_for("go").nodes["a"]
    nodes = {"first": lambda run, ctx: replace(first(run, ctx), node_id="first", next_node="a")}
    spec = replace(spec, entry_node="first", nodes={**spec.nodes, **nodes})
    run_id = place.run(spec, pay=boom)
    runtime = place.runtime(pay=boom)
    runtime.send(run_id, "go", 1)
    # Schedulers leave backoffs to the clock.
    asyncio.run(runtime.amove(find=lambda _: spec, run_id=run_id))
    said = place.said(run_id)
    assert "is between two attempts at node 'a'" in said
    assert "Attempt 1 at 'pay' failed less than a second ago: the bank is closed." in said
    assert "Attempt 2 is due at 00:00:30 UTC, in 30 seconds." in said
    place.clock.forward(90)
    assert "Attempt 2 has been due for 1 minute" in place.said(run_id)


def test_a_missing_handler_is_named_with_what_to_do(place: Place) -> None:
    run_id = place.run(plan(Effect("fax", {})))
    said = place.said(run_id)
    assert "failed less than a second ago at node 'a'" in said
    assert "has no handler for the effect 'fax'" in said
    assert "effect_handlers={'fax': …}" in said
    assert ("reopen", "c0ffee52") in place.next(run_id)


def test_a_missing_function_is_named_with_what_to_do(place: Place) -> None:
    run_id = place.run(plan(Effect("call", {"function": "louder"})))
    assert "The workflow has no function 'louder'" in place.said(run_id)


def lost(place: Place, **options: Any) -> str:
    with pytest.raises(Died):
        place.run(plan(Effect("pay", {}, **options)), pay=dies)
    return "c0ffee52-0000"


@pytest.mark.parametrize(
    ("delivery", "then"),
    [
        (None, "that is done again, with the same idempotency key"),
        ("at_most_once", "it is not done twice"),
    ],
)
def test_a_lost_worker_is_named_with_what_becomes_of_its_step(
    place: Place, delivery: str | None, then: str
) -> None:
    run_id = lost(place, delivery=delivery)
    place.clock.forward(600)
    said = place.said(run_id)
    assert "stopped at node 'a' because whoever moved it died." in said
    assert "which last wrote 10 minutes ago. Nothing is lost" in said
    assert f"It was performing 'pay'; {then}" in said
    assert place.next(run_id) == [("continue", "c0ffee52")]


def test_a_live_worker_is_named(place: Place) -> None:
    run_id = lost(place)
    found = why(place.store, run_id, now=place.clock.now, live=lambda _: True)
    said = explain(found, now=place.clock.now)
    assert "is being moved at node 'a'. It is in the hands of process " in said
    assert "It has been performing 'pay' for less than a second." in said


def test_an_unknown_outcome_says_how_to_resolve_it(place: Place) -> None:
    run_id = lost(place, delivery="at_most_once")
    place.runtime(pay=boom).tick(workflow=plan(Effect("pay", {})), run_id=run_id)
    said = place.said(run_id)
    assert "It was performing pay at node 'a' when it was cut short" in said
    assert "nobody knows whether that was done" in said
    assert "Find out, then say which" in said
    assert place.next(run_id) == [
        ("resolve", "c0ffee52", "--completed", "{}"),
        ("resolve", "c0ffee52", "--retry"),
        ("resolve", "c0ffee52", "--fail"),
    ]


def test_a_parked_run_is_its_programs(place: Place) -> None:
    run_id = place.runtime().start(workflow=waits_for("go"), run_id="c0ffee52-0000")
    said = place.said(run_id)
    assert "is moved by the program that started it, step by step" in said
    assert "schedulers leave it alone" in said


def test_open_branches_are_counted_and_the_first_told(place: Place) -> None:
    effects = [asks(f"{n}?") for n in range(5)] + [Effect("pay", {}), Effect("ship", {})]
    run_id = place.run(
        plan(*effects, failures=1), pay=boom, ship=lambda run, effect: EffectOutcome.completed(1)
    )
    said = place.said(run_id)
    assert "Of 7 branches 1 is done, 1 failed, 5 are open." in said
    assert "Branch 0 waits for a person" in said
    assert "Branch 3" not in said
    assert "2 more branches wait." in said
    assert place.next(run_id)[1] == ("answer", "c0ffee52", "your answer", "--to", "1")


def test_a_child_that_waits_is_told_with_what_it_waits_for(place: Place) -> None:
    child = replace(plan(asks("Who?")), workflow_id="child")
    place.registry.register(child)
    run_id = place.run(plan(Effect("start_subworkflow", {"workflow_id": "child"})))
    said = place.said(run_id)
    assert "It waits for its child run " in said
    assert "The child in turn waits for a person." in said
    assert place.next(run_id)[0][0] == "answer"


def test_runs_that_have_ended_say_so(place: Place) -> None:
    done = place.run(plan(Effect("pay", {})), pay=lambda run, effect: EffectOutcome.completed(1))
    assert place.said(done).endswith("completed less than a second ago and waits for nothing.")
    other = place.runtime().start(workflow=waits_for("go"))
    place.runtime().cancel_run(other, reason="not needed")
    assert "was cancelled less than a second ago: not needed." in place.said(other)


def test_what_a_run_says_cannot_disturb_a_terminal(place: Place) -> None:
    run_id = place.run(plan(asks("\x1b[31mred\n?")))
    assert "\x1b" not in place.said(run_id)
    assert "\n" not in place.said(run_id)


def test_a_run_that_is_not_there(place: Place) -> None:
    with pytest.raises(UnknownRun):
        place.why("gone")


def test_all_parts_are_json(place: Place) -> None:
    run_id = place.run(plan(asks("a"), asks("b")))
    parts = json.loads(json.dumps(place.why(run_id).to_dict()))
    assert [wait["branch"] for wait in parts["waits"]] == ["0", "1"]
    assert parts["join"]["total"] == 2


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (7300, "2 hours"),
        (90000, "1 day"),
        (800 * 86400, "2 years"),
    ],
)
def test_lengths_of_time_have_one_unit(seconds: float, said: str) -> None:
    assert lasting(seconds) == said
