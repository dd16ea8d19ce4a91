"""A host that saves to its own store directly: the pair notices, and lets no commit undo it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from abstractruntime.core.checkpoint import MAIN
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.errors import NotJson, RevisionConflict
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.paired import PairedStore, public_digest
from abstractruntime.testing.commits import Script, as_seen
from abstractruntime.testing.contract_base import assert_refused, created
from tests.contract.plain_stores import AsdictLedger, AsdictRuns, DictLedger, DictRuns, ObjectRuns

KINDS: dict[str, tuple[Callable[[], RunStore], Callable[[], LedgerStore]]] = {
    "ours": (InMemoryRunStore, InMemoryLedgerStore),
    "keeps all": (AsdictRuns, AsdictLedger),
    "drops revisions": (ObjectRuns, DictLedger),
    "drops checkpoints": (DictRuns, AsdictLedger),
    "drops both": (DictRuns, DictLedger),
}
KEEPING = ["ours", "keeps all", "drops revisions"]


@pytest.fixture(params=list(KINDS))
def pair(request: pytest.FixtureRequest) -> PairedStore:
    return pair_of_kind(request.param)


@pytest.fixture(params=KEEPING)
def keeping(request: pytest.FixtureRequest) -> PairedStore:
    return pair_of_kind(request.param)


def pair_of_kind(kind: str) -> PairedStore:
    runs, ledger = KINDS[kind]
    return PairedStore(runs(), ledger())


def reopened(pair: PairedStore) -> PairedStore:
    return PairedStore(pair.run_store, pair.ledger_store)


def edit(pair: PairedStore, **vars: object) -> RunState:
    """The host changes the run in its own store."""
    run = pair.run_store.load("r")
    assert run is not None
    run = replace(run, vars={**run.vars, **vars})
    pair.run_store.save(run)
    return run


def seen(pair: PairedStore) -> tuple[RunState, bool]:
    """The run, and whether an edit of it is still to be journaled."""
    found = pair.load("r")
    assert found is not None
    return found.run, pair.edited("r", found)


def test_a_run_nobody_edited_is_not_edited(pair: PairedStore) -> None:
    script = created(pair, "r", vars={"n": 1, "float": 1.0, "text": "é\x00"})
    assert seen(pair)[1] is False
    pair.commit(script.begin())
    assert seen(pair)[1] is False


def test_an_edit_is_seen_with_the_kernel_s_own_fields(pair: PairedStore) -> None:
    script = created(pair, "r", vars={"n": 1})
    pair.commit(script.begin({"text": "é"}))
    edit(pair, n=2)
    run, edited = seen(pair)
    assert edited
    assert run.vars == {"n": 2}
    assert run.checkpoint is not None
    assert run.checkpoint.open_steps == script.checkpoint.open_steps
    assert run.checkpoint.visits == script.checkpoint.visits
    assert run.checkpoint.digest == public_digest(replace(script.state, vars={"n": 1}))


def test_a_commit_made_before_the_edit_is_refused(pair: PairedStore) -> None:
    script = created(pair, "r", vars={"n": 1})
    edit(pair, n=2)
    assert_refused(pair, script.commit(vars={"n": 3}), found=2)
    assert seen(pair)[0].vars == {"n": 2}


def test_looking_at_the_edit_does_not_let_an_older_commit_pass(pair: PairedStore) -> None:
    script = created(pair, "r", vars={"n": 1})
    edit(pair, n=2)
    for _ in range(3):
        seen(pair)
    with pytest.raises(RevisionConflict):
        pair.commit(script.commit(vars={"n": 3}))


def test_a_commit_made_on_the_edit_is_taken_and_ends_it(pair: PairedStore) -> None:
    created(pair, "r", vars={"n": 1})
    edit(pair, n=2)
    found = pair.load("r")
    assert found is not None
    script = Script.of(found, start=50)
    pair.commit(script.commit(vars={"n": 3}, records=[script.note("edited")]))
    run, edited = seen(pair)
    assert (run.vars, edited) == ({"n": 3}, False)
    pair.commit(script.begin())
    assert as_seen(seen(pair)[0]) == as_seen(script.state)


def test_a_second_edit_is_no_less_than_the_first(pair: PairedStore) -> None:
    created(pair, "r", vars={"n": 1})
    edit(pair, n=2)
    found = pair.load("r")
    assert found is not None
    edit(pair, n=3)
    with pytest.raises(RevisionConflict):
        pair.commit(Script.of(found).commit())
    run, edited = seen(pair)
    assert (run.vars, edited) == ({"n": 3}, True)


def test_an_edit_of_any_public_field_is_seen(pair: PairedStore) -> None:
    for change in (
        {"current_node": "elsewhere"},
        {"status": RunStatus.FAILED},
        {"error": "text"},
        {"output": {"é": 1}},
        {"workflow_id": "other"},
    ):
        store = PairedStore(type(pair.run_store)(), type(pair.ledger_store)())
        created(store, "r", vars={"n": 1})
        run = store.run_store.load("r")
        assert run is not None
        store.run_store.save(replace(run, **change))  # type: ignore[arg-type]
        found, edited = seen(store)
        assert edited, change
        for name, value in change.items():
            assert getattr(found, name) == value


def test_an_edit_while_no_process_ran_is_seen(keeping: PairedStore) -> None:
    script = created(keeping, "r", vars={"n": 1})
    keeping.commit(script.begin())
    edit(keeping, n=2)
    again = reopened(keeping)
    run, edited = seen(again)
    assert (run.vars, edited) == ({"n": 2}, True)
    found = again.load("r")
    assert found is not None
    later = Script.of(found, start=50)
    again.commit(later.finish({"said": 1}))
    assert seen(again)[1] is False
    assert seen(reopened(again))[1] is False


def test_a_host_may_save_what_it_loaded_through_the_pair(keeping: PairedStore) -> None:
    script = created(keeping, "r", vars={"n": 1})
    keeping.commit(script.begin())
    for n in (2, 3):
        run, _ = seen(keeping)
        run.vars["n"] = n
        keeping.run_store.save(run)
    run, edited = seen(keeping)
    assert (run.vars, edited) == ({"n": 3}, True)
    assert run.checkpoint is not None
    assert run.checkpoint.open_steps.keys() == {MAIN}
    with pytest.raises(RevisionConflict):
        keeping.commit(script.finish())


@pytest.mark.parametrize("kind", ["keeps all", "drops revisions"])
@pytest.mark.parametrize("restart", [False, True])
def test_an_old_object_put_back_is_an_edit_and_no_crash(kind: str, restart: bool) -> None:
    pair = pair_of_kind(kind)
    script = created(pair, "r", vars={"n": 1})
    old = pair.run_store.load("r")
    assert old is not None
    old = replace(old, vars=dict(old.vars))
    for _ in range(2):
        pair.commit(script.begin())
        pair.commit(script.finish({"said": 1}, vars={"n": 2}, current_node="second"))
    pair.run_store.save(old)
    if restart and kind == "drops revisions":
        return  # only this process knew: nothing but times is left to tell
    if restart:
        pair = reopened(pair)
    run, edited = seen(pair)
    assert (run.vars, run.current_node, edited) == ({"n": 1}, "first", True)
    assert run.checkpoint is not None
    assert run.checkpoint.revision > script.revision - (restart is True)
    assert run.checkpoint.visits["first"] == 1
    if not restart:
        with pytest.raises(RevisionConflict):
            pair.commit(script.fork().commit())


def test_an_object_without_a_checkpoint_is_an_edit(keeping: PairedStore) -> None:
    script = created(keeping, "r", vars={"n": 1})
    keeping.commit(script.begin({"text": "é"}))
    run = keeping.run_store.load("r")
    assert run is not None
    keeping.run_store.save(replace(run, checkpoint=None, vars={"n": 2}))
    found, edited = seen(keeping)
    assert (found.vars, edited) == ({"n": 2}, True)
    assert found.checkpoint is not None
    assert found.checkpoint.open_steps[MAIN].effect["payload"] == {"text": "é"}
    with pytest.raises(RevisionConflict):
        keeping.commit(script.finish())


def test_a_value_that_is_no_json_is_named(pair: PairedStore) -> None:
    if isinstance(pair.run_store, InMemoryRunStore):
        return  # it refuses the value itself
    created(pair, "r", vars={"n": 1})
    edit(pair, bad={"x": {1, 2}})
    with pytest.raises(NotJson) as caught:
        pair.load("r")
    assert caught.value.where["path"] == "$.vars.bad.x"


class LossyRuns(AsdictRuns):
    """Keeps seconds only, and knows no session."""

    def save(self, run: RunState) -> None:
        short = run.updated_at[:19] + "Z"
        super().save(replace(run, updated_at=short, session_id=None))


def test_what_a_store_loses_is_no_edit() -> None:
    pair = PairedStore(LossyRuns(), AsdictLedger())
    script = created(pair, "r", vars={"n": 1})
    for n in range(3):
        assert seen(pair)[1] is False
        pair.commit(script.begin({"n": n}))
        pair.commit(script.finish({"n": n}))
    assert seen(pair)[0].vars == {"n": 1, "answer": {"n": 2}}
