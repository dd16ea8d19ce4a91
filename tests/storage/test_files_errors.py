"""What a folder of JSON files says of a system that refuses: by which error, and how to mend it."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import open_store
from abstractruntime.core.models import RunState
from abstractruntime.errors import (
    StoreCorrupt,
    StoreFault,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from abstractruntime.storage import folder_locks
from abstractruntime.storage.json_files import JsonFileRunStore

RUN = RunState.new(workflow_id="w", entry_node="n")


def refuses(monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    """The system answers this call with an error from now on."""

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)


@pytest.mark.parametrize(
    ("number", "expected", "fix"),
    [
        (errno.EIO, StoreUnavailable, "the medium fails"),
        (errno.ENOSPC, StoreFull, "free space"),
        (errno.EDQUOT, StoreFull, "quota"),
        (errno.EFBIG, StoreFull, "limit on the size of files"),
        (errno.EROFS, StoreReadOnly, "mount the medium for writing"),
        (errno.EACCES, StoreReadOnly, "let this user read and write"),
        (errno.EPERM, StoreReadOnly, "let this user read and write"),
        (errno.EMFILE, StoreUnavailable, "limit on open files"),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_the_error_of_a_failed_write_says_what_failed_and_how_to_mend_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    expected: type[StoreFault],
    fix: str,
) -> None:
    store = JsonFileRunStore(tmp_path)
    with monkeypatch.context() as patch:
        refuses(patch, call, number)
        with pytest.raises(StoreFault) as caught:
            store.save(RUN)
    assert type(caught.value) is expected
    assert os.strerror(number) in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert fix in (caught.value.how_to_fix or "")
    assert caught.value.where["errno"] == number
    assert store.load(RUN.run_id) is None, "nothing of it stays"
    store.save(RUN)
    assert store.load(RUN.run_id) == RUN


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE])
def test_a_medium_that_fails_is_not_taken_for_one_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    open_store(f"files:///{tmp_path}").close()
    monkeypatch.setattr(folder_locks, "_shared", {})
    with monkeypatch.context() as patch:
        refuses(patch, "open", number)
        with pytest.raises(StoreUnavailable, match=str(tmp_path)):
            open_store(f"files:///{tmp_path}")
    assert JsonFileRunStore(tmp_path).locks.between_processes


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b'"status": "running"', b'"status": "sunning"'),
        (b'"waiting": null', b'"waiting": 7'),
    ],
)
def test_a_run_file_with_a_value_that_no_run_has_is_refused_by_name(
    tmp_path: Path, was: bytes, now: bytes
) -> None:
    JsonFileRunStore(tmp_path).save(RUN)
    path = tmp_path / f"run_{RUN.run_id}.json"
    assert was in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(was, now))
    store = open_store(f"files:///{tmp_path}")
    with pytest.raises(StoreCorrupt, match=RUN.run_id):
        store.load(RUN.run_id)
