"""Undos: registered with their effects, performed in reverse when the run does not complete."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import (
    Effect,
    EffectOutcome,
    Retry,
    RunState,
    RunStatus,
    Scheduler,
    StepPlan,
    Workflow,
    WorkflowSpec,
)
from abstractruntime.authoring import call, complete, result_of, undo_by
from abstractruntime.core.checkpoint import Terms
from abstractruntime.errors import NeedsResolve, OutcomeUnknown
from tests.engine.conftest import World


def saga(n: int = 4, **undo: Any) -> WorkflowSpec:
    """`n` bookings, each with an undo that names the id it was given."""

    def node(i: int) -> Any:
        taken_back = Effect("unbook", {"of": i, "id": {"$result": "id"}}, **undo)
        effect = Effect("book", {"seat": i}, f"seat{i}", undo=taken_back)
        after = f"n{i + 1}" if i < n else "end"
        return lambda run, ctx: StepPlan(f"n{i}", effect, after)

    nodes = {f"n{i}": node(i) for i in range(1, n + 1)}
    nodes["end"] = lambda run, ctx: StepPlan("end", complete_output={"ok": True})
    return WorkflowSpec("saga", "n1", nodes)


class Desk:
    """Books and unbooks; says what it is told to say at a seat."""

    def __init__(self, world: World, **at: Any) -> None:
        self.booked: list[int] = []
        self.taken_back: list[tuple[int, Any]] = []
        self.keys: list[str] = []
        self.at = at
        world.make(effect_handlers={"book": self.book, "unbook": self.unbook})

    def book(self, run: RunState, effect: Effect, step: Any) -> EffectOutcome:
        seat = effect.payload["seat"]
        said = self.at.get(f"book{seat}")
        if said is not None:
            return said(step)
        self.booked.append(seat)
        return EffectOutcome.completed({"id": f"b{seat}"})

    def unbook(self, run: RunState, effect: Effect, step: Any) -> EffectOutcome:
        seat = effect.payload["of"]
        said = self.at.get(f"unbook{seat}")
        if said is not None:
            said(step)
        self.taken_back.append((seat, effect.payload["id"]))
        self.keys.append(step.key)
        return EffectOutcome.completed({"gone": seat})


def failing(step: Any) -> EffectOutcome:
    return EffectOutcome.failed("no seat left")


def terms_of(world: World, run_id: str) -> Terms:
    at = world.runtime.get_state(run_id).checkpoint
    assert at is not None
    return at.terms


def test_a_failed_run_takes_back_what_it_did_in_reverse_and_ends_with_its_error(
    world: World,
) -> None:
    desk = Desk(world, book4=failing)
    state = world.run(saga(6))
    assert state.status is RunStatus.FAILED
    assert state.error == "Effect failed after 1 attempts: no seat left"
    assert desk.taken_back == [(3, "b3"), (2, "b2"), (1, "b1")]
    undone = [r for r in world.runtime.get_ledger(state.run_id) if r.get("branch")]
    assert [(r["node_id"], r["branch"], r["status"]) for r in undone] == [
        (f"n{i}", f"undo:{i}", status) for i in (3, 2, 1) for status in ("started", "completed")
    ]
    assert undone[0]["effect"]["payload"] == {"of": 3, "id": "b3"}
    keys = {r["idempotency_key"] for r in world.runtime.get_ledger(state.run_id) if r["effect"]}
    assert len(keys) == 7, "each has a key of its own"
    assert world.kinds(state.run_id)[-2:] == ["ending", "ended"]
    assert terms_of(world, state.run_id) == Terms()


def test_a_run_that_completes_forgets_its_undos(world: World) -> None:
    desk = Desk(world)
    state = world.run(saga(2))
    assert (state.status, desk.taken_back) == (RunStatus.COMPLETED, [])
    assert terms_of(world, state.run_id) == Terms()


def test_a_node_that_raises_takes_everything_back_too(world: World) -> None:
    desk = Desk(world)
    work = saga(2)

    def raises(run: Any, ctx: Any) -> StepPlan:
        raise RuntimeError("broken")

    work.nodes["end"] = raises  # type: ignore[index]
    state = world.run(work)
    assert (state.status, state.error) == (
        RunStatus.FAILED,
        "Node 'end' raised RuntimeError: broken",
    )
    assert [seat for seat, _ in desk.taken_back] == [2, 1]


def test_what_may_have_been_done_is_taken_back_without_its_result(world: World) -> None:
    def unknown(step: Any) -> EffectOutcome:
        raise OutcomeUnknown("the line went dead")

    desk = Desk(world, book2=unknown)
    assert world.run(saga(3)).status is RunStatus.FAILED
    assert desk.taken_back == [(2, None), (1, "b1")]


def waits(work: WorkflowSpec, node: str = "end") -> WorkflowSpec:
    work.nodes[node] = lambda run, ctx: StepPlan(  # type: ignore[index]
        node, Effect("wait_event", {"wait_key": "go"}), node
    )
    return work


def test_a_cancelled_run_is_cancelling_until_everything_is_taken_back(world: World) -> None:
    desk = Desk(world)
    work = waits(saga(3))
    run_id = world.run(work).run_id
    asked = world.runtime.cancel_run(run_id, reason="enough", actor_id="ann")
    assert asked.status is RunStatus.RUNNING
    assert terms_of(world, run_id).phase == "cancelling"
    assert world.store.list_due(world.clock.now) == [run_id]
    assert world.runtime.cancel_run(run_id, reason="again") == asked
    state = world.tick(work, run_id)
    assert (state.status, state.error) == (RunStatus.CANCELLED, "enough")
    assert [seat for seat, _ in desk.taken_back] == [3, 2, 1]
    last = world.runtime.get_ledger(run_id)[-1]
    assert (last["result"]["kind"], last["result"]["reason"]) == ("cancelled", "enough")
    assert last["actor_id"] == "ann"


def test_a_scheduler_finishes_a_cancel_with_something_to_take_back(world: World) -> None:
    desk = Desk(world)
    work = waits(saga(3))
    world.registry.register(work)
    run_id = world.run(work).run_id
    world.runtime.cancel_run(run_id, reason="enough")
    scheduler = Scheduler(runtime=world.runtime, registry=world.registry)
    assert scheduler.poll_once() == 1
    assert world.runtime.get_state(run_id).status is RunStatus.CANCELLED
    assert [seat for seat, _ in desk.taken_back] == [3, 2, 1]
    assert scheduler.poll_once() == 0


def test_an_effect_that_goes_elsewhere_when_it_fails_needs_no_undo(world: World) -> None:
    desk = Desk(world, book1=failing, book2=failing)
    undo = Effect("unbook", {"of": 1, "id": None})
    retry = Retry(attempts=1, on_exhausted="n2")
    first = Effect("book", {"seat": 1}, undo=undo, retry=retry)
    work = saga(2)
    work.nodes["n1"] = lambda run, ctx: StepPlan("n1", first, "end")  # type: ignore[index]
    state = world.run(work)
    assert (state.status, desk.taken_back) == (RunStatus.FAILED, [])
    assert world.kinds(state.run_id) == ["undo_registered", "undo_dropped"] * 2


def test_an_undo_of_a_step_that_may_not_be_repeated_is_resolved_like_one(world: World) -> None:
    class Died(BaseException):
        pass

    def dies(step: Any) -> None:
        if "revived" not in desk.at:
            raise Died

    desk = Desk(world, book3=failing, unbook2=dies)
    work = saga(3, delivery="at_most_once")
    run_id = world.start(work)
    with pytest.raises(Died):
        world.tick(work, run_id)
    state = world.tick(work, run_id)
    assert state.status is RunStatus.WAITING
    desk.at["revived"] = True
    world.runtime.resolve(run_id, outcome=EffectOutcome.completed(None))
    assert world.tick(work, run_id).status is RunStatus.FAILED
    assert [seat for seat, _ in desk.taken_back] == [1]


def test_an_undo_is_tried_again_by_its_own_options(world: World) -> None:
    tries: list[int] = []

    def twice(step: Any) -> None:
        tries.append(step.attempt)
        if step.attempt < 3:
            raise RuntimeError("busy")

    desk = Desk(world, book2=failing, unbook1=twice)
    work = saga(2, retry=Retry(attempts=3, backoff_s=0))
    assert world.run(work).status is RunStatus.FAILED
    assert (tries, desk.taken_back) == ([1, 2, 3], [(1, "b1")])


def stuck(world: World) -> tuple[Desk, WorkflowSpec, str]:
    """A run whose second undo fails as often as it is tried, until somebody mends it."""

    def fails(step: Any) -> None:
        if "mended" not in desk.at:
            raise RuntimeError("refused")

    desk = Desk(world, book4=failing, unbook2=fails)
    work = saga(4)
    state = world.run(work)
    assert state.status is RunStatus.WAITING
    assert state.waiting is not None
    assert "The undo failed after 1 attempts" in (state.waiting.prompt or "")
    assert terms_of(world, state.run_id).phase == "failing"
    assert [seat for seat, _ in desk.taken_back] == [3]
    return desk, work, state.run_id


def test_an_undo_that_fails_for_good_stops_the_run_until_somebody_has_looked(
    world: World,
) -> None:
    desk, work, run_id = stuck(world)
    with pytest.raises(NeedsResolve):
        world.resume(work, run_id, "done")
    assert world.tick(work, run_id).status is RunStatus.WAITING
    desk.at["mended"] = True
    world.runtime.resolve(run_id, outcome="retry")
    assert world.tick(work, run_id).error == "Effect failed after 1 attempts: no seat left"
    assert [seat for seat, _ in desk.taken_back] == [3, 2, 1]


@pytest.mark.parametrize("word", ["fail", EffectOutcome.completed(None)])
def test_somebody_may_say_that_an_undo_is_not_needed_or_was_done_by_hand(
    world: World, word: Any
) -> None:
    desk, work, run_id = stuck(world)
    said = world.runtime.resolve(run_id, outcome=word, actor_id="ann")
    assert said.status is RunStatus.RUNNING
    assert world.store.list_due(world.clock.now) == [run_id]
    assert world.tick(work, run_id).error == "Effect failed after 1 attempts: no seat left"
    assert [seat for seat, _ in desk.taken_back] == [3, 1]


def test_a_deadline_that_passes_takes_everything_back(world: World) -> None:
    from dataclasses import replace

    from abstractruntime.core.machine.draft import Draft
    from abstractruntime.engine.operations.change import change

    desk = Desk(world)
    work = waits(saga(2))
    run_id = world.run(work).run_id

    def bound(draft: Draft) -> bool:
        draft.terms = replace(draft.terms, deadline=world.clock.now)
        draft.note("bounded", line_id="line", now=world.clock.now)
        return True

    world.runtime._drive(lambda _: change(world.runtime._settings, run_id, bound))
    world.clock.forward(1)
    state = world.tick(work, run_id)
    assert state.status is RunStatus.FAILED
    assert (state.error or "").startswith("The run's deadline passed")
    assert [seat for seat, _ in desk.taken_back] == [2, 1]


def test_a_pause_holds_the_undos(world: World) -> None:
    desk = Desk(world)
    work = waits(saga(2))
    run_id = world.run(work).run_id
    world.runtime.cancel_run(run_id)
    world.runtime.pause_run(run_id)
    assert world.tick(work, run_id).status is RunStatus.RUNNING
    assert desk.taken_back == []
    world.runtime.unpause_run(run_id)
    assert world.tick(work, run_id).status is RunStatus.CANCELLED
    assert [seat for seat, _ in desk.taken_back] == [2, 1]


def test_undos_of_a_workflow_call_its_functions(world: World) -> None:
    wf = Workflow("trip")
    taken_back: list[Any] = []

    @wf.function
    def reserve(seat: int) -> dict[str, Any]:
        return {"booking": {"id": seat * 10}}

    @wf.function
    def release(booking: int, whole: Any) -> None:
        taken_back.append((booking, whole))

    @wf.function
    def pay() -> None:
        raise RuntimeError("no money")

    @wf.node
    def start(run: RunState) -> Any:
        undo = undo_by(release, booking=result_of("booking.id"), whole=result_of())
        return call(reserve, seat=7, then=charge, undo=undo)

    @wf.node
    def charge(run: RunState) -> Any:
        return call(pay, then=end)

    @wf.node
    def end(run: RunState) -> Any:
        return complete()

    state = world.run(wf.spec)
    assert state.status is RunStatus.FAILED
    assert "no money" in (state.error or "")
    assert taken_back == [(70, {"booking": {"id": 70}})]


@pytest.mark.parametrize(
    "undo",
    [
        Effect("wait_event", {"wait_key": "k"}),
        Effect("wait_until", {}),
        Effect("a", {}, undo=Effect("b")),
        Effect("a", {"x": {1}}),
        "unbook",
    ],
)
def test_an_undo_that_cannot_be_is_refused_before_its_effect(world: World, undo: Any) -> None:
    desk = Desk(world)
    effect = Effect("book", {"seat": 1}, undo=undo)
    work = WorkflowSpec("w", "a", {"a": lambda run, ctx: StepPlan("a", effect, "a")})
    state = world.run(work)
    assert (state.status, desk.booked) == (RunStatus.FAILED, [])
    assert "undo" in (state.error or "")
