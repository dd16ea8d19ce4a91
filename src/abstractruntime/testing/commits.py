"""Valid commits from simple inputs, without an engine: what the store contract writes.

A `Script` is a run told by its commits. It keeps what readers should see, in copies of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from abstractruntime.core.canonical import encode
from abstractruntime.core.checkpoint import MAIN, Checkpoint, OpenStep
from abstractruntime.core.commit import Commit, Entry, Evidence, Loaded, Message
from abstractruntime.core.delta import Encoding
from abstractruntime.core.head import head_of
from abstractruntime.core.models import (
    Effect,
    RunState,
    RunStatus,
    StepRecord,
    StepStatus,
    WaitReason,
    WaitState,
    record_to_dict,
    run_to_dict,
)

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def time_at(seconds: float) -> str:
    """A time of the tests: so many seconds after their epoch, in normal form."""
    return (EPOCH + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def waiting_for(key: str, *, until: str | None = None, **fields: Any) -> WaitState:
    """An event wait for `key`, or with `until` alone a timer."""
    reason = fields.pop("reason", WaitReason.EVENT)
    return WaitState(reason=reason, wait_key=key, until=until, **fields)


def message_to(
    run_id: str, name: str, payload: Any = None, *, message_id: str, dedupe_key: str | None = None
) -> Message:
    """A message to a run, sent at the epoch by nobody in particular."""
    return Message(message_id, run_id, name, payload, time_at(0), "sender", dedupe_key)


def evidence_of(run_id: str, number: int) -> Evidence:
    """The number-th piece of evidence for a run."""
    outcome = {"status": "completed", "result": {"n": number, "text": "é\x00"}, "error": None}
    return Evidence(
        f"{run_id}-e{number}", run_id, f"step-{number}", "d" * 64, outcome, time_at(number)
    )


class Script:
    """One run. Each verb gives the run's next commit and goes on as if it were written.

    `records` are those readers should see, `state` the run as it should load. To make a commit that
    competes with another, `fork` the script before.
    """

    def __init__(
        self,
        run_id: str,
        *,
        vars: dict[str, Any] | None = None,
        workflow_id: str = "flow",
        node: str = "first",
        parent_run_id: str | None = None,
        start: float = 0.0,
    ) -> None:
        self.clock = start
        self.state = RunState(
            run_id=run_id,
            workflow_id=workflow_id,
            status=RunStatus.RUNNING,
            current_node=node,
            vars=copy.deepcopy(vars or {}),
            created_at=time_at(start),
            updated_at=time_at(start),
            actor_id="actor",
            session_id="session",
            parent_run_id=parent_run_id,
            checkpoint=Checkpoint(),
        )
        self.records: list[dict[str, Any]] = []
        self._encoding: Encoding | None = None
        self._live: dict[str, Any] = {}
        self._steps = 0

    @classmethod
    def of(cls, loaded: Loaded, *, start: float = 0.0) -> Script:
        """Go on with a run as a store gave it; the records before are not known."""
        script = cls(loaded.run.run_id, start=start)
        script.state = copy.deepcopy(loaded.run)
        script._encoding, script._live = Encoding.parse(loaded.encoding.text())
        return script

    @property
    def run_id(self) -> str:
        return self.state.run_id

    @property
    def checkpoint(self) -> Checkpoint:
        assert self.state.checkpoint is not None
        return self.state.checkpoint

    @property
    def revision(self) -> int:
        return self.checkpoint.revision

    def fork(self) -> Script:
        """Another script that stands where this one stands."""
        twin = Script(self.run_id)
        twin.clock, twin._steps = self.clock, self._steps
        twin.state, twin.records = copy.deepcopy((self.state, self.records))
        if self._encoding is not None:
            twin._encoding, twin._live = Encoding.parse(self._encoding.text())
        return twin

    # -- commits

    def commit(
        self,
        *,
        vars: dict[str, Any] | None = None,
        records: Sequence[Entry] = (),
        creates: Sequence[Commit] = (),
        sent: Sequence[Message] = (),
        consumed: Sequence[str] = (),
        kernel: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Commit:
        """The next commit: `fields` are public fields of the run, `kernel` of its checkpoint."""
        self.clock += 1
        expected = self.revision
        previous = head_of(self.state) if expected else None
        if vars is not None:
            self.state.vars = copy.deepcopy(vars)
        checkpoint = replace(
            self.checkpoint, revision=expected + 1, committed=None, **(kernel or {})
        )
        self.state = replace(
            self.state, updated_at=time_at(self.clock), checkpoint=checkpoint, **fields
        )
        encoding, delta = self._encoded()
        for entry in records:
            entry.record["revision"] = expected + 1
            self.records.append(copy.deepcopy(entry.record))
        run = replace(copy.deepcopy(self.state), vars=copy.deepcopy(self.state.vars))
        return Commit(
            run_id=self.run_id,
            expected=expected,
            run=run,
            encoding=encoding,
            head=head_of(run),
            previous=previous,
            delta=delta,
            records=tuple(records),
            creates=tuple(creates),
            sent=tuple(sent),
            consumed=tuple(consumed),
        )

    def _encoded(self) -> tuple[Encoding, Any]:
        if self._encoding is None:
            self._encoding, self._live = Encoding.of(self.state.vars)
            return self._encoding, None
        # In place, as a node does it: what did not change stays the same object.
        _become(self._live, copy.deepcopy(self.state.vars))
        self._encoding, self._live, delta = self._encoding.step(self._live)
        return self._encoding, delta

    # -- steps

    def begin(self, payload: Any = None, *, key: str | None = None, **fields: Any) -> Commit:
        """The intent of a step: a STARTED record, and the step open in the checkpoint."""
        entry = self.started(payload, key=key)
        return self.commit(records=[entry], kernel=self.opening(entry), **fields)

    def finish(
        self, result: Any = None, *, vars: dict[str, Any] | None = None, **fields: Any
    ) -> Commit:
        """The outcome of the open step, which is stored at its result key when not None."""
        ended = self.ended(result)
        if result is not None:
            vars = {**(self.state.vars if vars is None else vars), "answer": result}
        kernel = {"open_steps": {}, "entered": False}
        return self.commit(records=[ended], kernel=kernel, vars=vars, **fields)

    def finish_with(self, output: Any) -> Commit:
        """The run completes."""
        note = self.note("completed")
        note.record["result"] = {"completed": True}
        return self.commit(records=[note], status=RunStatus.COMPLETED, output=output)

    def started(self, payload: Any = None, *, key: str | None = None) -> Entry:
        """The STARTED record of a new step at the current node."""
        self._steps += 1
        payload = {"prompt": "é"} if payload is None else payload
        record = StepRecord.start(
            run=self.state,
            node_id=self.state.current_node,
            effect=Effect("llm_call", copy.deepcopy(payload), "answer"),
            idempotency_key=key or f"key-{self._steps}",
        )
        record.step_id = f"{self.run_id}-s{self._steps}"
        record.started_at = time_at(self.clock + 1)
        record.visit = self._steps
        return Entry(record_to_dict(record), payload=encode(payload), own_key=key is not None)

    def opening(self, entry: Entry) -> dict[str, Any]:
        """The kernel fields of a commit that holds this STARTED record."""
        record = entry.record
        step = OpenStep(
            step_id=record["step_id"],
            node_id=record["node_id"],
            visit=record["visit"],
            effect=copy.deepcopy(record["effect"]),
            key=record["idempotency_key"],
            started_at=record["started_at"],
            opened=self.revision + 1,
            next_node="second",
        )
        visits = {**self.checkpoint.visits, step.node_id: step.visit}
        return {"open_steps": {MAIN: step}, "visits": visits, "entered": True}

    def ended(
        self, result: Any = None, *, status: str = "completed", error: str | None = None
    ) -> Entry:
        """A record of how the open step came out; its effect is with its STARTED record."""
        step = self.checkpoint.open_steps[MAIN]
        record = StepRecord(
            run_id=self.run_id,
            step_id=step.step_id,
            node_id=step.node_id,
            status=StepStatus(status),
            effect=copy.deepcopy(step.effect),
            result=copy.deepcopy(result),
            error=error,
            started_at=step.started_at,
            ended_at=time_at(self.clock + 1),
            actor_id=self.state.actor_id,
            session_id=self.state.session_id,
            attempt=step.attempt,
            idempotency_key=step.key,
            visit=step.visit,
        )
        text = None if result is None else encode(result)
        return Entry(record_to_dict(record), result=text, opened=step.opened)

    def note(self, kind: str, **result: Any) -> Entry:
        """A record of a move that is no step."""
        self._steps += 1
        record = StepRecord(
            run_id=self.run_id,
            step_id=f"{self.run_id}-n{self._steps}",
            node_id=self.state.current_node,
            status=StepStatus.COMPLETED,
            result={"kind": kind, **result},
            started_at=time_at(self.clock + 1),
            ended_at=time_at(self.clock + 1),
        )
        return Entry(record_to_dict(record))


def steps_of(script: Script, count: int) -> Iterator[Commit]:
    """Commits of `count` steps, each begun by one and ended by the next."""
    for number in range(count):
        yield script.begin({"turn": number})
        yield script.finish({"n": number}, vars={**script.state.vars, "n": number})


def as_seen(run: RunState) -> dict[str, Any]:
    """A run as JSON, to compare; without what a store may add to a checkpoint of its own accord."""
    data = run_to_dict(run)
    data["checkpoint"].pop("digest", None)
    data["checkpoint"].pop("linked", None)
    return data


def _become(target: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Make `target` equal to `wanted` in place, leaving every value that is equal as it is."""
    for key in [key for key in target if key not in wanted]:
        del target[key]
    for key, value in wanted.items():
        held = target.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            _become(held, value)
        elif key not in target or _text(held) != _text(value):
            target[key] = value


def _text(value: Any) -> bytes:
    return encode(value, max_bytes=1 << 40)
