"""The store contract, sixth concern: many callers at once, and the end of the store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from abstractruntime.core.commit import Commit
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import RevisionConflict, StoreClosed
from abstractruntime.storage.base import Capability, Store
from abstractruntime.testing.commits import (
    Script,
    as_seen,
    evidence_of,
    message_to,
    steps_of,
    waiting_for,
)
from abstractruntime.testing.contract_base import (
    ContractBase,
    assert_refused,
    assert_stands,
    created,
    loaded,
    needs,
)

THREADS = 8
ROUNDS = 12


class ThreadsContract(ContractBase):
    """Concurrency, handles, closing, opening again."""

    def test_of_many_commits_on_one_revision_one_wins(self, store: Store) -> None:
        script = created(store, "r", vars={"text": "x" * 6000, "by": -1})
        for _ in range(ROUNDS):
            rivals = [script.fork() for _ in range(THREADS)]
            commits = [
                rival.commit(vars={**rival.state.vars, "by": n}, records=[rival.note("won", by=n)])
                for n, rival in enumerate(rivals)
            ]
            results = at_once(commits, lambda commit: outcome_of(store, commit))
            winners = [n for n, result in enumerate(results) if result is None]
            assert len(winners) == 1, results
            assert all(isinstance(r, RevisionConflict) for r in results if r is not None)
            script = rivals[winners[0]]
            assert as_seen(loaded(store, "r")) == as_seen(script.state)
        assert_stands(store, script)

    def test_runs_move_beside_each_other(self, store: Store) -> None:
        scripts = [created(store, f"r{n}", vars={"n": -1}) for n in range(THREADS)]

        def drive(script: Script) -> None:
            for commit in steps_of(script, ROUNDS):
                store.commit(commit)

        at_once(scripts, drive)
        for script in scripts:
            assert_stands(store, script)

    def test_one_of_many_creations_wins(self, store: Store) -> None:
        scripts = [Script("r", vars={"by": n}) for n in range(THREADS)]
        results = at_once([s.commit() for s in scripts], lambda c: outcome_of(store, c))
        (winner,) = [n for n, result in enumerate(results) if result is None]
        assert_stands(store, scripts[winner])

    def test_a_reader_never_sees_half_a_commit(self, store: Store) -> None:
        script = created(store, "r", vars={"a": 1, "pad": "x" * 6000, "b": 1})
        done = threading.Event()

        def write() -> None:
            try:
                for _ in range(40):
                    n = script.revision + 1
                    store.commit(
                        script.commit(
                            vars={**script.state.vars, "a": n, "b": n}, records=[script.note("n")]
                        )
                    )
            finally:
                done.set()

        def read() -> None:
            seen = 0
            while not done.is_set():
                run = loaded(store, "r")
                assert run.checkpoint is not None
                assert run.vars["a"] == run.vars["b"] == run.checkpoint.revision
                assert run.checkpoint.revision >= seen
                seen = run.checkpoint.revision
                records = store.list_records("r")
                assert [r["revision"] for r in records] == list(range(2, len(records) + 2))
                assert len(records) + 1 >= seen

        at_once([write, read, read], lambda work: work())
        assert_stands(store, script)

    @needs(Capability.ATOMIC)
    def test_messages_to_a_run_that_moves_are_all_kept(self, store: Store) -> None:
        target = created(store, "r")
        senders = [created(store, f"s{n}") for n in range(4)]

        def send(sender: Script) -> None:
            for n in range(ROUNDS):
                message = message_to("r", sender.run_id, n, message_id=f"{sender.run_id}-{n}")
                store.commit(sender.commit(sent=[message]))

        def move() -> None:
            for commit in steps_of(target, ROUNDS):
                store.commit(commit)

        at_once([*[lambda s=s: send(s) for s in senders], move], lambda work: work())
        for sender in senders:
            heard = store.list_messages("r", name=sender.run_id)
            assert [message.payload for message in heard] == list(range(ROUNDS))
        assert_stands(store, target)

    # -- handles

    def test_submitted_commits_have_each_their_own_result(self, store: Store) -> None:
        scripts = [created(store, f"r{n}") for n in range(4)]
        late = scripts[1].fork()
        store.commit(scripts[1].commit())
        handles = [
            store.submit(script.commit()) for script in (scripts[0], late, scripts[2], scripts[3])
        ]
        with pytest.raises(RevisionConflict):
            handles[1].result()
        for n in (0, 2, 3):
            handles[n].result()
            handles[n].result()
        for script in scripts:
            assert_stands(store, script)

    def test_a_callback_is_called_once_when_the_result_is_there(self, store: Store) -> None:
        script = created(store, "r")
        late = script.fork()
        for commit, refused in ((script.commit(), False), (late.commit(), True)):
            called = threading.Semaphore(0)
            handle = store.submit(commit)
            results: list[bool] = []

            def told(called: threading.Semaphore = called, results: list[bool] = results) -> None:
                results.append(True)
                called.release()

            handle.add_done_callback(told)
            assert called.acquire(timeout=10)
            if refused:
                with pytest.raises(RevisionConflict):
                    handle.result()
            else:
                handle.result()
            handle.add_done_callback(told)
            assert called.acquire(timeout=10)
            assert len(results) == 2

    def test_the_numbers_of_changes_tell_of_commits(self, store: Store) -> None:
        script = created(store, "r")
        before = store.changes()
        assert store.changes() == before
        store.commit(script.commit())
        assert store.changes() != before

    # -- the end

    def test_a_closed_store_says_so(self, store: Store) -> None:
        script = created(store, "r")
        store.close()
        asked: list[Callable[[], object]] = [
            lambda: store.load("r"),
            lambda: store.commit(script.commit()),
            lambda: store.list_records("r"),
            lambda: store.list_messages("r"),
            lambda: store.list_evidence("r"),
            lambda: store.keep_evidence(evidence_of("r", 1)),
        ]
        if Capability.QUERYABLE in store.capabilities:
            asked += [store.list_runs, store.next_wake, store.list_driven, store.list_answered]
        for ask in asked:
            with pytest.raises(StoreClosed):
                ask()
        store.close()

    def test_a_store_closes_at_the_end_of_a_with_block(self, store: Store) -> None:
        with store as same:
            assert same is store
            created(same, "r")
        with pytest.raises(StoreClosed):
            store.load("r")

    def test_a_store_says_what_is_in_force(self, store: Store) -> None:
        facts = store.facts()
        assert facts["url"] == store.url
        assert facts["capabilities"] == sorted(c.value for c in store.capabilities)
        assert store.hash_chain in (None, 1, 2)

    @needs(Capability.DURABLE)
    def test_what_was_acknowledged_is_there_when_the_store_is_opened_again(
        self, store: Store
    ) -> None:
        script = created(store, "r", vars={"text": "é" * 9000, "n": -1})
        for commit in steps_of(script, 20):
            store.commit(commit)
        other = created(store, "waits", status=RunStatus.WAITING, waiting=waiting_for("k"))
        atomic = Capability.ATOMIC in store.capabilities
        sent = [message_to("waits", "k", {"é": 1}, message_id="m", dedupe_key="d")]
        if atomic:
            store.commit(script.commit(sent=sent))
        store.keep_evidence(evidence_of("r", 1))
        store.commit(script.begin({"text": "é" * 9000}))
        store.close()
        again = self.reopen(store)
        try:
            assert_stands(again, script)
            assert_stands(again, other)
            assert again.list_evidence("r") == [evidence_of("r", 1)]
            if atomic:
                assert again.list_messages("waits") == sent
                store_again = [message_to("waits", "k", message_id="m2", dedupe_key="d")]
                again.commit(script.commit(sent=store_again))
                assert again.list_messages("waits") == sent
            assert_refused(again, Script("r").commit(), found=script.revision)
            again.commit(script.finish({"ok": True}))
            assert_stands(again, script)
        finally:
            again.close()


def at_once(items: list, work: Callable) -> list:  # type: ignore[type-arg]
    """What `work` makes of each item, all begun together, each in its own thread."""
    start = threading.Barrier(len(items))

    def one(item: object) -> object:
        start.wait(timeout=10)
        return work(item)

    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(one, items))


def outcome_of(store: Store, commit: Commit) -> Exception | None:
    """What refused the commit; None when it is written."""
    try:
        store.commit(commit)
    except RevisionConflict as error:
        return error
    return None
