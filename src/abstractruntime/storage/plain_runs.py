"""What stores that keep runs one by one share: the check for stale objects, filters and orders.

It works on what a store hands it and touches no medium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, cast

from abstractruntime.core import times
from abstractruntime.core.canonical import MAX_DEPTH, encode
from abstractruntime.core.checkpoint import Checkpoint
from abstractruntime.core.models import RunState, RunStatus, WaitReason, run_to_dict
from abstractruntime.errors import InvalidTime, RevisionConflict

# A run or record holds variables and payloads that may each stand at the limits of core.canonical.
WHOLE_BYTES = 256 * 1024 * 1024
WHOLE_DEPTH = MAX_DEPTH + 16


def whole(value: dict[str, Any]) -> bytes:
    """A whole run, record or snapshot as compact JSON; NotJson and LimitExceeded name the path."""
    return encode(value, max_bytes=WHOLE_BYTES, max_depth=WHOLE_DEPTH)


@dataclass(frozen=True, slots=True)
class Row:
    """What listing asks about a run; times in normal form, so that they sort as text."""

    run_id: str
    status: str
    workflow_id: str
    wait_reason: str | None
    until: str | None
    created_at: str
    updated_at: str
    parent_run_id: str | None
    revision: int | None
    data: Any
    """The run itself, in whatever form its store keeps it."""

    @classmethod
    def of(cls, run: Mapping[str, Any], data: Any) -> Row:
        """The row of a run in its JSON form."""
        waiting = run.get("waiting") or {}
        return cls(
            run_id=run["run_id"],
            status=run["status"],
            workflow_id=run["workflow_id"],
            wait_reason=waiting.get("reason"),
            until=_time(waiting.get("until")),
            created_at=_time(run.get("created_at")) or "",
            updated_at=_time(run.get("updated_at")) or "",
            parent_run_id=run.get("parent_run_id"),
            revision=revision_in(run),
            data=data,
        )


class Listed(Protocol):
    """What the questions below look at."""

    @property
    def status(self) -> str: ...
    @property
    def workflow_id(self) -> str: ...
    @property
    def wait_reason(self) -> str | None: ...
    @property
    def until(self) -> str | None: ...
    @property
    def created_at(self) -> str: ...
    @property
    def updated_at(self) -> str: ...
    @property
    def parent_run_id(self) -> str | None: ...


ListedT = TypeVar("ListedT", bound=Listed)


def _time(text: str | None) -> str | None:
    """A stored time in normal form; None when it is none, which sorts last and is never due."""
    try:
        return None if text is None else times.normal(text)
    except InvalidTime:
        return None


def select_runs(
    rows: Iterable[ListedT],
    *,
    status: RunStatus | None,
    wait_reason: WaitReason | None,
    workflow_id: str | None,
    limit: int,
) -> list[ListedT]:
    """Rows that match all given, newest updated_at first."""
    found = [
        row
        for row in rows
        if (status is None or row.status == RunStatus(status).value)
        and (wait_reason is None or row.wait_reason == WaitReason(wait_reason).value)
        and (workflow_id is None or row.workflow_id == workflow_id)
    ]
    found.sort(key=lambda row: row.updated_at, reverse=True)
    return found[: max(limit, 0)]


def select_due(rows: Iterable[ListedT], *, now_iso: str, limit: int) -> list[ListedT]:
    """Rows of waiting runs whose `until` is at or before `now_iso`, earliest first; InvalidTime."""
    now = times.normal(now_iso, what="now_iso")
    due = [
        (row.until, row)
        for row in rows
        if row.status == RunStatus.WAITING.value and row.until is not None and row.until <= now
    ]
    due.sort(key=lambda pair: pair[0])
    return [row for _, row in due[: max(limit, 0)]]


def select_children(
    rows: Iterable[ListedT], *, parent_run_id: str, status: RunStatus | None
) -> list[ListedT]:
    """Rows of the runs a parent started, oldest first."""
    found = [
        row
        for row in rows
        if row.parent_run_id == parent_run_id
        and (status is None or row.status == RunStatus(status).value)
    ]
    found.sort(key=lambda row: row.created_at)
    return found


def to_save(
    run: RunState, stored: Callable[[], Mapping[str, Any] | None], *, found: int | None
) -> tuple[dict[str, Any], object]:
    """The run's JSON form as it is to be stored, and the checkpoint in it (None: there is none).

    `found` is the revision of the stored checkpoint (None: there is none) and `stored` gives it.
    An object of a later commit is stored as it is. Any other is a host's edit: kernel fields are
    not its to change, and it takes a revision of its own, which is as durable as the edit. So a
    number names one state only, whichever process gives it out, and an object that was loaded
    before is known by it: RevisionConflict. One without a checkpoint overwrites.
    """
    data = run_to_dict(run)
    carried = None if run.checkpoint is None else Checkpoint.coerce(run.checkpoint)
    if found is None or (carried is not None and carried.last_commit > found):
        return data, run.checkpoint  # what is stored is not asked for at each commit
    below = stored() or {}
    at = Checkpoint.from_dict(below)
    revision = found
    if carried is not None:
        later = carried.last_commit > at.last_commit
        if later and carried.revision > found:
            return data, run.checkpoint
        # A later commit that does not know of the edit met it on its way: both are to stay.
        if later or carried.last_commit < at.last_commit or carried.revision < found:
            raise RevisionConflict(
                f"Run '{run.run_id}' is at revision {found}, "
                f"the object to save is of {carried.revision}",
                run_id=run.run_id,
                expected=carried.revision,
                found=found,
            )
        revision = carried.revision
    edited = replace(at, revision=revision + 1, committed=at.last_commit)
    data["checkpoint"] = {**below, "revision": edited.revision, "committed": edited.committed}
    return data, edited


def took(run: RunState, checkpoint: object) -> None:
    """The object that was saved is of what is stored now: it may be saved again."""
    if run.checkpoint is not None:
        run.checkpoint = cast("Any", checkpoint)


def revision_in(data: Mapping[str, Any]) -> int | None:
    """The revision in a run's JSON form; None when it has no checkpoint."""
    checkpoint = data.get("checkpoint")
    return None if checkpoint is None else int(checkpoint.get("revision", 0))
