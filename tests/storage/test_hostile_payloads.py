"""Whatever a value is, wherever it is given: it comes back exactly, or one error names its path."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, EffectOutcome, RunStatus, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.canonical import encode
from abstractruntime.errors import LimitExceeded, NotJson
from abstractruntime.storage.base import Store
from tests.engine.conftest import STORES, open_kind
from tests.storage.hostile_values import CASES, MAX_BYTES, MAX_DEPTH, doubling, exactly, nested

SECONDS = 1.0


class Refusal(Exception):
    """The value was refused, in whatever way the place has; its text names the path."""


Place = Callable[[Store, Any, str], Any]
"""Gives a value to a run on the store, at a key; what the store shows of it afterwards."""


def spec_of(node: Callable[..., StepPlan]) -> WorkflowSpec:
    def end(run: Any, context: Any) -> StepPlan:
        return StepPlan("end", complete_output={"done": True})

    return WorkflowSpec("w", "n", {"n": node, "end": end})


def ran(store: Store, node: Callable[..., StepPlan], **handlers: Any) -> tuple[Runtime, str]:
    runtime = Runtime(store=store, effect_handlers=handlers)
    run_id = runtime.start(workflow=spec_of(node))
    state = runtime.tick(workflow=spec_of(node), run_id=run_id)
    if state.status is RunStatus.FAILED:
        assert state.error is not None
        assert runtime.get_state(run_id).error == state.error
        raise Refusal(state.error)
    return runtime, run_id


def as_vars(store: Store, value: Any, key: str) -> Any:
    runtime = Runtime(store=store)
    spec = spec_of(lambda run, context: StepPlan("n", next_node="end"))
    run_id = runtime.start(workflow=spec, vars={key: value})
    return runtime.get_state(run_id).vars[key]


def as_payload(store: Store, value: Any, key: str) -> Any:
    given: list[Any] = []

    def echo(run: Any, effect: Effect) -> EffectOutcome:
        given.append(effect.payload[key])
        return EffectOutcome.completed()

    def node(run: Any, context: Any) -> StepPlan:
        return StepPlan("n", Effect("echo", {key: value}), "end")

    runtime, run_id = ran(store, node, echo=echo)
    shown = runtime.get_ledger(run_id)[0]["effect"]["payload"][key]
    assert exactly(given[0], shown)
    return shown


def as_result(store: Store, value: Any, key: str) -> Any:
    def echo(run: Any, effect: Effect) -> EffectOutcome:
        return EffectOutcome.completed({key: value})

    def node(run: Any, context: Any) -> StepPlan:
        return StepPlan("n", Effect("echo", {}, "kept"), "end")

    runtime, run_id = ran(store, node, echo=echo)
    done = [record for record in runtime.get_ledger(run_id) if record["status"] == "completed"]
    shown = runtime.get_state(run_id).vars["kept"][key]
    assert exactly(done[0]["result"][key], shown)
    return shown


def as_answer(store: Store, value: Any, key: str) -> Any:
    def node(run: Any, context: Any) -> StepPlan:
        return StepPlan("n", Effect("wait_event", {"wait_key": "k"}, "kept"), "end")

    runtime, run_id = ran(store, node)
    try:
        runtime.resume(workflow=spec_of(node), run_id=run_id, wait_key="k", payload={key: value})
    except (NotJson, LimitExceeded):
        assert runtime.get_state(run_id).status is RunStatus.WAITING
        raise
    return runtime.get_state(run_id).vars["kept"][key]


def as_output(store: Store, value: Any, key: str) -> Any:
    def node(run: Any, context: Any) -> StepPlan:
        return StepPlan("n", complete_output={key: value})

    runtime, run_id = ran(store, node)
    return runtime.get_state(run_id).output[key]


PLACES: dict[str, tuple[Place, str]] = {
    "vars": (as_vars, "$.vars.v"),
    "payload": (as_payload, "$.effect.payload.v"),
    "result": (as_result, "$.result.v"),
    "answer": (as_answer, "$.payload.v"),
    "output": (as_output, "$.complete_output.v"),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with open_kind(request.param, tmp_path) as store:
        yield store


def given(place: str, store: Store, value: Any) -> tuple[Any, str | None, float]:
    """What came back, or the text of the refusal; and how long it took."""
    begin = time.perf_counter()
    try:
        back, text = PLACES[place][0](store, value, "v"), None
    except (Refusal, NotJson, LimitExceeded) as error:
        back, text = None, str(error)
    return back, text, time.perf_counter() - begin


@pytest.mark.parametrize("place", PLACES)
def test_a_value_comes_back_exactly_or_its_path_is_named(store: Store, place: str) -> None:
    slowest, failures, counts = (0.0, ""), [], {True: 0, False: 0}
    for case in CASES:
        back, text, taken = given(place, store, case.make())
        slowest = max(slowest, (taken, case.name))
        counts[case.taken] += 1
        if case.back is not None:
            if text is not None or not exactly(back, case.back()):
                failures.append(f"{case.name}: {text}")
        elif text is None or PLACES[place][1] + case.at not in text:
            failures.append(f"{case.name} is not refused at {case.at}: {text}")
    print(
        f"{place} on {store.url}: {counts[True]} values came back, {counts[False]} were refused; "
    )
    print(f"  slowest {slowest[0]:.3f} s ({slowest[1]})")
    assert failures == []
    assert slowest[0] < SECONDS, slowest


@pytest.mark.parametrize("place", PLACES)
def test_the_limit_of_depth_is_the_same_everywhere(store: Store, place: str) -> None:
    """A value of 200 levels is taken, in an object of its own or as a variable; not one of 201."""
    levels = MAX_DEPTH if place == "vars" else MAX_DEPTH - 1
    for less in (1, 0):
        value = nested(levels - less, "leaf")
        back, text, _ = given(place, store, value)
        assert text is None, text
        assert exactly(back, value)
    back, text, _ = given(place, store, nested(levels + 1, "leaf"))
    assert text is not None
    assert "nested too deep" in text
    print(f"{place} on {store.url}: {levels} levels are taken, {levels + 1} are refused")


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_the_limit_of_size_is_the_same_everywhere(store: Store, place: str) -> None:
    room = MAX_BYTES - (2 if place == "vars" else len('{"v":""}'))
    value = "x" * (room - 2) + "é"
    back, text, most = given(place, store, value)
    assert text is None, text
    assert back == value
    _, text, least = given(place, store, value + "x")
    assert text is not None
    assert f"the limit is {MAX_BYTES}" in text
    print(f"{place} on {store.url}: 16 MiB took {most:.2f} s, one byte more {least:.2f} s")


@pytest.mark.parametrize(
    "key", ["a.b.c", "kept", "kept.x", "text.x", "list.0", "__class__.__dict__", "é.\x00", "a..b"]
)
def test_a_dotted_result_key_makes_the_objects_on_its_way(store: Store, key: str) -> None:
    def node(run: Any, context: Any) -> StepPlan:
        run.vars.update(text="text", list=[1], kept={"y": 1})
        return StepPlan("n", Effect("echo", {}, key), "end")

    runtime, run_id = ran(store, node, echo=lambda run, effect: EffectOutcome.completed({"v": 1}))
    expected: Any = {"text": "text", "list": [1], "kept": {"y": 1}}
    at = expected
    *way, last = key.split(".")
    for name in way:
        at[name] = at[name] if isinstance(at.get(name), dict) else {}
        at = at[name]
    at[last] = {"v": 1}
    found = runtime.get_state(run_id).vars
    del found["_limits"]
    assert found == expected


@pytest.mark.slow
@pytest.mark.xfail(strict=True, reason="each of the 8 million copies that fit in 16 MiB is walked")
def test_containers_that_double_are_refused_at_once() -> None:
    begin = time.perf_counter()
    with pytest.raises(LimitExceeded):
        encode(doubling(100))
    taken = time.perf_counter() - begin
    print(f"refused after {taken:.1f} s")
    assert taken < SECONDS
