"""A line that keeps a promise is taken away: the trials must tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.machine import join
from abstractruntime.core.options import Delivery
from abstractruntime.engine import parallel, perform
from abstractruntime.storage.relational.transaction import OpenTransaction
from tests.crashes.grounds import ground
from tests.crashes.test_branches import trial as branch_trial
from tests.crashes.test_classes import trial as class_trial
from tests.crashes.trial import every_point


def found(kind: str, folder: Path, play: Any) -> str | None:
    """What the first trial that fails says; None when all pass."""
    with ground(kind, folder) as here:
        try:
            calls = play(here).fuses[0].calls
            for point in every_point(calls):
                play(here, point)
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
    return None


class Forgetful:
    """Options whose delivery is at_least_once, whatever was said."""

    delivery = Delivery.AT_LEAST_ONCE


def test_at_most_once_taken_for_at_least_once_at_recovery_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perform, "options_from", lambda effect: Forgetful)
    assert found("memory", tmp_path, class_trial) is not None


def test_a_branch_of_at_most_once_that_is_begun_again_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_over(self: Any) -> Any:
        return
        yield

    monkeypatch.setattr(parallel._Branches, "_take_over", take_over)
    assert found("memory", tmp_path, branch_trial) is not None


def test_a_join_that_fires_twice_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = join.settle

    def twice(draft: Any, **said: Any) -> bool:
        opened = draft.join
        if not settle(draft, **said):
            return False
        if opened.into and "_twice" not in draft.run.vars and draft.run.current_node == "end":
            draft.note("joined", line_id=said["ids"](), now=said["now"])
            draft.run.vars["_twice"] = True
        return True

    monkeypatch.setattr(join, "settle", twice)
    assert found("memory", tmp_path, branch_trial) is not None


def test_rows_that_are_committed_without_their_step_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = OpenTransaction.execute

    def at_once(self: Any, sql: str, values: Any = ()) -> Any:
        """Each statement is committed by itself."""
        rows = execute(self, sql, values)
        self._session.commit()
        self._session.begin(urgent=True)
        return rows

    monkeypatch.setattr(OpenTransaction, "execute", at_once)
    assert found("sqlite", tmp_path, class_trial) is not None
