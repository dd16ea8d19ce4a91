"""The store contract, second concern: records are whole, in order, and of their commits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from abstractruntime.core.checkpoint import MAIN
from abstractruntime.core.commit import Commit
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import RevisionConflict
from abstractruntime.storage.base import Capability, Store
from abstractruntime.testing.commits import Script, as_seen, evidence_of, message_to, steps_of
from abstractruntime.testing.contract_base import (
    ContractBase,
    assert_records,
    assert_refused,
    assert_stands,
    created,
    loaded,
    needs,
)
from abstractruntime.testing.contract_runs import HARD_VALUES


class RecordsContract(ContractBase):
    """Ledgers, evidence, and what else a commit writes or does not."""

    def test_records_are_listed_in_order_with_their_revisions(self, store: Store) -> None:
        script = created(store, "r", vars={"n": -1})
        for commit in steps_of(script, 5):
            store.commit(commit)
        assert_records(store.list_records("r"), script.records)
        assert [record["revision"] for record in store.list_records("r")] == list(range(2, 12))

    def test_a_commit_may_hold_many_records_or_none(self, store: Store) -> None:
        script = created(store, "r")
        store.commit(script.commit(records=[script.note("moved", to=str(n)) for n in range(64)]))
        store.commit(script.commit(current_node="second"))
        store.commit(script.begin())
        ended = script.ended({"ok": True})
        after = {"open_steps": {}, "entered": False}
        store.commit(script.commit(records=[ended, script.note("moved")], kernel=after))
        assert_stands(store, script)

    def test_an_outcome_and_the_next_intent_go_together(self, store: Store) -> None:
        script = created(store, "r")
        store.commit(script.begin({"turn": 0}))
        for turn in range(1, 5):
            outcome, intent = script.ended({"said": turn - 1}), script.started({"turn": turn})
            store.commit(script.commit(records=[outcome, intent], kernel=script.opening(intent)))
            assert_stands(store, script)

    def test_an_outcome_has_its_effect_whole(self, store: Store) -> None:
        script = created(store, "r")
        payload = {"messages": ["é" * 3000, {"deep": [1, None]}]}
        store.commit(script.begin(payload))
        store.commit(script.commit(records=[script.note("recovered")]))
        store.commit(script.finish({"ok": True}))
        ended = store.list_records("r")[-1]
        assert ended["effect"] == {
            "type": "llm_call",
            "payload": payload,
            "result_key": "answer",
        }
        assert list(ended["effect"]) == ["type", "payload", "result_key"]

    def test_every_attempt_has_the_effect_of_its_step(self, store: Store) -> None:
        script = created(store, "r")
        store.commit(script.begin({"text": "é" * 3000}))
        opened = script.checkpoint.open_steps[MAIN].opened
        for attempt in (2, 3):
            failed = script.ended(status="failed", error="no answer")
            again = script.ended(status="started")
            again.record.update(attempt=attempt, ended_at=None)
            assert again.opened == opened
            store.commit(script.commit(records=[failed, again]))
        store.commit(script.finish())
        assert_stands(store, script)

    def test_a_step_may_begin_and_end_in_one_commit(self, store: Store) -> None:
        script = created(store, "r")
        intent = script.started({"wait_key": "k" * 3000})
        twin = script.fork()
        twin.commit(kernel=script.opening(intent))
        ended = twin.ended({"wait": {"reason": "event"}}, status="waiting")
        assert ended.opened == 2
        store.commit(script.commit(records=[intent, ended]))
        assert_stands(store, script)

    def test_results_of_any_kind_come_back_exactly(self, store: Store) -> None:
        script = created(store, "r")
        results: list[Any] = [None, {}, [], "", "text\x00é", 0, 10**40, True, HARD_VALUES]
        for result in results:
            store.commit(script.begin(HARD_VALUES))
            store.commit(script.finish(result))
        found = [record for record in store.list_records("r") if record["status"] == "completed"]
        assert json.dumps([record["result"] for record in found]) == json.dumps(results)
        assert json.dumps(found[0]["effect"]["payload"]) == json.dumps(HARD_VALUES)

    def test_an_error_comes_back_with_every_character(self, store: Store) -> None:
        script = created(store, "r")
        store.commit(script.begin())
        error = "failed\n\x00 é😀 'quoted' \"twice\" %s"
        failed = script.ended(status="failed", error=error)
        store.commit(script.commit(records=[failed], status=RunStatus.FAILED, error=error))
        assert_stands(store, script)
        assert loaded(store, "r").error == error

    def test_a_conversation_that_grows_is_listed_whole(self, store: Store) -> None:
        script = created(store, "r")
        said: list[str] = []
        for turn in range(60):
            said.append(f"{turn}: " + "wörd " * 100)
            store.commit(script.begin({"messages": list(said)}))
            store.commit(script.finish({"said": f"answer {turn}"}))
        assert_stands(store, script)

    def test_payloads_of_megabytes_are_kept(self, store: Store) -> None:
        script = created(store, "r")
        big = "é" * 1_000_000
        store.commit(script.begin({"text": big}))
        store.commit(script.finish({"text": big}, vars={"text": big}))
        assert_stands(store, script)

    def test_records_after_a_revision(self, store: Store) -> None:
        script = created(store, "r")
        for commit in steps_of(script, 6):
            store.commit(commit)
        for after in (-1, 0, 1, 2, 7, 12, 13, 99):
            expected = [record for record in script.records if record["revision"] > after]
            assert_records(store.list_records("r", after=after), expected)

    def test_a_limit_counts_commits(self, store: Store) -> None:
        script = created(store, "r")
        for _ in range(4):
            store.commit(script.commit(records=[script.note("moved"), script.note("moved")]))
        found = store.list_records("r", after=2, limit=2)
        assert_records(found, [r for r in script.records if r["revision"] in (3, 4)])
        assert store.list_records("r", limit=0) == []
        assert_records(store.list_records("r", limit=100), script.records)

    def test_paging_by_the_last_revision_reads_every_record_once(self, store: Store) -> None:
        script = created(store, "r")
        for commit in steps_of(script, 8):
            store.commit(commit)
        found: list[dict[str, Any]] = []
        while page := store.list_records("r", after=found[-1]["revision"] if found else 0, limit=3):
            found.extend(page)
        assert_records(found, script.records)

    def test_ledgers_of_two_runs_do_not_mix(self, store: Store) -> None:
        one, two = created(store, "one"), created(store, "two")
        for first, second in zip(steps_of(one, 3), steps_of(two, 3), strict=True):
            store.commit(first)
            store.commit(second)
        assert_stands(store, one)
        assert_stands(store, two)

    def test_a_step_is_found_by_its_own_key(self, store: Store) -> None:
        script = created(store, "r")
        assert store.find_step("r", "mine") == []
        for turn in range(3):
            store.commit(script.begin({"turn": turn}, key="mine"))
            store.commit(script.finish({"turn": turn}))
            store.commit(script.begin({"turn": turn}, key="other"))
            store.commit(script.finish())
        assert_records(store.find_step("r", "mine"), script.records[-4:-2])
        assert store.find_step("r", "nobody's") == []
        assert store.find_step("nobody", "mine") == []

    @needs(Capability.ATOMIC)
    def test_fields_beyond_the_api_s_are_kept(self, store: Store) -> None:
        script = created(store, "r")
        intent = script.started()
        intent.record.update(chain=2, salts={"payload": "ab"}, prev_hash="c" * 64, generation=3)
        store.commit(script.commit(records=[intent], kernel=script.opening(intent)))
        (found,) = store.list_records("r")
        found.pop("last", None)
        assert found == script.records[0]

    # -- all or nothing

    def test_children_come_to_be_with_the_commit(self, store: Store) -> None:
        parent = created(store, "parent")
        children = [Script(f"child-{n}", parent_run_id="parent", vars={"n": n}) for n in range(3)]
        creations = [
            child.commit(records=[child.note("created_by", parent="parent")]) for child in children
        ]
        intent = parent.started()
        store.commit(
            parent.commit(records=[intent], kernel=parent.opening(intent), creates=creations)
        )
        for script in (parent, *children):
            assert_stands(store, script)

    def test_nothing_is_written_when_a_child_is_there_already(self, store: Store) -> None:
        parent, there = created(store, "parent"), created(store, "there", vars={"n": 1})
        before = parent.fork()
        store.commit(parent.begin())
        new = Script("new").commit()
        again = Script("there", vars={"n": 2}).commit()
        outcome = parent.fork()
        with pytest.raises(RevisionConflict):
            store.commit(outcome.finish({"ok": True}, creates=[new, again]))
        assert store.load("new") is None
        assert_stands(store, there)
        assert_stands(store, parent)
        assert_refused(store, before.commit(creates=[Script("newer").commit()]), found=2)
        assert store.load("newer") is None

    def test_one_commit_cannot_create_a_run_twice(self, store: Store) -> None:
        parent = created(store, "parent")
        twice: list[Commit] = [Script("child").commit(), Script("child", vars={"n": 2}).commit()]
        with pytest.raises(RevisionConflict):
            store.commit(parent.fork().commit(creates=twice))
        assert store.load("child") is None
        assert_stands(store, parent)

    @needs(Capability.ATOMIC)
    def test_messages_and_children_share_the_fate_of_their_commit(self, store: Store) -> None:
        script, other = created(store, "r"), created(store, "other")
        store.commit(other.commit(sent=[message_to("r", "k", message_id="m1")]))
        late = script.fork()
        store.commit(script.begin())
        assert_refused(
            store,
            late.commit(
                sent=[message_to("other", "k", message_id="m2")],
                consumed=["m1"],
                creates=[Script("child").commit()],
                records=[late.note("resumed")],
            ),
            found=2,
        )
        assert [message.message_id for message in store.list_messages("r")] == ["m1"]
        assert store.list_messages("other") == []
        assert store.load("child") is None
        assert_stands(store, script)

    # -- evidence

    def test_evidence_is_kept_once_and_in_order(self, store: Store) -> None:
        script = created(store, "r")
        store.commit(script.begin())
        kept = [evidence_of("r", number) for number in range(3)]
        for evidence in (*kept, kept[1], kept[0]):
            store.keep_evidence(evidence)
        assert store.list_evidence("r") == kept
        assert store.list_evidence("other") == []
        checkpoint = loaded(store, "r").checkpoint
        assert checkpoint is not None
        assert checkpoint.evidence == 3

    def test_evidence_changes_neither_the_run_nor_its_records(self, store: Store) -> None:
        script = created(store, "r")
        store.commit(script.begin())
        store.keep_evidence(evidence_of("r", 1))
        assert as_seen(loaded(store, "r")) == as_seen(script.state)
        store.commit(script.finish({"ok": True}))
        store.keep_evidence(evidence_of("r", 2))
        store.commit(script.begin({"next": 1}))
        assert as_seen(loaded(store, "r")) == as_seen(script.state)
        assert len(store.list_evidence("r")) == 2
        # A chain of the ledger's own may bind evidence: then it is listed where it was kept.
        assert_records([r for r in store.list_records("r") if r["effect"]], script.records)

    def test_evidence_shares_nothing_with_the_store(self, store: Store) -> None:
        created(store, "r")
        store.keep_evidence(evidence_of("r", 1))
        store.list_evidence("r")[0].outcome["result"]["n"] = 99
        given = evidence_of("r", 2)
        store.keep_evidence(given)
        given.outcome["result"]["n"] = 99
        assert store.list_evidence("r") == [evidence_of("r", 1), evidence_of("r", 2)]
