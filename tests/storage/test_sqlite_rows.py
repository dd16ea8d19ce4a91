"""What a SQLite store writes: how much, where it stands whole, and that all of it comes back."""

import copy
import json
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abstractruntime.core.canonical import encode
from abstractruntime.core.commit import Entry
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage.relational import lines, moves
from abstractruntime.storage.relational.store import RelationalStore
from abstractruntime.storage.relational.sums import log_sums
from abstractruntime.storage.relational.trail import Texts
from abstractruntime.storage.sqlite_file import SqliteFile
from abstractruntime.testing.commits import Script, as_seen, time_at, waiting_for
from bench.micro_store import Commits
from tests.storage.sqlite_ground import rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[RelationalStore]:
    with opened(path) as store:
        yield store


def opened(path: Path) -> RelationalStore:
    return RelationalStore(SqliteFile(str(path), durability="process"))


def statements(store: RelationalStore, call: Any) -> list[str]:
    """The statements that the writing connection executes."""
    seen: list[str] = []
    session: Any = store._database.session
    connection = session._ready()

    def trace(event: dict[str, Any]) -> None:
        seen.append(" ".join(event["sql"].split()[:3]))

    connection.trace_v2(apsw.SQLITE_TRACE_STMT, trace)
    call()
    connection.trace_v2(0, None)
    return seen


numbers = count()


def text(size: int, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices("abcdefghijklmnop ", k=size))


# ---- the hot path


def test_a_commit_is_one_update_and_one_insert(store: RelationalStore) -> None:
    script = Script("r")
    store.commit(script.commit())
    store.commit(script.begin())
    for commit in (script.finish({"ok": True}), script.begin({"long": text(5000)})):
        assert statements(store, lambda commit=commit: store.commit(commit)) == [
            "BEGIN IMMEDIATE",
            "UPDATE runs SET",
            "INSERT INTO commits",
            "COMMIT",
        ]


def indexed_columns(path: Path) -> set[str]:
    names = rows(path, "SELECT name FROM pragma_index_list('runs')")
    return {
        column
        for (name,) in names
        for (column,) in rows(path, "SELECT name FROM pragma_index_info(?)", name)
    }


def test_the_hot_statement_touches_no_indexed_column(store: RelationalStore, path: Path) -> None:
    from abstractruntime.storage.sql import queries

    assignments = queries("sqlite")["move_run"].partition(" SET ")[2].partition(" WHERE ")[0]
    assigned = {part.partition("=")[0].strip() for part in assignments.split(",")}
    assert "head" in assigned
    assert assigned & indexed_columns(path) == set()


def test_a_running_run_that_goes_on_running_takes_the_hot_statement(
    store: RelationalStore,
) -> None:
    def kind(commit: Any) -> str:
        seen: list[str] = []
        session: Any = store._database.session
        run = session.run
        session.run = lambda query, values=(): (seen.append(query), run(query, values))[1]
        store.commit(commit)
        del session.run
        return seen[0]

    script = Script("r")
    store.commit(script.commit())
    assert kind(script.begin(vars={"n": 1})) == "move_run"
    assert kind(script.finish()) == "move_run"
    assert kind(script.commit(waiting=waiting_for("k"), status=RunStatus.WAITING)) == "turn_run"
    assert kind(script.commit()) == "turn_run"  # at rest its updated_at is in the index
    assert kind(script.commit(waiting=None, status=RunStatus.RUNNING)) == "turn_run"
    assert kind(script.begin()) == "move_run"


# ---- what stands whole where


@pytest.mark.parametrize(("size", "whole"), [(10, True), (4070, True), (4100, False)])
def test_small_vars_stand_in_the_run_s_row(
    store: RelationalStore, path: Path, size: int, whole: bool
) -> None:
    script = Script("r", vars={"text": text(size)})
    store.commit(script.commit())
    store.commit(script.commit(vars={"text": text(size), "n": 1}))
    ((vars, head, base),) = rows(path, "SELECT vars, head, base FROM runs")
    assert (vars is not None) == whole
    assert head is not None
    assert base == 1
    assert rows(path, "SELECT vars IS NOT NULL, delta IS NOT NULL FROM log") == [(1, 0), (0, 1)]


def test_a_large_output_or_wait_stands_in_the_log_only(store: RelationalStore, path: Path) -> None:
    script = Script("r")
    store.commit(script.commit())
    wait = waiting_for("k", details={"page": text(100_000)})
    store.commit(script.commit(status=RunStatus.WAITING, waiting=wait))
    assert rows(path, "SELECT head FROM runs") == [(None,)]
    assert as_seen(store.load("r").run) == as_seen(script.state)  # type: ignore[union-attr]
    store.commit(script.commit(status=RunStatus.RUNNING, waiting=None))
    assert rows(path, "SELECT head IS NOT NULL FROM runs") == [(1,)]
    store.commit(script.finish_with({"report": text(300_000)}))
    assert rows(path, "SELECT head FROM runs") == [(None,)]
    assert as_seen(store.load("r").run) == as_seen(script.state)  # type: ignore[union-attr]
    assert store.list_runs()[0].output == script.state.output
    ((largest,),) = rows(path, "SELECT max(length(head)) FROM log")
    assert largest < 310_000


def test_a_new_base_is_written_when_deltas_outweigh_it_or_after_256(
    store: RelationalStore, path: Path
) -> None:
    script = Script("slow", vars={"text": text(50_000)})
    store.commit(script.commit())
    for n in range(600):
        store.commit(script.commit(vars={**script.state.vars, "n": n}))
    fast = Script("fast", vars={"text": text(50_000)})
    store.commit(fast.commit())
    for n in range(30):
        store.commit(fast.commit(vars={"text": text(50_000), "more": text(9000, n)}))
    bases = """SELECT place & 0xffffffff FROM log JOIN runs ON number = place >> 32
               WHERE run_id = ? AND log.vars IS NOT NULL ORDER BY place"""
    slow_ones = [row[0] for row in rows(path, bases, "slow")]
    fast_ones = [row[0] for row in rows(path, bases, "fast")]
    assert slow_ones == [1, 257, 513]
    assert 4 <= len(fast_ones) <= 7
    assert store.load_at("slow", 400).run.vars["n"] == 398


def test_a_small_state_in_a_long_run_costs_what_changes(store: RelationalStore, path: Path) -> None:
    script = Script("r", vars={"context": text(470), "n": 0})
    store.commit(script.commit())
    for n in range(300):
        store.commit(script.begin())
        store.commit(script.finish({"ok": True}, vars={"context": text(470), "n": n}))
    size = "length(head) + coalesce(length(delta), 0) + coalesce(length(vars), 0)"
    ((bytes_per_step,),) = rows(path, f"SELECT sum({size}) / 300 FROM log")
    assert bytes_per_step < 600


# ---- payloads


def conversation(store: RelationalStore, script: Script, turns: int) -> None:
    """Steps of one node, each sent the whole list, which grows by 1 KB a turn."""
    said: list[Any] = []
    for turn in range(turns):
        said.append({"role": "user", "content": text(970, turn)})
        store.commit(script.begin({"messages": said, "turn": turn}))
        store.commit(script.finish({"n": turn}))


def test_a_thousand_growing_payloads_cost_what_they_add(store: RelationalStore, path: Path) -> None:
    commits = Commits("agent")
    said = [encode({"role": "user", "content": text(970, turn)}) for turn in range(1000)]
    for turn in range(1000):
        payload = b'{"messages":[' + b",".join(said[: turn + 1]) + b'],"turn":%d}' % turn
        store.commit(commits.next(payload))
    ((stored, spliced),) = rows(
        path,
        "SELECT sum(length(records)), sum(instr(records, '\"payload_from\"') > 0) FROM log",
    )
    assert stored < 3_000_000 + 1000 * 800  # without payloads the records take some 800 bytes
    assert spliced > 990
    for turn in (0, 1, 2, 250, 255, 256, 257, 700, 998):
        (intent,) = store.list_records("agent", after=turn, limit=1)[-1:]
        outcome = store.list_records("agent", after=turn + 1, limit=1)[0]
        payload = intent["effect"]["payload"]
        assert payload == outcome["effect"]["payload"]
        assert payload["turn"] == turn
        assert [encode(message) for message in payload["messages"]] == said[: turn + 1]


def test_a_new_process_goes_on_with_the_chain(path: Path) -> None:
    script = Script("agent")
    with opened(path) as store:
        store.commit(script.commit())
        conversation(store, script, 20)
    for _ in range(5):
        with opened(path) as store:
            before = rows(path, "SELECT sum(length(records)) FROM log")[0][0]
            store.commit(script.begin({"messages": script.records[-1]["effect"]["payload"]}))
            store.commit(script.finish())
            assert rows(path, "SELECT sum(length(records)) FROM log")[0][0] - before < 3000
    with opened(path) as store:
        assert store.list_records("agent") == script.records
        assert store.list_records("agent", after=30, limit=3) == [
            r for r in script.records if 30 < r["revision"] <= 33
        ]


def test_a_chain_of_payloads_begins_anew_when_it_outweighs_them(
    store: RelationalStore, path: Path
) -> None:
    script = Script("r")
    store.commit(script.commit())
    for n in range(40):
        store.commit(script.begin({"same": text(6000), "other": text(1500, n)}))
        store.commit(script.finish())
    whole = """SELECT count(*) FROM log WHERE instr(records, '"payload":{"same"') > 0"""
    assert 5 <= rows(path, whole)[0][0] <= 12
    assert store.list_records("r") == script.records


def test_nodes_have_chains_of_their_own_and_of_many_the_oldest_are_forgotten(
    store: RelationalStore, path: Path
) -> None:
    script = Script("r")
    store.commit(script.commit())
    for n in range(150):
        store.commit(script.begin({"text": text(3000), "n": n}, current_node=f"node-{n % 70}"))
        store.commit(script.finish())
    ((payloads,),) = rows(path, "SELECT payloads FROM runs")
    assert len(json.loads(payloads)) == 64
    assert store.list_records("r") == script.records


def test_what_is_remembered_of_payloads_is_bounded() -> None:
    texts = Texts()
    for n in range(50):
        texts.put((f"r{n}", 1, 0), b"x" * 1_000_000, instead_of=None)
    assert texts.get(("r49", 1, 0)) is not None
    assert texts.get(("r0", 1, 0)) is None
    texts.put(("r49", 2, 0), b"y", instead_of=("r49", 1, 0))
    assert texts.get(("r49", 1, 0)) is None
    texts.put(("huge", 1, 0), b"z" * 40_000_000, instead_of=None)
    assert texts.get(("huge", 1, 0)) is None


def test_a_step_s_effect_is_stored_once(store: RelationalStore, path: Path) -> None:
    script = Script("r")
    store.commit(script.commit())
    store.commit(script.begin({"marker": "only once"}))
    store.commit(script.finish({"result": text(5000)}))
    ((count,),) = rows(
        path,
        "SELECT sum((length(records) - length(replace(records, 'only once', ''))) / 9) FROM log",
    )
    assert count == 1
    assert store.list_records("r") == script.records


def test_a_later_attempt_has_its_own_times(store: RelationalStore) -> None:
    script = Script("r")
    store.commit(script.commit())
    store.commit(script.begin({"n": 1}))
    failed = script.ended(status="failed", error="no")
    step = script.checkpoint.open_steps[""]
    again = copy.deepcopy(script.started({"n": 1}).record)
    again.update(step_id=step.step_id, attempt=2, visit=step.visit, started_at=time_at(99))
    store.commit(script.commit(records=[failed, Entry(again, opened=step.opened)]))
    late = copy.deepcopy(again)
    late.update(status="completed", ended_at=time_at(100))
    store.commit(script.commit(records=[Entry(late, opened=step.opened)]))
    assert store.list_records("r") == script.records


def test_a_step_that_begins_and_waits_in_one_commit_is_stored_once(
    store: RelationalStore, path: Path
) -> None:
    script = Script("r")
    store.commit(script.commit())
    intent = script.started({"prompt": text(3000)})
    waits = copy.deepcopy(intent.record)
    waits.update(status="waiting", result={"wait": {"wait_key": "k"}}, ended_at=time_at(9))
    store.commit(script.commit(records=[intent, Entry(waits, opened=script.revision + 1)]))
    assert rows(path, "SELECT max(length(records)) FROM log")[0][0] < 4200
    assert store.list_records("r") == script.records


def test_a_line_that_refers_to_nothing_is_reported(store: RelationalStore, path: Path) -> None:
    script = Script("r")
    store.commit(script.commit())
    store.commit(script.begin())
    store.commit(script.finish())
    change = "UPDATE commits SET records = '[]', records_sum = ? WHERE place & 0xffffffff = 2"
    rows(path, change, log_sums("r", 2, b"", None, None, b"[]")[1])
    with pytest.raises(StoreCorrupt, match="revision 2 does not hold the effect of step"):
        store.list_records("r")
    rows(path, "DELETE FROM commits WHERE place & 0xffffffff = 2")
    with pytest.raises(StoreCorrupt, match="revision 2 is not in the log"):
        store.list_records("r")
    with pytest.raises(StoreCorrupt, match="needs the log rows from 1 on"):
        store.load_at("r", 3)


# ---- exactness

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(payloads=st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=6))
def test_every_payload_and_result_comes_back_as_it_was(
    store: RelationalStore, payloads: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LARGE", 20)
    monkeypatch.setattr(moves, "SMALL", 40)
    run_id = f"r{next(numbers)}"
    script = Script(run_id)
    store.commit(script.commit())
    for payload in payloads:
        store.commit(script.begin(payload))
        store.commit(script.finish({"got": payload}, vars={"last": payload}))
    store.commit(script.finish_with({"all": payloads}))
    assert text_of(store.list_records(run_id)) == text_of(script.records)
    loaded = store.load(run_id)
    assert loaded is not None
    assert as_seen(loaded.run) == as_seen(script.state)


def text_of(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
