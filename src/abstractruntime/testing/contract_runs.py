"""The store contract, first concern: runs are written whole, read whole, and one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.checkpoint import Driver, OpenWait
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import InvalidInput, RevisionConflict, UnknownRevision, UnknownRun
from abstractruntime.storage.base import Capability, Store
from abstractruntime.testing.commits import Script, as_seen, time_at, waiting_for
from abstractruntime.testing.contract_base import (
    ContractBase,
    assert_refused,
    assert_stands,
    created,
    loaded,
)

HARD_VALUES: dict[str, Any] = {
    "text": 'é ü 😀 \u0000 \u2028 \\ " \x7f \ufeff e\u0301',
    "": "an empty key",
    'key\x00with\nodd"characters😀': 1,
    "numbers": [0, -1, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**40, -(10**40)],
    "floats": [0.1, -0.0, 1e-320, 1.7976931348623157e308, 5e-324, 1.0],
    "nothing": [None, True, False, "", [], {}, [[]], [{}], {"": {}}],
}

HOSTILE_IDS = [
    "",
    ".",
    "..",
    "../escape",
    "/etc/escape",
    "a/b",
    "a\\b",
    "..\\escape",
    "nul\x00byte",
    "line\nbreak",
    "x" * 5000,
    "CON",
    "a:b",
    "'; DROP TABLE runs; --",
    "%s%d{0}",
    "*",
    "é😀",
    "\ud800",
    "~root",
    ".hidden",
]


def deep(levels: int) -> Any:
    """A value of so many containers inside each other."""
    value: Any = "bottom"
    for level in range(levels):
        value = [value] if level % 2 else {"in": value}
    return value


class RunsContract(ContractBase):
    """One run: create, load, commit, refuse."""

    def test_an_unknown_run_is_none(self, store: Store) -> None:
        assert store.load("nobody") is None
        assert store.list_records("nobody") == []
        assert store.list_messages("nobody") == []
        assert store.list_evidence("nobody") == []

    def test_a_created_run_loads_as_it_was_made(self, store: Store) -> None:
        script = Script("r", vars={"a": 1, "b": {"c": [1, 2]}}, parent_run_id="p")
        store.commit(script.commit(kernel={"version": "3", "reports_to": "subworkflow:r"}))
        assert_stands(store, script)
        assert loaded(store, "r").parent_run_id == "p"

    def test_a_run_is_created_once(self, store: Store) -> None:
        script = created(store, "r", vars={"first": True})
        assert_refused(store, Script("r", vars={"second": True}).commit(), found=1)
        assert_stands(store, script)

    def test_every_commit_replaces_the_run_whole(self, store: Store) -> None:
        script = created(store, "r", vars={"n": 0, "goes": "away"})
        store.commit(script.commit(vars={"n": 1, "new": "é"}, current_node="second"))
        assert_stands(store, script)
        wait = waiting_for("k", until=time_at(99), prompt="?", choices=["a", "b"], details={"d": 1})
        kernel = {
            "waits": {"": OpenWait("w", "s", "second", 1, 3, "k")},
            "driver": Driver("host", "boot", 7, "then", "token"),
            "visits": {"first": 1, "second": 2},
            "generation": 2,
            "recall": 1,
            "chain_head": "c" * 64,
            "queued_at": time_at(50),
        }
        store.commit(script.commit(status=RunStatus.WAITING, waiting=wait, kernel=kernel))
        assert_stands(store, script)
        done: dict[str, Any] = {
            "waits": {},
            "driver": None,
            "recall": None,
            "queued_at": None,
            "visits": {},
        }
        store.commit(
            script.commit(status=RunStatus.COMPLETED, waiting=None, output={"é": [1]}, kernel=done)
        )
        assert_stands(store, script)

    def test_a_commit_that_changes_no_variable_leaves_them(self, store: Store) -> None:
        script = created(store, "r", vars={"text": "x" * 10_000})
        for node in ("a", "b", "c"):
            commit = script.commit(current_node=node)
            assert commit.delta is None
            store.commit(commit)
        assert_stands(store, script)

    def test_hard_values_come_back_exactly(self, store: Store) -> None:
        script = created(store, "r", vars=HARD_VALUES)
        store.commit(script.finish_with(HARD_VALUES))
        run = loaded(store, "r")
        assert json.dumps(run.vars) == json.dumps(HARD_VALUES)
        assert json.dumps(run.output) == json.dumps(HARD_VALUES)

    def test_keys_keep_their_order(self, store: Store) -> None:
        script = created(store, "r", vars={"z": 1, "a": {"y": 1, "b": 2}, "m": 3})
        store.commit(script.commit(vars={**script.state.vars, "c": 4}))
        run = loaded(store, "r")
        assert list(run.vars) == ["z", "a", "m", "c"]
        assert list(run.vars["a"]) == ["y", "b"]

    def test_the_deepest_values_are_kept(self, store: Store) -> None:
        script = created(store, "r", vars={"deep": deep(198)})
        store.commit(script.begin({"deep": deep(199)}))
        store.commit(script.finish(deep(200), output={"deep": deep(199)}))
        assert_stands(store, script)

    def test_what_was_given_may_be_changed_afterwards(self, store: Store) -> None:
        script = Script("r", vars={"list": [1], "big": {"text": "x" * 5000, "list": [1]}})
        commit = script.commit()
        store.commit(commit)
        commit.run.vars["list"].append(2)
        commit.run.vars["big"]["list"].append(2)
        begin = script.begin({"list": [1]})
        store.commit(begin)
        begin.run.status = RunStatus.FAILED
        begin.run.vars.clear()
        begin.records[0].record["effect"]["payload"]["list"].append(2)
        begin.checkpoint.open_steps[""].effect["payload"]["list"].append(2)
        assert_stands(store, script)

    def test_what_was_loaded_may_be_changed_without_effect(self, store: Store) -> None:
        script = created(store, "r", vars={"list": [1], "big": {"text": "x" * 5000}})
        store.commit(script.begin({"list": [1]}))
        for run in (loaded(store, "r"), *_listed(store)):
            run.vars["list"].append(2)
            run.vars["big"]["new"] = 1
            run.current_node = "elsewhere"
        assert loaded(store, "r").checkpoint is not None
        store.list_records("r")[0]["effect"]["payload"]["list"].append(2)
        found = store.load("r")
        assert found is not None
        assert found.run.checkpoint is not None
        found.run.checkpoint.open_steps[""].effect["payload"]["list"].append(2)
        assert_stands(store, script)

    def test_the_encoding_that_is_loaded_is_that_of_the_vars(self, store: Store) -> None:
        created(store, "r", vars={"text": "é" * 5000, "n": 1})
        found = store.load("r")
        assert found is not None
        assert json.loads(found.encoding.text()) == found.run.vars
        script = Script.of(found, start=10)
        store.commit(script.commit(vars={**script.state.vars, "n": 2}))
        assert as_seen(loaded(store, "r")) == as_seen(script.state)

    def test_an_open_step_has_its_payload_however_long_ago_it_began(self, store: Store) -> None:
        script = created(store, "r")
        store.commit(script.begin({"messages": ["é" * 5000]}))
        for note in ("recovered", "paused", "unpaused"):
            store.commit(script.commit(records=[script.note(note)]))
            assert_stands(store, script)

    # -- the revision check

    def test_a_stale_commit_is_refused_and_changes_nothing(self, store: Store) -> None:
        script = created(store, "r", vars={"n": 1})
        late = script.fork()
        store.commit(script.begin())
        assert_refused(store, late.commit(vars={"n": 2}, records=[late.note("cancelled")]), found=2)
        assert_stands(store, script)

    def test_a_commit_from_the_future_is_refused(self, store: Store) -> None:
        script = created(store, "r")
        ahead = script.fork()
        ahead.commit()
        assert_refused(store, ahead.commit(), found=1)
        assert_stands(store, script)

    def test_a_run_that_is_not_there_cannot_be_moved(self, store: Store) -> None:
        script = Script("r")
        script.commit()
        assert_refused(store, script.commit(), found=0)
        assert store.load("r") is None

    def test_the_run_may_go_on_after_a_refusal(self, store: Store) -> None:
        script = created(store, "r")
        late = script.fork()
        store.commit(script.begin())
        with pytest.raises(RevisionConflict):
            store.commit(late.commit())
        store.commit(script.finish({"ok": True}))
        assert_stands(store, script)

    def test_load_at_knows_what_there_is_not(self, store: Store) -> None:
        created(store, "r")
        assert as_seen(store.load_at("r", 1).run) == as_seen(loaded(store, "r"))
        with pytest.raises(UnknownRun):
            store.load_at("nobody", 1)
        for revision in (-1, 0, 2):
            with pytest.raises(UnknownRevision):
                store.load_at("r", revision)

    # -- identifiers

    @pytest.mark.parametrize("run_id", HOSTILE_IDS, ids=lambda run_id: ascii(run_id)[:20])
    def test_a_hostile_id_is_refused_or_harmless(
        self, store: Store, run_id: str, tmp_path: Path
    ) -> None:
        neighbour = created(store, "neighbour", vars={"a": 1})
        outside = sorted(path.name for path in tmp_path.parent.iterdir())
        script = Script(run_id, vars={"mine": True})
        try:
            store.commit(script.commit())
            store.commit(script.begin())
        except InvalidInput:
            pass
        else:
            assert_stands(store, script)
        assert_stands(store, neighbour)
        assert sorted(path.name for path in tmp_path.parent.iterdir()) == outside

    def test_ids_that_look_alike_are_different_runs(self, store: Store) -> None:
        scripts = [created(store, run_id, vars={"id": run_id}) for run_id in ("r", "R", "r ", "ŕ")]
        for script in scripts:
            assert_stands(store, script)

    def test_an_id_may_have_256_characters(self, store: Store) -> None:
        for run_id in ("a" * 256, "a" * 255 + "b"):
            assert_stands(store, created(store, run_id))


def _listed(store: Store) -> list[Any]:
    return store.list_runs() if Capability.QUERYABLE in store.capabilities else []
