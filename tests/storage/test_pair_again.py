"""A pair that dies again while it settles what a crash left: the next look settles it the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from abstractruntime import Effect, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.models import RunState, RunStatus, record_from_dict
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore, verify_ledger_chain
from abstractruntime.storage.paired import PairedStore
from abstractruntime.storage.paired_look import innermost
from abstractruntime.testing.commits import Script, evidence_of, time_at
from abstractruntime.testing.contract_base import created, loaded
from tests.contract.plain_stores import AsdictLedger, AsdictRuns, DictLedger, DictRuns, ObjectRuns
from tests.storage.broken_stores import Breaker, Died

KINDS: dict[str, tuple[Callable[[], RunStore], Callable[[], LedgerStore]]] = {
    "keeps all": (AsdictRuns, AsdictLedger),
    "drops revisions": (ObjectRuns, DictLedger),
    "drops checkpoints": (DictRuns, AsdictLedger),
    "drops both": (DictRuns, DictLedger),
    "chained": (DictRuns, lambda: HashChainedLedgerStore(DictLedger())),
}


class Scene:
    """Two stores of a user, each of whose writes may be a process's last."""

    def __init__(self, kind: str) -> None:
        runs, ledger = KINDS[kind]
        self.runs, self.ledger = runs(), ledger()
        self.breaker = Breaker()
        self.breaker.watch(self.runs, "save")
        self.breaker.watch(innermost(self.ledger), "append")

    def opened(self) -> PairedStore:
        """The pair as a new process sees it."""
        return PairedStore(self.runs, self.ledger, clock=lambda: time_at(500))

    def dies(
        self, call: int, does: Callable[[PairedStore], object], *, after: bool = False
    ) -> None:
        """A new process dies at its call-th write, if it makes so many."""
        store = self.opened()
        self.breaker.break_at(call, after=after)
        with suppress(Died):
            does(store)
        self.breaker.mend()


@pytest.fixture(params=list(KINDS))
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


def looks(store: PairedStore) -> None:
    store.load("r")


def opened_step(scene: Scene) -> Script:
    """A run whose node has changed vars and planned a step; the run was not saved after it."""
    script = created(scene.opened(), "r", vars={"n": 1})
    commit = script.begin({"prompt": "é"}, vars={"n": 2})
    scene.dies(2, lambda store: store.commit(commit))
    return script


def test_a_voided_intent_opens_no_step_before_the_run_is_saved(scene: Scene) -> None:
    opened_step(scene)
    scene.dies(1, looks, after=True)
    run = loaded(scene.opened(), "r")
    assert run.vars == {"n": 1}
    assert run.checkpoint is not None
    assert run.checkpoint.open_steps == {}


def test_a_voided_intent_opens_no_step_after_the_run_is_saved(scene: Scene) -> None:
    opened_step(scene)
    scene.dies(9, looks)
    run = loaded(scene.opened(), "r")
    assert run.vars == {"n": 1}
    assert run.checkpoint is not None
    assert run.checkpoint.open_steps == {}


@pytest.mark.parametrize("settled", [False, True])
def test_a_voided_intent_counts_as_no_visit(scene: Scene, settled: bool) -> None:
    opened_step(scene)
    scene.dies(9 if settled else 1, looks, after=True)
    run = loaded(scene.opened(), "r")
    assert run.checkpoint is not None
    assert run.checkpoint.visits.get("first", 0) == 0


def test_an_outcome_beside_a_voided_intent_is_redone_each_time(scene: Scene) -> None:
    store = scene.opened()
    script = created(store, "r", vars={"n": 1})
    store.commit(script.begin({"prompt": "é"}))
    outcome, intent = script.ended({"said": 1}), script.started({"next": 1})
    commit = script.commit(
        records=[outcome, intent], kernel=script.opening(intent), current_node="second"
    )
    scene.dies(3, lambda _: store.commit(commit))
    for call, after in ((1, True), (1, False), (1, True)):
        scene.dies(call, looks, after=after)
    for _ in range(2):
        run = loaded(scene.opened(), "r")
        assert run.vars == {"n": 1, "answer": {"said": 1}}
        assert run.current_node == "second"
        assert run.checkpoint is not None
        assert run.checkpoint.open_steps == {}


def test_what_was_voided_is_voided_once(scene: Scene) -> None:
    opened_step(scene)
    for _ in range(3):
        scene.dies(1, looks, after=True)
        scene.dies(2, looks)
    looks(scene.opened())
    kinds = [(record["result"] or {}).get("kind") for record in scene.ledger.list("r")]
    assert kinds == [None, "voided"]


def test_what_two_processes_void_at_once_is_void_once(scene: Scene) -> None:
    store = scene.opened()
    script = created(store, "r", vars={"n": 1})
    store.commit(script.begin({"prompt": "é"}))
    store.commit(script.finish({"said": 1}))
    intent = script.begin({"next": 1})
    scene.dies(2, lambda _: store.commit(intent))
    scene.dies(1, looks, after=True)
    scene.ledger.append(record_from_dict(scene.ledger.list("r")[-1]))
    for _ in range(2):
        store = scene.opened()
        assert loaded(store, "r").vars == {"n": 1, "answer": {"said": 1}}
        kinds = [record["status"] for record in store.list_records("r") if record["effect"]]
        bound = isinstance(scene.ledger, HashChainedLedgerStore)  # then nothing may be left out
        assert kinds == ["started", "completed", *["started"] * bound]


def test_the_revision_of_what_was_voided_is_not_used_again() -> None:
    scene = Scene("drops checkpoints")
    script = opened_step(scene)
    scene.dies(9, looks)
    run = loaded(scene.opened(), "r")
    assert run.checkpoint is not None
    assert run.checkpoint.revision == script.revision + 1


def test_evidence_counts_as_linked_where_a_record_links_it(scene: Scene) -> None:
    store = scene.opened()
    script = created(store, "r")
    store.keep_evidence(evidence_of("r", 1))
    store.commit(script.commit(kernel={"linked": 1}, records=[script.note("evidence")]))
    store.keep_evidence(evidence_of("r", 2))
    checkpoint = loaded(scene.opened(), "r").checkpoint
    assert checkpoint is not None
    assert (checkpoint.linked, checkpoint.evidence) == (1, 2)


@pytest.mark.parametrize("times", [1, 2])
def test_a_process_that_lives_on_settles_what_it_could_not_save(scene: Scene, times: int) -> None:
    store = scene.opened()
    script = created(store, "r", vars={"n": 1})
    store.commit(script.begin({"prompt": "é"}))
    outcome, intent = script.ended({"said": 1}), script.started({"next": 1})
    commit = script.commit(
        records=[outcome, intent], kernel=script.opening(intent), current_node="second"
    )
    scene.dies(3, lambda _: store.commit(commit))
    store = scene.opened()
    for write in (2, 1)[:times]:  # the record that voids is appended once
        scene.breaker.break_at(write)
        with pytest.raises(Died):
            store.load("r")
    scene.breaker.mend()
    for seen in (store, store, scene.opened()):
        run = loaded(seen, "r")
        assert (run.vars, run.current_node) == ({"n": 1, "answer": {"said": 1}}, "second")
        assert run.checkpoint is not None
        assert run.checkpoint.open_steps == {}
    found = store.load("r")
    assert found is not None
    assert not store.edited("r", found)


def test_a_look_that_breaks_before_it_has_settled_anything_is_no_look(scene: Scene) -> None:
    opened_step(scene)
    times = iter([None, time_at(500)])

    def clock() -> str:
        time = next(times)
        if time is None:
            raise Died("clock")
        return time

    store = PairedStore(scene.runs, scene.ledger, clock=clock)
    with pytest.raises(Died):
        store.load("r")
    assert loaded(store, "r").vars == {"n": 1}
    kinds = [(record["result"] or {}).get("kind") for record in scene.ledger.list("r")]
    assert kinds == [None, "voided"]


@pytest.mark.parametrize("with_intent", [False, True])
def test_a_commit_that_fails_after_a_settled_one_voids_nothing_of_that(
    scene: Scene, with_intent: bool
) -> None:
    store = scene.opened()
    script = created(store, "r", vars={"n": 1})
    store.commit(script.begin({"prompt": "é"}))
    records = [script.ended({"said": 1})]
    if with_intent:
        records.append(script.started({"next": 1}))
    commit = script.commit(records=records, kernel={"open_steps": {}}, current_node="second")
    scene.dies(1 + len(records), lambda _: store.commit(commit))
    store = scene.opened()
    found = store.load("r")
    assert found is not None
    scene.breaker.break_at(2)
    with pytest.raises(Died):
        store.commit(Script.of(found, start=900).begin({"again": 1}))
    scene.breaker.mend()
    run = loaded(store, "r")
    assert run.checkpoint is not None
    assert run.checkpoint.open_steps == {}
    ends = [record for record in scene.ledger.list("r") if record["result"]]
    voided = [end["result"]["records"] for end in ends if end["effect"] is None]
    assert voided == [1] * (with_intent + 1)


def test_an_intent_that_changed_nothing_else_is_not_taken_for_saved(scene: Scene) -> None:
    store = scene.opened()
    script = created(store, "r", vars={"n": 1})
    scene.breaker.break_at(2)
    with pytest.raises(Died):
        store.commit(script.begin())
    scene.breaker.mend()
    run = loaded(store, "r")
    assert run.checkpoint is not None
    assert run.checkpoint.open_steps == {}


def test_a_run_store_that_fails_after_it_has_saved_has_saved(scene: Scene) -> None:
    store = scene.opened()
    script = created(store, "r", vars={"n": 1})
    store.commit(script.begin({"prompt": "é"}))
    outcome, intent = script.ended({"said": 1}), script.started({"next": 1})
    commit = script.commit(
        records=[outcome, intent],
        kernel=script.opening(intent),
        vars={"n": 2, "answer": {"said": 1}},
        current_node="second",
    )
    scene.breaker.break_at(3, after=True)
    with pytest.raises(Died):
        store.commit(commit)
    scene.breaker.mend()
    for _ in range(2):
        run = loaded(store, "r")
        assert (run.vars, run.current_node) == ({"n": 2, "answer": {"said": 1}}, "second")
        assert run.checkpoint is not None
        assert [step.step_id for step in run.checkpoint.open_steps.values()] == [
            intent.record["step_id"]
        ]
    found = store.load("r")
    assert found is not None
    assert not store.edited("r", found)
    again = Script.of(found, start=900)
    store.commit(again.finish({"said": 2}))
    assert loaded(store, "r").vars == {"n": 2, "answer": {"said": 2}}


def test_what_a_chain_does_not_hand_on_is_redone_beside_a_run_of_which_it_does() -> None:
    runs, ledger = DictRuns(), AsdictLedger()
    before = PairedStore(runs, ledger)
    old = created(before, "old")
    before.commit(old.begin())
    store = PairedStore(runs, HashChainedLedgerStore(ledger))
    store.commit(old.finish({"said": 1}))
    script = created(store, "r", vars={"n": 1})
    store.commit(script.begin())
    outcome = script.ended({"said": 1})
    outcome.record["vars"] = {"set": {"by_handler": "é"}, "gone": ["n"]}
    after = {"open_steps": {}, "entered": False}
    breaker = Breaker()
    breaker.watch(runs, "save")
    breaker.break_at(1)
    with pytest.raises(Died):
        store.commit(script.commit(records=[outcome], kernel=after, vars={"by_handler": "é"}))
    breaker.mend()
    again = PairedStore(runs, HashChainedLedgerStore(ledger))
    assert loaded(again, "r").vars == {"by_handler": "é", "answer": {"said": 1}}


# ---- whole runs

STEPS = 2
WRITES = 3 * STEPS + 4
"""More than a run makes from its start to its end."""


def node(run: RunState, context: Any) -> StepPlan:
    turn = run.vars.get("turn", 0)
    run.vars["turn"] = turn + 1
    if turn == STEPS:
        return StepPlan("node", complete_output=dict(run.vars))
    payload = {"function": "say", "arguments": {"turn": turn}}
    return StepPlan("node", Effect("call", payload, f"said.{turn}"), "node")


def say(turn: int) -> dict[str, int]:
    return {"é": turn}


SPEC = WorkflowSpec("flow", "node", {"node": node}, functions={"say": say})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", range(1, WRITES))
def test_whatever_two_writes_are_the_last_the_run_ends_as_without_a_crash(
    kind: str, first: int
) -> None:
    sides = (False, True)
    for second, before, again in itertools.product(range(1, 6), sides, sides):
        scene = Scene(kind)
        run_id = Runtime(store=scene.opened()).start(workflow=SPEC)

        def goes_on(store: PairedStore, run_id: str = run_id) -> RunState:
            return Runtime(store=store).tick(workflow=SPEC, run_id=run_id)

        scene.dies(first, goes_on, after=before)
        scene.dies(second, goes_on, after=again)
        run = goes_on(scene.opened())
        assert run.status is RunStatus.COMPLETED
        assert run.output is not None
        assert run.output["turn"] == STEPS + 1
        assert run.output["said"] == {str(turn): {"é": turn} for turn in range(STEPS)}
        if kind == "chained":
            assert verify_ledger_chain(scene.ledger.list(run_id))["ok"]
