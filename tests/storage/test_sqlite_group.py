"""Group commit: who writes for whom, and what everybody hears."""

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from abstractruntime.errors import (
    NotJson,
    RevisionConflict,
    StoreBusy,
    StoreClosed,
)
from abstractruntime.storage.relational import group
from abstractruntime.storage.relational.store import RelationalStore
from abstractruntime.storage.sqlite_file import SqliteFile
from abstractruntime.testing.commits import Script, message_to
from tests.storage.sqlite_ground import Wiretap, outcome, queued, revision, rows


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RelationalStore]:
    with RelationalStore(SqliteFile(str(tmp_path / "runs.db"))) as store:
        yield store


# ---- sharing a transaction


def test_what_is_queued_together_shares_a_transaction(store: RelationalStore) -> None:
    tap = Wiretap(store, lambda verb, query: None)
    handles = queued(store, [Script(f"r{n}").commit() for n in range(100)])
    store._group.resume()
    for handle in handles:
        handle.result()
    assert tap.transactions == 1


def test_a_transaction_is_bounded_in_members_and_bytes(store: RelationalStore) -> None:
    tap = Wiretap(store, lambda verb, query: None)
    many = [Script(f"r{n}").commit() for n in range(group.MOST_MEMBERS + 1)]
    large = [Script(f"l{n}", vars={"text": "x" * 3_000_000}).commit() for n in range(6)]
    handles = queued(store, [*many, *large])
    store._group.resume()
    for handle in handles:
        handle.result()
    assert tap.transactions == 3


def test_commits_of_one_run_in_one_batch_are_written_in_order(store: RelationalStore) -> None:
    script = Script("r", vars={"n": 0, "text": "x" * 9000})
    commits = [script.commit()]
    for n in range(1, 20):
        commits += [
            script.begin({"conversation": ["m" * 100] * 30 * n}),
            script.finish({"n": n}, vars={"n": n, "text": "x" * 9000}),
        ]
    handles = queued(store, commits)
    store._group.resume()
    for handle in handles:
        handle.result()
    assert revision(store, "r") == len(commits)
    assert store.list_records("r") == script.records
    for at in range(1, len(commits) + 1):
        assert store.load_at("r", at).run.vars["n"] == max((at - 1) // 2, 0)


def test_a_miss_drops_only_its_own_member(store: RelationalStore) -> None:
    scripts = [Script(f"r{n}") for n in range(5)]
    for script in scripts:
        store.commit(script.commit())
    rival = scripts[2].fork()
    store.commit(scripts[2].begin())
    commits = [script.begin() for n, script in enumerate(scripts) if n != 2]
    handles = queued(store, [*commits[:2], rival.begin(), *commits[2:]])
    store._group.resume()
    results = [outcome(handle.result) for handle in handles]
    assert results == [None, None, RevisionConflict, None, None]
    assert [revision(store, f"r{n}") for n in range(5)] == [2] * 5


def test_who_builds_on_what_another_wrote_is_written_on_that(store: RelationalStore) -> None:
    script = Script("r", vars={"text": "x" * 9000})
    store.commit(script.commit())
    rival = script.fork()
    store.commit(script.begin({"mine": "m" * 5000}))
    # The rival's commit misses; the third is made from what truly stands at that revision.
    handles = queued(
        store, [rival.begin({"theirs": "t" * 5000}), script.begin({"mine": "m" * 5001})]
    )
    store._group.resume()
    assert [outcome(handle.result) for handle in handles] == [RevisionConflict, None]
    assert store.list_records("r") == script.records


def test_a_member_that_cannot_be_encoded_fails_alone(store: RelationalStore) -> None:
    good, bad = Script("good"), Script("bad")
    entry = bad.note("odd", value={1, 2})
    handles = queued(store, [good.commit(), bad.commit(records=[entry]), Script("more").commit()])
    store._group.resume()
    assert [outcome(handle.result) for handle in handles] == [None, NotJson, None]
    assert store.load("bad") is None


def test_a_database_error_is_met_by_its_own_member_only(store: RelationalStore) -> None:
    def refuse(verb: str, query: str) -> None:
        if query == "add_message":
            raise ValueError("no such thing can be bound")

    tap = Wiretap(store, refuse)
    sender = Script("sender").commit(sent=[message_to("x", "k", message_id="m")])
    handles = queued(store, [Script("a").commit(), sender, Script("b").commit()])
    store._group.resume()
    assert [outcome(handle.result) for handle in handles] == [None, ValueError, None]
    assert tap.transactions == 4  # together, then one by one
    assert store.load("sender") is None


def test_a_child_that_exists_undoes_its_parent_only(store: RelationalStore) -> None:
    store.commit(Script("child").commit())
    parent, other = Script("parent"), Script("other")
    store.commit(parent.commit())
    births = parent.commit(creates=[Script("fresh").commit(), Script("child").commit()])
    handles = queued(store, [births, other.commit()])
    store._group.resume()
    assert [outcome(handle.result) for handle in handles] == [RevisionConflict, None]
    assert revision(store, "parent") == 1
    assert store.load("fresh") is None
    parent = Script.of(store.load("parent"))  # type: ignore[arg-type]
    store.commit(parent.commit(creates=[Script("fresh").commit()]))
    store.commit(parent.begin())
    assert revision(store, "fresh") == 1


# ---- waiting


def test_a_waiter_gives_up_after_its_patience_and_is_not_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "_GRACE", 0.05)
    with RelationalStore(SqliteFile(str(tmp_path / "runs.db")), patience=0.05) as store:
        assert store._group.quiet(timeout=1)
        with pytest.raises(StoreBusy, match="nothing of it was written"):
            store.commit(Script("r").commit())
        store._group.resume()
        store.commit(Script("other").commit())
        assert store.load("r") is None


def test_an_interrupted_waiter_is_not_written_later(store: RelationalStore) -> None:
    assert store._group.quiet(timeout=1)

    class Interrupted:
        def acquire(self, timeout: float) -> bool:
            raise KeyboardInterrupt

        def locked(self) -> bool:
            return False

    store._group._make_gate = lambda me: setattr(me, "gate", Interrupted())  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        store.commit(Script("r").commit())
    store._group.resume()
    store.commit(Script("other").commit())
    assert store.load("r") is None


def test_threads_that_commit_at_once_all_hear_their_own_result(store: RelationalStore) -> None:
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            script = Script(name)
            for _ in range(25):
                store.commit(script.commit(records=[script.note("hello")]))
            assert store.list_records(name) == script.records
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"r{n}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_two_threads_may_wait_for_one_handle(store: RelationalStore) -> None:
    (handle,) = queued(store, [Script("r").commit()])
    threads = [threading.Thread(target=handle.result) for _ in range(4)]
    for thread in threads:
        thread.start()
    store._group.resume()
    for thread in threads:
        thread.join()
    assert revision(store, "r") == 1


# ---- callbacks and the end


def test_a_callback_comes_once_when_the_result_is_there(store: RelationalStore) -> None:
    (handle,) = queued(store, [Script("r").commit()])
    called = threading.Event()
    calls: list[bool] = []
    handle.add_done_callback(lambda: (calls.append(handle.settled), called.set())[0])
    assert calls == []
    store._group.resume()
    assert called.wait(10)
    handle.add_done_callback(lambda: calls.append(True))  # at once: it is done
    assert calls == [True, True]


def test_a_callback_that_fails_harms_nobody_else(
    store: RelationalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("sys.excepthook", lambda kind, error, trace: said.append(str(error)))
    handles = queued(store, [Script("a").commit(), Script("b").commit()])
    done = threading.Event()

    def fail() -> None:
        raise RuntimeError("Event loop is closed")

    handles[0].add_done_callback(fail)
    handles[1].add_done_callback(done.set)
    store._group.resume()
    assert done.wait(10)
    assert said == ["Event loop is closed"]
    store.commit(Script("c").commit())


def test_closing_writes_what_was_submitted(tmp_path: Path) -> None:
    store = RelationalStore(SqliteFile(str(tmp_path / "runs.db")))
    handles = [store.submit(Script(f"r{n}").commit()) for n in range(300)]
    store.close()
    for handle in handles:
        handle.result()
    with pytest.raises(StoreClosed):
        store.submit(Script("late").commit())
    assert rows(tmp_path / "runs.db", "SELECT count(*) FROM runs") == [(300,)]


def test_without_threads_to_be_had_submit_writes_by_itself(
    store: RelationalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    store.submit(Script("r").commit()).result()
    assert revision(store, "r") == 1


def test_the_writer_thread_goes_when_it_is_not_needed(
    store: RelationalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "_IDLE", 0.01)
    store.submit(Script("r").commit()).result()
    thread = store._group._thread
    if thread is not None:
        thread.join(10)
        assert not thread.is_alive()
    store.submit(Script("again").commit()).result()
    assert revision(store, "again") == 1
    gc.collect()
