"""Whatever moves follow each other: what holds of every run, commit and ledger on the way."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from abstractruntime.core import chain
from abstractruntime.core.checkpoint import MAIN, Checkpoint
from abstractruntime.core.commit import Commit, Loaded
from abstractruntime.core.delta import Encoding, apply_delta
from abstractruntime.core.head import FIXED, apply_changed, changed, run_from_head
from abstractruntime.core.machine import ends, step, wait
from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.edit import apply_edit
from abstractruntime.core.machine.plan import Finish
from abstractruntime.core.machine.redo import redo
from abstractruntime.core.machine.seal import ChainSealer
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus, run_from_dict, run_to_dict
from tests.unit.machine.builder import LATER, NOW, WAIT, planned, run_of

NODES = ("a", "b")


@dataclass
class Walk:
    """One run on its way through commits, and what a store would hold of it."""

    draft: Draft
    sealer: ChainSealer
    ledger: list[dict[str, Any]] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: count(1))

    def new_id(self) -> str:
        return f"id-{next(self.numbers)}"


Possible = Callable[[Walk], bool]
Act = Callable[[Walk, Any], Any]


def stepping(walk: Walk) -> bool:
    return MAIN in walk.draft.open_steps


def idle(walk: Walk) -> bool:
    return walk.draft.run.status is RunStatus.RUNNING and not stepping(walk)


def waits(walk: Walk) -> bool:
    return walk.draft.run.status is RunStatus.WAITING


def failed(walk: Walk) -> bool:
    return walk.draft.run.status is RunStatus.FAILED


def due(walk: Walk) -> bool:
    return stepping(walk) and walk.draft.open_steps[MAIN].wake_at is not None


def intend(walk: Walk, value: Any) -> None:
    plan = planned({"value": value}, next_node=NODES[walk.draft.revision % 2])
    salt = walk.sealer.new_salt()
    step.intend(walk.draft, plan, step_id=walk.new_id(), key=walk.new_id(), now=NOW, salt=salt)


def edit(walk: Walk, value: Any) -> None:
    edited = run_from_dict(run_to_dict(walk.draft.run))
    edited.vars = {**edited.vars, "edited": value}
    edited.current_node = NODES[walk.draft.revision % 2]
    apply_edit(walk.draft, edited, records=lambda: walk.ledger, now=NOW, line_id=walk.new_id())


def fail_attempt(walk: Walk, value: Any) -> None:
    opened = walk.draft.open_steps[MAIN]
    again = LATER if opened.attempt < 3 else None
    if step.fail_attempt(walk.draft, opened, str(value), now=NOW, next_at=again) is None:
        text = f"Effect failed after {opened.attempt} attempts: {value}"
        ends.fail(walk.draft, text, now=NOW, line_id=walk.new_id())


MOVES: dict[str, tuple[Possible, Act]] = {
    "intend": (idle, intend),
    "complete": (
        stepping,
        lambda w, v: step.complete(w.draft, w.draft.open_steps[MAIN], v, now=NOW),
    ),
    "wait": (stepping, lambda w, v: step.wait(w.draft, w.draft.open_steps[MAIN], WAIT, now=NOW)),
    "fail attempt": (stepping, fail_attempt),
    "retry": (due, lambda w, v: step.retry(w.draft, w.draft.open_steps[MAIN], now=LATER)),
    "answer": (waits, lambda w, v: wait.answer(w.draft, v, now=NOW, line_id=w.new_id())),
    "fire": (waits, lambda w, v: wait.fire(w.draft, now=NOW, line_id=w.new_id())),
    "finish": (
        idle,
        lambda w, v: ends.complete(w.draft, Finish({}, b"{}"), now=NOW, line_id=w.new_id()),
    ),
    "fail node": (
        idle,
        lambda w, v: ends.fail_node(
            w.draft, "e", error_type="E", trace=[], now=NOW, line_id=w.new_id()
        ),
    ),
    "cancel": (
        lambda w: True,
        lambda w, v: ends.cancel(w.draft, reason=None, now=NOW, line_id=w.new_id()),
    ),
    "reopen": (
        failed,
        lambda w, v: ends.reopen(w.draft, actor_id=None, reason=None, now=NOW, line_id=w.new_id()),
    ),
    "edit": (lambda w: True, edit),
}
REDONE = {"complete", "wait", "fail attempt", "answer", "fire", "cancel"}
VALUES = st.none() | st.integers(0, 3) | st.just({"list": [1, "é"]}) | st.just("x" * 5000)
WALKS = st.lists(st.tuples(st.sampled_from(list(MOVES)), VALUES), max_size=14)


def begin() -> Walk:
    encoding, vars = Encoding.of({"n": 1})
    run = run_of(vars, Checkpoint(visits={"a": 1}, entered=True))
    salts = count(1)
    walk = Walk(Draft(Loaded(run, encoding)), ChainSealer(lambda: next(salts).to_bytes(16, "big")))
    take(walk)
    return walk


def take(walk: Walk) -> Commit:
    """Commit what the draft gathered, and store it as its encodings."""
    commit = assemble(walk.draft, walk.sealer, now=NOW)
    walk.commits.append(commit)
    walk.ledger += [entry.record for entry in commit.records]
    return commit


def holds_of_a_run(draft: Draft) -> None:
    status, run = draft.run.status, draft.run
    assert (status is RunStatus.WAITING) == (run.waiting is not None) == (MAIN in draft.waits)
    assert not draft.open_steps or status is RunStatus.RUNNING
    if status in ENDED:
        assert draft.driver is draft.queued_at is None
    assert not draft.entered or draft.visits[run.current_node] > 0
    assert (run.error is not None) is (status in (RunStatus.FAILED, RunStatus.CANCELLED))


def holds_of_a_commit(commit: Commit, before: Commit) -> None:
    revision = before.head["checkpoint"]["revision"]  # its run has moved on, its head has not
    assert commit.expected == revision == commit.checkpoint.revision - 1
    assert commit.previous is not None
    assert commit.previous == before.head
    assert apply_changed(commit.previous, changed(commit.previous, commit.head)) == commit.head
    text = before.encoding.text()
    now = text if commit.delta is None else apply_delta(text, [commit.delta])
    assert now == commit.encoding.text()
    assert commit.encoding.text() == Encoding.of(commit.run.vars)[0].text()
    assert all(entry.record["revision"] == commit.checkpoint.revision for entry in commit.records)
    fixed = {name: getattr(commit.run, name) for name in FIXED}
    payloads = {b: s.effect["payload"] for b, s in commit.checkpoint.open_steps.items()}
    assert run_from_head(fixed, commit.head, commit.run.vars, payloads) == commit.run
    assert run_from_dict(run_to_dict(commit.run)) == commit.run


def is_redone(crashed: RunState, commit: Commit) -> None:
    found = redo(crashed, [entry.record for entry in commit.records])
    left_to_the_store = {"updated_at": None, "checkpoint": None}
    assert {**run_to_dict(found), **left_to_the_store} == {
        **run_to_dict(commit.run),
        **left_to_the_store,
    }
    kernel, expected = found.checkpoint, commit.checkpoint
    assert kernel is not None
    same = ("revision", "visits", "entered", "open_steps", "waits")
    assert [getattr(kernel, name) for name in same] == [getattr(expected, name) for name in same]


@settings(derandomize=True, deadline=None, max_examples=120)
@given(WALKS)
def test_runs_commits_and_ledgers_hold_together_on_any_way(moves: list[tuple[str, Any]]) -> None:
    walk = begin()
    for name, value in moves:
        possible, act = MOVES[name]
        if not possible(walk):
            continue
        crashed = run_from_dict(run_to_dict(walk.commits[-1].run))
        act(walk, value)
        holds_of_a_run(walk.draft)
        if not walk.draft.dirty:
            continue
        before, commit = walk.commits[-1], take(walk)
        holds_of_a_commit(commit, before)
        if name in REDONE:
            is_redone(crashed, commit)
    found = chain.verify_ledger_chain(walk.ledger)
    assert found["ok"], found["errors"]
    assert found["head_hash"] == walk.draft.chain_head
