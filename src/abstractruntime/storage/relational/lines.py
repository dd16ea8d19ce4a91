"""Ledger records as the lines of a log row, each fact stored once. `ledger_rows` reads them back.

A line is a record without its run id, the row's revision, and its nulls. Of what stands elsewhere
it has a reference instead:

    same_effect   {type, at}: `effect` stands at revision `at`, in the line that began the step
    same_step     {type, at}: so do the fields of `STEP_FIELDS` and the payload's salt
    payload_from  [revision, index, splices]: the payload of `effect` is that line's, spliced
    prev_hash     true: the record hash of the line above
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from abstractruntime.core.commit import Commit, Entry
from abstractruntime.core.splice import splices
from abstractruntime.core.values import value
from abstractruntime.storage.relational.texts import strict_text_of
from abstractruntime.storage.relational.trail import Spot

LARGE: Final = 2048
"""Bytes from which on a payload is worth a delta."""
MOST_DELTAS: Final = 256
"""Deltas that may follow each other before something stands whole again."""
STEP_FIELDS: Final = ("node_id", "visit", "idempotency_key", "started_at", "attempt")
_MOST_NODES: Final = 64

_OFTEN_NULL: Final = (
    "result",
    "error",
    "ended_at",
    "actor_id",
    "session_id",
    "idempotency_key",
    "prev_hash",
    "record_hash",
    "signature",
)


def outweighs(deltas: int, whole: int) -> bool:
    """Whether deltas cost more than a whole text; of one that only grows they do by a little."""
    return deltas > whole + whole // 4


Recall = Callable[[Spot], bytes]
"""Gives the payload text that stands at a spot."""


@value
class Fresh:
    """A large payload that was just written, and the spot of the one it follows."""

    spot: Spot
    text: bytes
    instead_of: Spot | None


@value
class Lines:
    """The records of one commit as a log row holds them.

    payloads  see Trail.payloads, after this commit
    keys      idempotency keys made by the user's policy
    """

    text: bytes
    payloads: str | None
    fresh: tuple[Fresh, ...] = ()
    keys: tuple[str, ...] = ()


def lines_of(commit: Commit, payloads: str | None, recall: Recall) -> Lines:
    """The lines of a commit; `payloads` and `recall` know the run's earlier large payloads."""
    chains: _Chains | None = None
    keys: tuple[str, ...] = ()
    lines: list[dict[str, Any]] = []
    above: str | None = None
    for entry in commit.records:
        record = entry.record
        line = _bare_line(record, commit.expected + 1)
        effect = record["effect"]
        if effect is None:
            del line["effect"]
        elif entry.opened is not None:
            _refer_to_first(line, commit, entry.opened)
        elif entry.payload is None:
            line["effect"] = orjson.Fragment(strict_text_of(effect))
        elif len(entry.payload) <= LARGE:
            line["effect"] = {**effect, "payload": orjson.Fragment(entry.payload)}
        else:
            if chains is None:
                chains = _Chains(commit, payloads, recall)
            chains.add(line, effect, entry.payload, len(lines))
        if entry.result is not None:
            line["result"] = orjson.Fragment(entry.result)
        elif "result" in line:
            line["result"] = orjson.Fragment(strict_text_of(line["result"]))
        if above is not None and record["prev_hash"] == above:
            line["prev_hash"] = True
        above = record["record_hash"]
        if entry.own_key:
            keys += (record["idempotency_key"],)
        lines.append(line)
    text = _text(lines)
    if chains is None:
        return Lines(text, payloads, (), keys)
    return Lines(text, chains.text(), tuple(chains.fresh), keys)


def _bare_line(record: dict[str, Any], revision: int) -> dict[str, Any]:
    line = record.copy()
    del line["run_id"]
    if line.get("revision") == revision:
        del line["revision"]
    for name in _OFTEN_NULL:
        if line[name] is None:
            del line[name]
    return line


def _refer_to_first(line: dict[str, Any], commit: Commit, opened: int) -> None:
    """Take out of a line what the one that began its step at `opened` has."""
    reference = {"type": line.pop("effect")["type"], "at": opened}
    salts = line.get("salts")
    salt = None if salts is None else salts.get("payload")
    step = _begun(commit, line["step_id"], opened)
    if (
        step is None
        or line["started_at"] != step["started_at"]
        or line.get("idempotency_key") != step["key"]
        or line["node_id"] != step["node_id"]
        or line.get("visit") != step["visit"]
        or line["attempt"] != 1
        or salt != step.get("salt")
    ):
        line["same_effect"] = reference
        return
    line["same_step"] = reference
    for name in STEP_FIELDS:
        line.pop(name, None)
    if salt is not None:
        assert salts is not None
        if len(salts) > 1:
            line["salts"] = {name: salts[name] for name in salts if name != "payload"}
        else:
            del line["salts"]


def _begun(commit: Commit, step_id: str, opened: int) -> dict[str, Any] | None:
    """What is known of the step's first line, as an open step has it; None when not at hand."""
    if opened == commit.expected + 1:
        for entry in commit.records:
            if begins(entry, step_id) and entry.record["attempt"] == 1:
                return _as_step(entry.record)
    elif commit.previous is not None:
        for step in commit.previous["checkpoint"].get("open_steps", {}).values():
            # Of a later attempt it has the times of that one, and so it has where an approval came
            # before the first.
            if step["step_id"] == step_id and step["opened"] == opened:
                later = "attempt" in step or "approval" in step
                found: dict[str, Any] | None = None if later else step
                return found
    return None


def _as_step(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "node_id": record["node_id"],
        "visit": record.get("visit"),
        "key": record["idempotency_key"],
        "started_at": record["started_at"],
        "salt": (record.get("salts") or {}).get("payload"),
    }


def _text(lines: list[dict[str, Any]]) -> bytes:
    try:
        return orjson.dumps(lines)
    except TypeError:
        # Something is no JSON, or only too long an integer for the quick encoder.
        return orjson.dumps([{name: _fragment(line[name]) for name in line} for line in lines])


def _fragment(value: Any) -> Any:
    try:
        orjson.dumps(value)
    except TypeError:
        return orjson.Fragment(strict_text_of(value))
    return value


class _Chains:
    """The large payloads of one commit, each against the last one of its node."""

    def __init__(self, commit: Commit, payloads: str | None, recall: Recall) -> None:
        self._run_id = commit.run_id
        self._revision = commit.expected + 1
        self._nodes: dict[str, list[int]] = {} if payloads is None else orjson.loads(payloads)
        self._recall = recall
        self.fresh: list[Fresh] = []

    def add(self, line: dict[str, Any], effect: dict[str, Any], payload: bytes, index: int) -> None:
        """Complete `line`, which becomes the `index`-th of its row."""
        node = line["node_id"]
        last = self._nodes.pop(node, None)
        spot = (self._run_id, self._revision, index)
        before = None if last is None else (self._run_id, last[0], last[1])
        weight = count = 0
        text = b""
        if last is not None and before is not None and last[3] < MOST_DELTAS:
            changes = splices(self._text_at(before), payload)
            text = b"" if changes is None else orjson.dumps(changes)
            weight, count = last[2] + len(text), last[3] + 1
        if last is None or not text or outweighs(weight, len(payload)):
            weight = count = 0
            line["effect"] = {**effect, "payload": orjson.Fragment(payload)}
        else:
            line["effect"] = {**effect, "payload": None}
            line["payload_from"] = [last[0], last[1], orjson.Fragment(text)]
        self._nodes[node] = [self._revision, index, weight, count]
        self.fresh.append(Fresh(spot, payload, before))

    def _text_at(self, spot: Spot) -> bytes:
        for fresh in self.fresh:
            if fresh.spot == spot:
                return fresh.text
        return self._recall(spot)

    def text(self) -> str:
        """The map of nodes after this commit; of very many nodes the oldest are forgotten."""
        nodes = self._nodes
        while len(nodes) > _MOST_NODES:
            del nodes[next(iter(nodes))]
        return orjson.dumps(nodes).decode()


def begins(entry: Entry, step_id: str) -> bool:
    """Whether the entry is the record by which a step began."""
    return entry.opened is None and entry.record["step_id"] == step_id
