"""Log rows -> whole records: follows what their lines refer to (see `lines`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from abstractruntime.core.canonical import decode
from abstractruntime.core.splice import apply_splices
from abstractruntime.errors import StoreCorrupt
from abstractruntime.storage.relational.lines import STEP_FIELDS
from abstractruntime.storage.relational.texts import strict_text_of

# References go to the last few rows; rows may be large, so may texts.
_ROWS_AT_HAND: Final = 8
_TEXTS_AT_HAND: Final = 64

_EMPTY: Final[dict[str, Any]] = dict.fromkeys(
    (
        "run_id",
        "step_id",
        "node_id",
        "status",
        "effect",
        "result",
        "error",
        "started_at",
        "ended_at",
        "actor_id",
        "session_id",
        "attempt",
        "idempotency_key",
        "prev_hash",
        "record_hash",
        "signature",
    )
)


class LedgerRows:
    """The log rows of one run while they are read; `row_at` gives the records' text of one.

    The records of one step share its effect, which may be large.
    """

    def __init__(self, run_id: str, row_at: Callable[[int], str | None]) -> None:
        self._run_id = run_id
        self._row_at = row_at
        self._rows: dict[int, list[dict[str, Any]]] = {}
        self._texts: dict[tuple[int, int], bytes] = {}
        self._effects: dict[tuple[int, int], dict[str, Any]] = {}

    def records(self, revision: int, text: str) -> list[dict[str, Any]]:
        """The records of the row at `revision`, whole; each names its revision."""
        lines = decode(text)
        self._remember(revision, lines)
        records: list[dict[str, Any]] = []
        for index, line in enumerate(lines):
            record = self._record(revision, index, line)
            if record["prev_hash"] is True:
                record["prev_hash"] = records[-1]["record_hash"]
            records.append(record)
        return records

    def first_line(self, revision: int, step_id: str) -> tuple[int, dict[str, Any]]:
        """The line that began a step, and its index in the row at `revision`."""
        for index, line in enumerate(self.lines(revision)):
            if line["step_id"] == step_id and "effect" in line:
                return index, line
        raise self._corrupt(revision, f"does not hold the effect of step '{step_id}'")

    def effect(self, revision: int, step_id: str) -> dict[str, Any]:
        """The effect of the step that `revision` began."""
        index, line = self.first_line(revision, step_id)
        return self._effect(revision, index, line)

    def _effect(self, revision: int, index: int, line: dict[str, Any]) -> dict[str, Any]:
        effect: dict[str, Any] = line["effect"]
        if "payload_from" not in line:
            return effect
        whole = self._effects.get((revision, index))
        if whole is None:
            whole = {**effect, "payload": decode(self.payload_text(revision, index))}
            _bound(self._effects, _ROWS_AT_HAND)
            self._effects[revision, index] = whole
        return whole

    def payload_text(self, revision: int, index: int) -> bytes:
        """The payload text of the effect in the line at `index` of the row at `revision`."""
        changes: list[Any] = []
        at = (revision, index)
        while (text := self._texts.get(at)) is None:
            line = self._line_with_payload(*at)
            if "payload_from" not in line:
                text = strict_text_of(line["effect"].get("payload"))
                break
            before, place, splice = line["payload_from"]
            changes.append(splice)
            at = (before, place)
        if changes:
            whole = bytearray(text)
            for splice in reversed(changes):
                whole = apply_splices(whole, splice)
            text = bytes(whole)
            # What this one follows is not asked for again, but for a late retry.
            self._texts.pop(at, None)
        _bound(self._texts, _TEXTS_AT_HAND)
        self._texts[revision, index] = text
        return text

    def lines(self, revision: int) -> list[dict[str, Any]]:
        """The lines of the row at `revision`; StoreCorrupt when there is none."""
        lines = self._rows.get(revision)
        if lines is None:
            text = self._row_at(revision)
            if text is None:
                raise self._corrupt(revision, "is not in the log")
            lines = decode(text)
            self._remember(revision, lines)
        return lines

    def _record(self, revision: int, index: int, line: dict[str, Any]) -> dict[str, Any]:
        record = {**_EMPTY, "run_id": self._run_id, "revision": revision, **line}
        if "same_step" in record:
            opened = record.pop("same_step")["at"]
            _, first = self.first_line(opened, record["step_id"])
            for name in STEP_FIELDS:
                if name in first:
                    record[name] = first[name]
            salt = first.get("salts", {}).get("payload")
            if salt is not None:
                record["salts"] = {"payload": salt, **record.get("salts", {})}
            record["effect"] = self.effect(opened, record["step_id"])
        elif "same_effect" in record:
            opened = record.pop("same_effect")["at"]
            record["effect"] = self.effect(opened, record["step_id"])
        elif "payload_from" in record:
            del record["payload_from"]
            record["effect"] = self._effect(revision, index, line)
        return record

    def _line_with_payload(self, revision: int, index: int) -> dict[str, Any]:
        lines = self.lines(revision)
        if index >= len(lines) or "effect" not in lines[index]:
            raise self._corrupt(revision, f"has no payload in its record {index}")
        return lines[index]

    def _corrupt(self, revision: int, found: str) -> StoreCorrupt:
        return StoreCorrupt(
            f"Run '{self._run_id}': revision {revision} {found}, but a later record builds on it",
            run_id=self._run_id,
            revision=revision,
        )

    def _remember(self, revision: int, lines: list[dict[str, Any]]) -> None:
        _bound(self._rows, _ROWS_AT_HAND)
        self._rows[revision] = lines


def _bound(at_hand: dict[Any, Any], most: int) -> None:
    """Make room for one more."""
    while len(at_hand) >= most:
        del at_hand[next(iter(at_hand))]
