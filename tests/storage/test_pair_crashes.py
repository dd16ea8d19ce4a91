"""A pair whose process dies between its two writes: the next look settles what was left."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.checkpoint import MAIN, OpenWait
from abstractruntime.core.commit import Commit
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.errors import RevisionConflict
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore, verify_ledger_chain
from abstractruntime.storage.paired import PairedStore
from abstractruntime.testing.commits import Script, as_seen, evidence_of, time_at, waiting_for
from abstractruntime.testing.contract_base import created, loaded
from tests.contract.plain_stores import AsdictLedger, AsdictRuns, DictLedger, DictRuns, ObjectRuns
from tests.storage.broken_stores import Breaker, Died

KINDS: dict[str, tuple[Callable[[], RunStore], Callable[[], LedgerStore]]] = {
    "ours": (InMemoryRunStore, InMemoryLedgerStore),
    "chained": (InMemoryRunStore, lambda: HashChainedLedgerStore(InMemoryLedgerStore())),
    "keeps all": (AsdictRuns, AsdictLedger),
    "drops revisions": (ObjectRuns, DictLedger),
    "drops checkpoints": (DictRuns, AsdictLedger),
    "drops both": (DictRuns, DictLedger),
}
NUMBERED = ("ours", "chained", "keeps all", "drops checkpoints")


class Scene:
    """A pair, its two stores and what can break them."""

    def __init__(self, kind: str) -> None:
        runs, ledger = KINDS[kind]
        self.runs, self.ledger = runs(), ledger()
        self.breaker = Breaker()
        self.breaker.watch(self.runs, "save")
        inner = getattr(self.ledger, "inner", None) or self.ledger
        # Counted record by record even where several are written at once.
        self.breaker.watch(inner, "append_many" if hasattr(inner, "append_many") else "append")
        self.store = self.opened()

    def opened(self) -> PairedStore:
        """The pair as a new process sees it."""
        return PairedStore(self.runs, self.ledger, clock=lambda: time_at(500))

    def dies(self, commit: Commit, *, at: str, after: bool = False) -> None:
        """The commit is cut off at the first call of that name."""
        self.breaker.break_at(1_000)
        twin = Scene.calls_of(self, commit)
        self.breaker.break_at(twin.index(at) + 1, after=after)
        with pytest.raises(Died):
            self.store.commit(commit)
        self.breaker.mend()
        self.store = self.opened()

    def calls_of(self, commit: Commit) -> list[str]:
        """The watched calls of a commit: records one by one or at once, then the run."""
        inner = getattr(self.ledger, "inner", None) or self.ledger
        if hasattr(inner, "append_many"):
            appends = ["append"] if commit.records else []
        else:
            appends = ["append"] * len(commit.records)
        return [*appends, "save"]


@pytest.fixture(params=list(KINDS))
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


@pytest.fixture(params=NUMBERED)
def numbered(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


def in_step(scene: Scene) -> Script:
    """A run with an open step, whose node goes on to "second"."""
    script = created(scene.store, "r", vars={"n": 1})
    scene.store.commit(script.begin({"prompt": "é"}))
    return script


def kinds_of(records: list[dict[str, Any]]) -> list[str]:
    return [
        record["status"] if record["effect"] else str(record["result"].get("kind"))
        for record in records
    ]


def run_of(scene: Scene) -> RunState:
    return loaded(scene.store, "r")


# ---- complete in the ledger, missing in the run store


def test_an_outcome_whose_run_was_not_saved_is_redone(scene: Scene) -> None:
    script = in_step(scene)
    scene.dies(script.finish({"said": "é"}, current_node="second"), at="save")
    run = run_of(scene)
    assert run.vars == {"n": 1, "answer": {"said": "é"}}
    assert (run.status, run.current_node) == (RunStatus.RUNNING, "second")
    assert run.checkpoint is not None
    assert run.checkpoint.open_steps == {}
    assert run.checkpoint.driver is None
    assert kinds_of(scene.store.list_records("r")) == ["started", "completed"]


def test_what_was_redone_is_saved_and_redone_no_more(scene: Scene) -> None:
    script = in_step(scene)
    scene.dies(script.finish({"said": "é"}, current_node="second"), at="save")
    first = as_seen(run_of(scene))
    scene.breaker.mend()
    scene.store = scene.opened()
    assert as_seen(run_of(scene))["vars"] == first["vars"]
    assert scene.breaker.calls == []
    assert kinds_of(scene.store.list_records("r")) == ["started", "completed"]


def test_the_run_goes_on_from_what_was_redone(scene: Scene) -> None:
    scene.dies(in_step(scene).finish({"n": 1}, current_node="second"), at="save")
    found = scene.store.load("r")
    assert found is not None
    script = Script.of(found, start=900)
    scene.store.commit(script.begin({"next": True}))
    scene.store.commit(script.finish({"n": 2}))
    assert as_seen(run_of(scene)) == as_seen(script.state)
    assert kinds_of(scene.store.list_records("r")) == ["started", "completed"] * 2


def test_an_intent_that_was_never_acknowledged_is_voided(numbered: Scene) -> None:
    script = in_step(numbered)
    outcome, intent = script.ended({"said": 1}), script.started({"next": 1})
    opening = script.opening(intent)
    commit = script.commit(records=[outcome, intent], kernel=opening, current_node="second")
    numbered.dies(commit, at="save")
    run = run_of(numbered)
    assert run.vars["answer"] == {"said": 1}
    assert run.checkpoint is not None
    assert run.checkpoint.open_steps == {}
    (voided,) = [
        record["result"]
        for record in numbered.ledger.list("r")
        if (record["result"] or {}).get("kind") == "voided"
    ]
    assert voided["revision"] == commit.checkpoint.revision
    assert voided["step_ids"] == [intent.record["step_id"]]


@pytest.mark.parametrize("kind", ["ours", "keeps all", "drops checkpoints", "drops both"])
def test_what_was_voided_is_not_listed(kind: str) -> None:
    scene = Scene(kind)
    script = in_step(scene)
    outcome, intent = script.ended({"said": 1}), script.started({"next": 1})
    opening = script.opening(intent)
    scene.dies(
        script.commit(records=[outcome, intent], kernel=opening, current_node="second"), at="save"
    )
    run_of(scene)
    assert kinds_of(scene.store.list_records("r")) == ["started", "completed", "voided"]
    assert len(scene.ledger.list("r")) == 4


def test_an_answer_whose_run_was_not_saved_is_redone(scene: Scene) -> None:
    script = created(scene.store, "r")
    wait = waiting_for("k", result_key="reply", resume_to_node="second")
    kernel = {"waits": {MAIN: OpenWait("w", "w", "first", 1, 2, "k")}}
    scene.store.commit(
        script.commit(
            status=RunStatus.WAITING, waiting=wait, kernel=kernel, records=[script.note("waits")]
        )
    )
    resumed = script.note("resumed", wait_key="k", wait_id="w", payload={"yes": "é"})
    commit = script.commit(
        records=[resumed], status=RunStatus.RUNNING, waiting=None, kernel={"waits": {}}
    )
    scene.dies(commit, at="save")
    run = run_of(scene)
    assert (run.status, run.current_node) == (RunStatus.RUNNING, "second")
    assert run.vars["reply"] == {"yes": "é"}
    assert run.waiting is None


def test_a_cancel_whose_run_was_not_saved_is_redone(scene: Scene) -> None:
    script = in_step(scene)
    commit = script.commit(
        records=[script.note("cancelled", reason="enough")],
        status=RunStatus.CANCELLED,
        error="enough",
        kernel={"open_steps": {}},
    )
    scene.dies(commit, at="save")
    run = run_of(scene)
    assert (run.status, run.error) == (RunStatus.CANCELLED, "enough")


def test_a_failed_attempt_whose_run_was_not_saved_leaves_the_next_one_due(scene: Scene) -> None:
    script = in_step(scene)
    failed = script.ended(status="failed", error="no answer")
    failed.record["next_at"] = time_at(600)
    step = replace(script.checkpoint.open_steps[MAIN], attempt=2, wake_at=time_at(600))
    commit = script.commit(records=[failed], kernel={"open_steps": {MAIN: step}})
    scene.dies(commit, at="save")
    run = run_of(scene)
    assert run.status is RunStatus.RUNNING
    assert run.checkpoint is not None
    assert run.checkpoint.open_steps[MAIN].wake_at == time_at(600)
    assert run.checkpoint.open_steps[MAIN].attempt == 2


def test_what_a_handler_changed_is_redone_with_its_outcome(scene: Scene) -> None:
    script = in_step(scene)
    outcome = script.ended({"said": 1})
    outcome.record["vars"] = {"set": {"by_handler": "é"}, "gone": ["n"]}
    after = {"open_steps": {}, "entered": False}
    commit = script.commit(
        records=[outcome], kernel=after, vars={"by_handler": "é", "answer": {"said": 1}}
    )
    scene.dies(commit, at="save")
    assert run_of(scene).vars == {"by_handler": "é", "answer": {"said": 1}}
    assert "then" not in scene.store.list_records("r")[-1]["effect"]


# ---- cut off within the records


@pytest.mark.parametrize("kind", ["keeps all", "drops checkpoints"])
def test_a_commit_whose_records_are_not_all_there_is_voided(kind: str) -> None:
    scene = Scene(kind)
    script = in_step(scene)
    outcome, note = script.ended({"said": 1}), script.note("moved", to="second")
    commit = script.commit(records=[outcome, note], kernel={"open_steps": {}})
    scene.dies(commit, at="append", after=True)
    run = run_of(scene)
    assert run.vars == {"n": 1}
    assert run.checkpoint is not None
    assert run.checkpoint.open_steps[MAIN].effect["payload"] == {"prompt": "é"}
    assert run.checkpoint.open_steps[MAIN].next_node == "second"
    assert kinds_of(scene.store.list_records("r")) == ["started", "voided"]
    found = scene.store.load("r")
    assert found is not None
    again = Script.of(found, start=900)
    scene.store.commit(again.finish({"said": 2}))
    assert kinds_of(scene.store.list_records("r")) == ["started", "voided", "completed"]


@pytest.mark.parametrize("kind", ["drops revisions", "drops both"])
def test_where_the_end_of_a_commit_is_not_known_an_outcome_is_kept(kind: str) -> None:
    scene = Scene(kind)
    script = in_step(scene)
    outcome, note = script.ended({"said": 1}), script.note("moved", to="second")
    commit = script.commit(records=[outcome, note], kernel={"open_steps": {}})
    scene.dies(commit, at="append", after=True)
    assert run_of(scene).vars["answer"] == {"said": 1}
    assert kinds_of(scene.store.list_records("r")) == ["started", "completed"]


def test_a_commit_of_which_nothing_was_written_never_was(scene: Scene) -> None:
    script = in_step(scene)
    before = as_seen(script.state)
    scene.dies(script.fork().finish({"said": 1}), at="append")
    now = as_seen(run_of(scene))
    assert now["vars"] == before["vars"]
    assert now["checkpoint"]["open_steps"].keys() == {MAIN}
    assert kinds_of(scene.store.list_records("r")) == ["started"]


# ---- dying again, and not dying


def test_settling_may_be_cut_off_anywhere_and_is_done_by_the_next(numbered: Scene) -> None:
    script = in_step(numbered)
    outcome, intent = script.ended({"said": 1}), script.started({"next": 1})
    opening = script.opening(intent)
    commit = script.commit(records=[outcome, intent], kernel=opening, current_node="second")
    numbered.dies(commit, at="save")
    for call, after in ((1, False), (1, True), (2, False), (2, True), (1, True)):
        numbered.breaker.break_at(call, after=after)
        with suppress(Died):
            numbered.store.load("r")
        numbered.breaker.mend()
        numbered.store = numbered.opened()
    run = run_of(numbered)
    assert (run.vars["answer"], run.current_node) == ({"said": 1}, "second")
    found = numbered.store.load("r")
    assert found is not None
    again = Script.of(found, start=900)
    numbered.store.commit(again.begin({"again": 1}))
    assert as_seen(run_of(numbered)) == as_seen(again.state)


def test_a_store_that_fails_once_leaves_the_pair_usable(scene: Scene) -> None:
    script = in_step(scene)
    for at in ("append", "save"):
        twin = script.fork()
        commit = twin.finish({"said": at}, current_node="second")
        scene.breaker.break_at(scene.calls_of(commit).index(at) + 1)
        with pytest.raises(Died):
            scene.store.commit(commit)
        scene.breaker.mend()
        run = run_of(scene)
        done = at == "save"
        assert ("answer" in run.vars) is done
        assert run.checkpoint is not None
        assert bool(run.checkpoint.open_steps) is not done
        # Whoever stood on the state before the failure is told to look again.
        with pytest.raises(RevisionConflict):
            scene.store.commit(script.fork().finish())
        script.state.checkpoint = run.checkpoint


def test_children_are_there_before_the_run_that_names_them(scene: Scene) -> None:
    script = in_step(scene)
    child = Script("child", parent_run_id="r", vars={"c": 1})
    commit = script.commit(creates=[child.commit()], records=[script.note("started_child")])
    scene.breaker.break_at(1, after=True)
    with pytest.raises(Died):
        scene.store.commit(commit)
    scene.breaker.mend()
    scene.store = scene.opened()
    assert as_seen(loaded(scene.store, "child"))["vars"] == {"c": 1}
    assert kinds_of(scene.store.list_records("r")) == ["started"]


def test_evidence_beside_a_crash_is_still_evidence(scene: Scene) -> None:
    script = in_step(scene)
    scene.store.keep_evidence(evidence_of("r", 1))
    scene.dies(script.finish({"said": 1}, current_node="second"), at="save")
    scene.store.keep_evidence(evidence_of("r", 2))
    run = run_of(scene)
    assert run.vars["answer"] == {"said": 1}
    assert run.checkpoint is not None
    assert run.checkpoint.evidence == 2
    assert scene.store.list_evidence("r") == [evidence_of("r", 1), evidence_of("r", 2)]


# ---- chains, and what is not read


def test_the_ledger_s_own_chain_verifies_after_a_crash() -> None:
    scene = Scene("chained")
    script = in_step(scene)
    outcome, intent = script.ended({"said": 1}), script.started({"next": 1})
    opening = script.opening(intent)
    scene.dies(
        script.commit(records=[outcome, intent], kernel=opening, current_node="second"), at="save"
    )
    run_of(scene)
    scene.store.keep_evidence(evidence_of("r", 1))
    for records in (scene.ledger.list("r"), scene.store.list_records("r")):
        assert verify_ledger_chain(records)["ok"]


def test_a_first_look_reads_the_end_of_the_ledger_only() -> None:
    scene = Scene("ours")
    script = in_step(scene)
    scene.store.commit(script.finish({"said": 1}))
    store = scene.opened()
    scene.breaker.watch(scene.ledger, "list", "last")
    scene.breaker.mend()
    assert as_seen(loaded(store, "r")) == as_seen(script.state)
    assert scene.breaker.calls == ["last"]
    store.commit(script.begin())
    store.load("r")
    assert "list" not in scene.breaker.calls
