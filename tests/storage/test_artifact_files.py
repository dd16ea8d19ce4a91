"""Artifacts as files: their format, and what a crash leaves."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.errors import StoreCorrupt, StoreFull
from abstractruntime.storage.artifacts import FileArtifactStore

ABC = "ba7816bf8f01cfea414140de5dae2223"


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "artifacts"))


def test_an_artifact_is_its_content_and_a_file_of_metadata(tmp_path: Path) -> None:
    metadata = FileArtifactStore(tmp_path).store(b"abc", run_id="r", tags={"k": "é"})
    assert os.listdir(tmp_path) == ["artifacts"]
    assert names(tmp_path) == [f"{ABC}.bin", f"{ABC}.meta"]
    assert (tmp_path / "artifacts" / f"{ABC}.bin").read_bytes() == b"abc"
    meta = json.loads((tmp_path / "artifacts" / f"{ABC}.meta").read_text())
    assert {key: meta[key] for key in metadata.to_dict()} == metadata.to_dict()
    assert FileArtifactStore(str(tmp_path)).get_metadata(ABC) == metadata


def test_a_file_of_another_implementation_is_read_and_belongs_to_the_run_it_names(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "report.bin").write_bytes(b"abc")
    meta = {
        "artifact_id": "report",
        "content_type": "text/plain",
        "size_bytes": 3,
        "created_at": "2026-01-01T00:00:00+00:00",
        "run_id": "r",
        "tags": {},
    }
    (folder / "report.meta").write_text(json.dumps(meta))
    store = FileArtifactStore(tmp_path)
    assert store.load_text("report") == "abc"
    store.store(b"abc", artifact_id="report", run_id="s")
    assert store.delete_by_run("s") == 1
    assert [each.to_dict() for each in store.list_by_run("r")] == [meta]


def test_content_that_is_not_what_its_id_says_is_reported_not_returned(tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path)
    store.store(b"abc")
    (tmp_path / "artifacts" / f"{ABC}.bin").write_bytes(b"abd")
    with pytest.raises(StoreCorrupt, match=rf"{ABC}\.bin does not hold the content of its id"):
        store.load(ABC)


def test_storing_the_content_again_mends_a_file_that_was_damaged(tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path)
    store.store(b"abc")
    (tmp_path / "artifacts" / f"{ABC}.bin").write_bytes(b"")
    store.store(b"abc")
    assert store.load_text(ABC) == "abc"


def test_a_chosen_id_says_nothing_of_its_content(tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path)
    store.store(b"x", artifact_id="0" * 32)
    assert store.load_text("0" * 32) == "x"


def test_metadata_without_content_is_reported(tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path)
    store.store(b"abc")
    (tmp_path / "artifacts" / f"{ABC}.bin").unlink()
    with pytest.raises(StoreCorrupt, match=rf"{ABC}\.bin is missing"):
        store.load(ABC)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"artifact_id": "x"}', '{"owners": [1]}'])
def test_a_file_that_holds_no_metadata_is_named(tmp_path: Path, text: str) -> None:
    store = FileArtifactStore(tmp_path)
    store.store(b"abc")
    (tmp_path / "artifacts" / f"{ABC}.meta").write_text(text)
    for call in (lambda: store.load(ABC), store.list_all, lambda: store.exists(ABC)):
        with pytest.raises(StoreCorrupt, match=rf"{ABC}\.meta"):
            call()


def test_metadata_of_another_artifact_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path)
    store.store(b"a", artifact_id="Report")
    (tmp_path / "artifacts" / "Report.meta").rename(tmp_path / "artifacts" / "report.meta")
    with pytest.raises(StoreCorrupt, match="is of the artifact 'Report', not 'report'"):
        store.load("report")


class Killed(BaseException):
    """The process ends here, as far as the store can see."""


def dying_at(monkeypatch: pytest.MonkeyPatch, name: str, nth: int) -> None:
    real, calls = getattr(os, name), []

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == nth:
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, call)


def test_a_crash_between_content_and_metadata_leaves_an_artifact_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileArtifactStore(tmp_path)
    with monkeypatch.context() as patch:
        dying_at(patch, "replace", 2)
        with pytest.raises(Killed):
            store.store(b"abc", run_id="r")
    assert names(tmp_path) == [f"{ABC}.bin"]
    assert (store.exists(ABC), store.load(ABC), store.list_all()) == (False, None, [])
    store.store(b"abc", run_id="r")
    assert store.load_text(ABC) == "abc"


def test_a_crash_while_a_chosen_id_is_written_over_leaves_one_content_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileArtifactStore(tmp_path)
    store.store(b"one", artifact_id="report")
    with monkeypatch.context() as patch:
        dying_at(patch, "replace", 2)
        with pytest.raises(Killed):
            store.store(b"three", artifact_id="report")
    loaded = store.load("report")
    assert loaded is not None
    assert (loaded.content, loaded.metadata.size_bytes) == (b"three", 5)


def test_a_crash_in_mid_delete_leaves_an_artifact_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileArtifactStore(tmp_path)
    store.store(b"abc")
    with monkeypatch.context() as patch:
        dying_at(patch, "unlink", 2)
        with pytest.raises(Killed):
            store.delete(ABC)
    assert names(tmp_path) == [f"{ABC}.bin"]
    assert not store.exists(ABC)


def test_a_full_medium_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileArtifactStore(tmp_path)
    store.store(b"one", artifact_id="report", run_id="r")
    before = {name: (tmp_path / "artifacts" / name).read_bytes() for name in names(tmp_path)}

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StoreFull):
            store.store(b"three", artifact_id="report", run_id="s")
    after = {name: (tmp_path / "artifacts" / name).read_bytes() for name in names(tmp_path)}
    assert after == before
