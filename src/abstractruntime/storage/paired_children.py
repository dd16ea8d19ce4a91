"""The ends of children as messages to their parents: a pair needs no box for them, it looks at the
child itself."""

from __future__ import annotations

from abstractruntime.core.commit import Commit, Message
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState
from abstractruntime.errors import UnsupportedByStore
from abstractruntime.storage.base import Store

CHILD = "subworkflow:"
"""What the wait key of a run that waits for a child begins with; the child's id follows."""


class ChildEnds:
    """What the runs of `store` may hear of their children."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, run_id: str, name: str | None) -> list[Message]:
        """The end of the child that `name` (else the run's open wait) names, until it is used."""
        loaded = self._store.load(run_id)
        if loaded is None:
            return []
        run = loaded.run
        awaited = None if run.waiting is None else run.waiting.wait_key
        name = awaited if name is None else name
        if name is None or not name.startswith(CHILD):
            return []
        child_id = name.removeprefix(CHILD)
        child = None if child_id == run_id else self._store.load(child_id)
        if child is None or child.run.parent_run_id != run_id or child.run.status not in ENDED:
            return []
        if name != awaited and self._heard(run, child_id):
            return []
        end = child.run
        payload = {
            "sub_run_id": child_id,
            "status": end.status.value,
            "output": end.output,
            "error": end.error,
        }
        return [Message(f"{child_id}:end", run_id, name, payload, end.updated_at, child_id)]

    def _heard(self, run: RunState, child_id: str) -> bool:
        """Whether the run has used the child's end: the step or wait for it was and is no more."""
        assert run.checkpoint is not None
        if any(step.child == child_id for step in run.checkpoint.open_steps.values()):
            return False
        for record in self._store.list_records(run.run_id):
            result = record.get("result")
            if not isinstance(result, dict):
                continue
            wait = result.get("wait") or {}
            if wait.get("wait_key") == CHILD + child_id:
                return True
            if result.get("sub_run_id") == child_id and not result.get("async"):
                return True
        return False


def refuse_messages(url: str, commit: Commit) -> None:
    """UnsupportedByStore for a commit with counters, or a message that is not a child's end."""
    if commit.counters:
        raise UnsupportedByStore(
            f"A commit to {url} changes no counters",
            fix="use memory:// or sqlite:///… where runs have budgets",
            run_id=commit.run_id,
        )
    for message in commit.sent:
        # The end of a child needs no message: the child itself says it.
        if message.sent_by != commit.run_id or message.name != CHILD + commit.run_id:
            raise UnsupportedByStore(
                f"A commit to {url} carries no message to a mailbox: '{message.name}'",
                fix="use memory:// or sqlite:///… where commits carry messages",
                run_id=message.run_id,
            )
