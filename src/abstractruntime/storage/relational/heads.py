"""What changed of a run's head as a log row holds it, and heads rebuilt from such rows.

A changed head repeats what the records of its commit say. In the row `chain_head` is true when it
is the hash of the last record, and an open step that begins with this commit is {"line": index,
…}: what the line does not tell. The whole head of a base row stands as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from abstractruntime.core.canonical import decode
from abstractruntime.core.commit import Commit
from abstractruntime.core.head import apply_changed, changed
from abstractruntime.core.options import bare
from abstractruntime.storage.relational.ledger_rows import LedgerRows
from abstractruntime.storage.relational.lines import begins

_TOLD = frozenset(
    ("step_id", "node_id", "visit", "effect", "key", "started_at", "opened", "attempt", "salt")
)


def thin_change(commit: Commit, previous: Mapping[str, Any]) -> dict[str, Any]:
    """What the commit changed of the head, without what its records say."""
    change = changed(previous, commit.head)
    kernel = change.get("checkpoint")
    if kernel is None or not commit.records:
        return change
    chain_head = kernel.get("chain_head")
    if chain_head is not None and chain_head == commit.records[-1].record["record_hash"]:
        kernel["chain_head"] = True
    for place, name in _step_maps(change):
        place[name] = _thinned(place[name], commit)
    return change


def _step_maps(change: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Where a change holds open steps by branch: the whole map, or those that differ."""
    kernel = change.get("checkpoint", {})
    if kernel.get("open_steps"):
        yield kernel, "open_steps"
    branches = change.get("branches", {}).get("open_steps", {})
    if "set" in branches:
        yield branches, "set"


def _thinned(steps: dict[str, Any], commit: Commit) -> dict[str, Any]:
    """The steps without what the lines of this commit that begin them tell."""
    here = commit.expected + 1
    new = [step["step_id"] for step in steps.values() if step["opened"] == here]
    if not new:
        return steps
    lines: dict[str, int] = {}
    for index, entry in enumerate(commit.records):
        step_id = entry.record["step_id"]
        if step_id not in lines and begins(entry, step_id):
            lines[step_id] = index
    return {branch: _thin(step, commit, lines) for branch, step in steps.items()}


def _thin(step: dict[str, Any], commit: Commit, lines: Mapping[str, int]) -> dict[str, Any]:
    index = lines.get(step["step_id"]) if step["opened"] == commit.expected + 1 else None
    if index is None or not _tells(commit.records[index].record, step):
        return step
    thin: dict[str, Any] = {"line": index}
    for name, value in step.items():
        if name not in _TOLD:
            thin[name] = value
    return thin


def _tells(record: Mapping[str, Any], step: Mapping[str, Any]) -> bool:
    """Whether the record has all of the step's fields that `_told` would make of it."""
    salts = record.get("salts")
    effect = record["effect"]
    return bool(
        step["key"] == record["idempotency_key"]
        and step["started_at"] == record["started_at"]
        and step["node_id"] == record["node_id"]
        and step["visit"] == record.get("visit")
        and step.get("attempt", 1) == record["attempt"]
        and step.get("salt") == (None if salts is None else salts.get("payload"))
        and step["effect"] == bare(effect)
    )


def _told(record: Mapping[str, Any], revision: int) -> dict[str, Any]:
    """What a record that begins a step tells of the open step."""
    effect = record["effect"]
    told = {
        "step_id": record["step_id"],
        "node_id": record["node_id"],
        "visit": record.get("visit"),
        "effect": bare(effect),
        "key": record["idempotency_key"],
        "started_at": record["started_at"],
        "opened": revision,
    }
    if record["attempt"] != 1:
        told["attempt"] = record["attempt"]
    salts = record.get("salts")
    if salts is not None and "payload" in salts:
        told["salt"] = salts["payload"]
    return told


def rebuilt_head(
    whole: str, changes: Iterable[tuple[int, str]], rows: LedgerRows
) -> dict[str, Any]:
    """The head after (revision, text) of each change made to a whole one."""
    head: dict[str, Any] = decode(whole)
    hashed_at = 0
    for revision, text in changes:
        change = decode(text)
        kernel = change.get("checkpoint", {})
        if kernel.get("chain_head") is True:
            hashed_at = revision
        for place, name in _step_maps(change):
            place[name] = {
                branch: {**step, "at": revision} if "line" in step else step
                for branch, step in place[name].items()
            }
        head = apply_changed(head, change)
    kernel = head["checkpoint"]
    if kernel.get("chain_head") is True:
        kernel["chain_head"] = rows.lines(hashed_at)[-1]["record_hash"]
    if "open_steps" in kernel:
        kernel["open_steps"] = {
            branch: _whole(step, rows) for branch, step in kernel["open_steps"].items()
        }
    return head


def _whole(step: dict[str, Any], rows: LedgerRows) -> dict[str, Any]:
    if "line" not in step:
        return step
    line = rows.lines(step["at"])[step["line"]]
    told = _told({"idempotency_key": None, **line}, step["at"])
    own = {name: value for name, value in step.items() if name not in ("line", "at")}
    return {**told, **own}
