"""Runs as files: their format, what a crash leaves, and which names they may have."""

import errno
import json
import os
import stat
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.models import (
    RunState,
    RunStatus,
    StepRecord,
    WaitReason,
    WaitState,
    run_to_dict,
)
from abstractruntime.errors import (
    InvalidIdentifier,
    NotJson,
    RevisionConflict,
    StoreCorrupt,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from abstractruntime.storage import JsonFileRunStore, JsonlLedgerStore, QueryableRunStore

FIELDS = [
    "run_id",
    "workflow_id",
    "status",
    "current_node",
    "vars",
    "waiting",
    "output",
    "error",
    "created_at",
    "updated_at",
    "actor_id",
    "session_id",
    "parent_run_id",
]


def run(run_id: str = "r", **fields: Any) -> RunState:
    return RunState(
        **{"workflow_id": "wf", "status": RunStatus.RUNNING, "current_node": "n", **fields},
        run_id=run_id,
    )


def at(minute: int) -> str:
    return f"2026-01-01T00:{minute:02}:00.000000+00:00"


def names(folder: Path) -> list[str]:
    """The files in the folder, without the hidden folder for locks and index."""
    return sorted(name for name in os.listdir(folder) if name != ".abstractruntime")


# ---- the format


def test_a_run_is_one_file_named_by_its_id_with_the_fields_in_order(tmp_path: Path) -> None:
    JsonFileRunStore(tmp_path).save(run("r-1", vars={"who": "Zoë"}))
    assert names(tmp_path) == ["run_r-1.json"]
    assert list(json.loads((tmp_path / "run_r-1.json").read_text())) == FIELDS


def test_the_text_is_indented_by_two_and_not_escaped_to_ascii(tmp_path: Path) -> None:
    saved = run(vars={"who": 'Zoë "\n', "none": [], "empty": {}, "list": [1, [2.5, True], None]})
    JsonFileRunStore(tmp_path).save(saved)
    text = (tmp_path / "run_r.json").read_bytes().decode()
    assert text == json.dumps(run_to_dict(saved), indent=2, ensure_ascii=False)


def test_integers_of_any_size_are_written_exactly_in_the_same_layout(tmp_path: Path) -> None:
    saved = run(vars={"big": -(3**100), "s": 'a "quoted", [text]: {\\}', "x": [[], {}, [{}]]})
    store = JsonFileRunStore(tmp_path)
    store.save(saved)
    text = (tmp_path / "run_r.json").read_bytes().decode()
    assert text == json.dumps(run_to_dict(saved), indent=2, ensure_ascii=False)
    assert store.load("r") == saved


def test_a_checkpoint_stands_last_in_the_file(tmp_path: Path) -> None:
    store = JsonFileRunStore(tmp_path)
    saved = run(checkpoint=Checkpoint(revision=2, visits={"n": 1}, entered=True))
    store.save(saved)
    assert list(json.loads((tmp_path / "run_r.json").read_text())) == [*FIELDS, "checkpoint"]
    assert store.load("r") == saved


def test_a_run_comes_back_equal_with_its_wait(tmp_path: Path) -> None:
    wait = WaitState(WaitReason.USER, "k", None, "n", "answer", "Why?", ["a"], False, {"d": 1})
    saved = run(status=RunStatus.WAITING, waiting=wait, output={}, error="e", actor_id="a")
    JsonFileRunStore(tmp_path).save(saved)
    assert JsonFileRunStore(str(tmp_path)).load("r") == saved


def test_an_unknown_run_is_none_and_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert JsonFileRunStore(tmp_path / "a" / "b").load("nobody") is None
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_of_another_implementation_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "run_r.json").write_text(
        '{"run_id":"r","workflow_id":"wf","status":"waiting","current_node":"ask",'
        '"vars":{"n":1},"waiting":{"reason":"event","wait_key":"k","colour":"red"},'
        '"created_at":"2026-01-01T00:00:00+00:00","updated_at":"2026-01-01T00:00:00+00:00"}'
    )
    loaded = JsonFileRunStore(tmp_path).load("r")
    assert loaded is not None
    assert loaded.waiting == WaitState(WaitReason.EVENT, "k")
    assert (loaded.vars, loaded.output, loaded.checkpoint) == ({"n": 1}, None, None)


def test_a_wait_without_a_reason_is_a_value_error_with_the_apis_text(tmp_path: Path) -> None:
    data = {**run_to_dict(run()), "waiting": {"wait_key": "k"}}
    (tmp_path / "run_r.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"^Persisted waiting state missing 'reason'$"):
        JsonFileRunStore(tmp_path).load("r")


def test_keys_that_this_version_does_not_know_survive_a_save(tmp_path: Path) -> None:
    data = {**run_to_dict(run()), "colour": "red", "checkpoint": {"revision": 1}, "shape": [1]}
    (tmp_path / "run_r.json").write_text(json.dumps(data))
    store = JsonFileRunStore(tmp_path)
    loaded = store.load("r")
    assert loaded is not None
    loaded.current_node = "m"
    store.save(loaded)
    saved = json.loads((tmp_path / "run_r.json").read_text())
    assert list(saved) == [*FIELDS, "colour", "shape", "checkpoint"]
    assert (saved["colour"], saved["shape"], saved["current_node"]) == ("red", [1], "m")


def test_runs_and_ledgers_may_share_a_folder(tmp_path: Path) -> None:
    runs, ledgers = JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path)
    runs.save(run())
    ledgers.append(StepRecord.start(run=run(), node_id="n", effect=None))
    assert names(tmp_path) == ["ledger_r.jsonl", "run_r.json"]
    assert [each.run_id for each in runs.list_runs()] == ["r"]
    assert len(ledgers.list("r")) == 1


# ---- refusals


def test_what_json_cannot_hold_is_refused_with_its_path_and_the_file_stays(tmp_path: Path) -> None:
    store = JsonFileRunStore(tmp_path)
    store.save(run())
    before = (tmp_path / "run_r.json").read_bytes()
    with pytest.raises(NotJson) as caught:
        store.save(run(vars={"when": [object()]}))
    assert caught.value.where["path"] == "$.vars.when[0]"
    assert (tmp_path / "run_r.json").read_bytes() == before


def test_a_stale_object_is_refused_and_names_both_revisions(tmp_path: Path) -> None:
    JsonFileRunStore(tmp_path).save(run(checkpoint=Checkpoint(revision=5)))
    with pytest.raises(RevisionConflict) as caught:
        JsonFileRunStore(tmp_path).save(run(checkpoint=Checkpoint(revision=4)))
    assert caught.value.where == {"run_id": "r", "expected": 4, "found": 5}


def test_a_run_without_a_checkpoint_leaves_the_kernels_fields_alone(tmp_path: Path) -> None:
    store, kernel = JsonFileRunStore(tmp_path), Checkpoint(revision=5, visits={"n": 3})
    store.save(run(checkpoint=kernel))
    store.save(run(current_node="edited"))
    loaded = store.load("r")
    assert loaded is not None
    # The edit has a revision of its own, above that of the commit beneath it.
    assert (loaded.current_node, loaded.checkpoint) == ("edited", replace(kernel, revision=6))
    assert loaded.checkpoint is not None
    assert loaded.checkpoint.last_commit == 5


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"run"', '{"run_id": "r"}', '{"vars": NaN}', "\ufeff{}"]
)
def test_a_file_that_holds_no_run_is_named_and_never_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run_r.json"
    path.write_text(text)
    store = JsonFileRunStore(tmp_path)
    for call in (lambda: store.load("r"), lambda: store.save(run()), store.list_runs):
        with pytest.raises(StoreCorrupt, match=r"run_r\.json"):
            call()
    assert path.read_text() == text


def test_a_file_that_holds_another_run_is_not_taken_for_this_one(tmp_path: Path) -> None:
    store = JsonFileRunStore(tmp_path)
    store.save(run("a"))
    (tmp_path / "run_a.json").rename(tmp_path / "run_b.json")
    with pytest.raises(StoreCorrupt, match="holds the run 'a', not 'b'"):
        store.load("b")


NASTY = ["", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", ".hidden", "a..b", "a\nb", "a\x00b"]
NASTY += ["a\x7f", "a\x9b", "a\u2028b", "a\ud800", "x" * 257]


@pytest.mark.parametrize("run_id", NASTY)
def test_an_id_that_could_leave_the_folder_is_refused_before_it_touches_a_path(
    tmp_path: Path, run_id: str
) -> None:
    runs, ledgers = JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path)
    nasty = run(run_id)
    for call in (
        lambda: runs.save(nasty),
        lambda: runs.load(run_id),
        lambda: ledgers.append(StepRecord.start(run=nasty, node_id="n", effect=None)),
        lambda: ledgers.list(run_id),
        lambda: ledgers.last(run_id),
    ):
        with pytest.raises(InvalidIdentifier):
            call()
    assert names(tmp_path) == []


def test_an_id_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidIdentifier):
        JsonFileRunStore(tmp_path).load(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "run_id",
    ["0b0e7a8c-9b9e-4a37-8f3b-5a1d0d1c2e3f", "order 17", "Zoë", "日本", "a.b", "user:1", "-", "~"],
)
def test_ordinary_text_is_a_good_id(tmp_path: Path, run_id: str) -> None:
    store, ledger = JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path)
    store.save(run(run_id))
    ledger.append(StepRecord.start(run=run(run_id), node_id="n", effect=None))
    assert names(tmp_path) == [f"ledger_{run_id}.jsonl", f"run_{run_id}.json"]
    assert store.load(run_id) == store.list_runs()[0]
    assert len(ledger.list(run_id)) == 1


@pytest.mark.parametrize("letter", ["x", "é", "日", "😀"])
def test_ids_of_256_characters_have_files_of_their_own(tmp_path: Path, letter: str) -> None:
    store, ledger = JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path)
    ids = [letter * 256, letter * 255 + "y", letter * 255]
    for run_id in ids:
        store.save(run(run_id))
        ledger.append(StepRecord.start(run=run(run_id), node_id="n", effect=None))
    assert len(names(tmp_path)) == 6
    for run_id in ids:
        loaded = store.load(run_id)
        assert loaded is not None
        assert loaded.run_id == run_id == ledger.list(run_id)[0]["run_id"]


# ---- what a crash or a failing medium leaves


def failing(code: int) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "error"),
    [(errno.ENOSPC, StoreFull), (errno.EROFS, StoreReadOnly), (errno.EIO, StoreUnavailable)],
)
def test_a_save_that_fails_at_any_step_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int, error: type[Exception]
) -> None:
    store = JsonFileRunStore(tmp_path)
    store.save(run(vars={"old": True}))
    before = (tmp_path / "run_r.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, step, failing(code))
        with pytest.raises(error):
            store.save(run(vars={"new": True}))
    assert (tmp_path / "run_r.json").read_bytes() == before
    assert names(tmp_path) == ["run_r.json"]


def test_an_interrupt_in_mid_save_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JsonFileRunStore(tmp_path)
    store.save(run(vars={"old": True}))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.save(run(vars={"new": True}))
    loaded = store.load("r")
    assert loaded is not None
    assert loaded.vars == {"old": True}
    assert names(tmp_path) == ["run_r.json"]


def test_a_save_is_synced_then_renamed_then_its_folder_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, calls = JsonFileRunStore(tmp_path), []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def spy_replace(source: Any, target: Any) -> None:
        assert Path(source).parent == Path(target).parent == tmp_path
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    store.save(run())
    assert calls == ["file", "rename", "folder"]


def test_a_temp_file_that_a_killed_process_left_is_no_run(tmp_path: Path) -> None:
    store = JsonFileRunStore(tmp_path)
    (tmp_path / ".0123456789abcdef-1-2-33.tmp").write_text('{"run_id"')
    store.save(run())
    assert [each.run_id for each in store.list_runs()] == ["r"]


def test_threads_that_save_never_show_half_a_run(tmp_path: Path) -> None:
    stores = [JsonFileRunStore(tmp_path), JsonFileRunStore(tmp_path)]
    stores[0].save(run(vars={"text": "0" * 5000}))
    seen: list[str] = []

    def save(store: JsonFileRunStore, digit: str) -> None:
        for _ in range(20):
            store.save(run(vars={"text": digit * 5000}))
            loaded = store.load("r")
            assert loaded is not None
            seen.append(loaded.vars["text"])

    threads = [
        threading.Thread(target=save, args=(store, str(n))) for n, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 40
    assert {len(set(text)) for text in seen} == {1}
    assert names(tmp_path) == ["run_r.json"]


def test_of_threads_that_save_the_same_next_revision_no_older_one_ends_up_stored(
    tmp_path: Path,
) -> None:
    store, gate = JsonFileRunStore(tmp_path), threading.Barrier(8)

    def save(revision: int) -> None:
        gate.wait()
        with suppress(RevisionConflict):
            JsonFileRunStore(tmp_path).save(run(checkpoint=Checkpoint(revision=revision)))

    threads = [threading.Thread(target=save, args=(revision,)) for revision in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loaded = store.load("r")
    assert loaded is not None
    assert loaded.checkpoint == Checkpoint(revision=8)


# ---- listing


def test_runs_are_listed_newest_first_by_all_that_is_asked_for(tmp_path: Path) -> None:
    store = JsonFileRunStore(tmp_path)
    assert isinstance(store, QueryableRunStore)
    store.save(run("old", updated_at=at(1), created_at=at(1), parent_run_id="p"))
    store.save(run("new", updated_at=at(3), created_at=at(0), parent_run_id="p"))
    wait = WaitState(WaitReason.UNTIL, until=at(9))
    store.save(run("wait", updated_at=at(2), waiting=wait, status=RunStatus.WAITING))
    assert [each.run_id for each in store.list_runs()] == ["new", "wait", "old"]
    assert [each.run_id for each in store.list_runs(wait_reason=WaitReason.UNTIL)] == ["wait"]
    assert [each.run_id for each in store.list_runs(limit=1)] == ["new"]
    assert [each.run_id for each in store.list_children(parent_run_id="p")] == ["new", "old"]
    assert [each.run_id for each in store.list_due_wait_until(now_iso=at(9))] == ["wait"]
    assert store.list_due_wait_until(now_iso=at(8)) == []
