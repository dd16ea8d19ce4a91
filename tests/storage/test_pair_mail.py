"""Where a pair of files keeps messages, and what damage to them does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from abstractruntime.core.models import RunStatus
from abstractruntime.errors import InvalidIdentifier, StoreCorrupt
from abstractruntime.storage.base import Store
from abstractruntime.storage.open import open_store
from abstractruntime.testing.commits import waiting_for
from abstractruntime.testing.contract_base import created
from abstractruntime.testing.contract_mailbox import mail, used

LONG = "long-" + "x" * 250


def opened(folder: Path) -> Store:
    return open_store(f"files:///{folder}/runs")


def lines(folder: Path, run_id: str) -> Path:
    return folder / "runs" / "mail" / f"mail_{run_id}.jsonl"


def test_a_message_is_a_line_that_people_can_read(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.send(mail(1, dedupe_key="d"))
    (line,) = lines(tmp_path, "r").read_text().splitlines()
    assert json.loads(line)["payload"] == {"n": "1"}


def test_a_line_that_was_cut_short_was_never_sent(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.send(mail(1))
        path = lines(tmp_path, "r")
        with path.open("ab") as file:
            file.write(b'{"message_id": "2", "run')
        assert store.list_messages("r") == [mail(1)]
        store.send(mail(3))
        assert store.list_messages("r") == [mail(1), mail(3)]
    with opened(tmp_path) as again:
        assert again.list_messages("r") == [mail(1), mail(3)]
    assert path.with_name(path.name + ".torn").exists()


def test_a_damaged_mailbox_is_named_and_keeps_no_other_run_waiting(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for run_id in ("damaged", "whole", LONG):
            created(store, run_id, status=RunStatus.WAITING, waiting=waiting_for("k"))
            store.send(mail(1, to=run_id))
    lines(tmp_path, "damaged").write_bytes(b"no message\n")
    with opened(tmp_path) as again:
        assert sorted(again.list_answered()) == [LONG, "whole"]
        with pytest.raises(StoreCorrupt, match="damaged"):
            again.list_messages("damaged")


def test_what_one_process_sends_and_another_consumes_is_seen_by_both(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as two:
        script = created(one, "r")
        first, second = mail(1), mail(2)
        one.send(first)
        assert two.list_messages("r") == [first]
        seen = one.changes()
        two.send(second)
        assert one.changes() != seen
        two.commit(used(script, first))
        assert one.list_messages("r") == [second]
        assert two.list_messages("r") == [second]
        one.commit(used(script, second))
        assert two.list_messages("r") == []
        assert two.next_messages("r", ["k"], now_iso=first.sent_at, limit=9) == []


@pytest.mark.parametrize("run_id", ["../r", "a/b", ".hidden", ""])
def test_an_id_that_would_leave_the_folder_is_refused(tmp_path: Path, run_id: str) -> None:
    with opened(tmp_path) as store, pytest.raises(InvalidIdentifier):
        store.send(mail(1, to=run_id))
