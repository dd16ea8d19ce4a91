"""What in a stored run contradicts the rest of it; the store's medium is `doctor`'s business."""

from __future__ import annotations

from collections.abc import Iterator

from abstractruntime.core.checkpoint import MAIN, Checkpoint
from abstractruntime.core.machine.edit import public_digest
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus


def faults_of(run: RunState) -> Iterator[str]:
    """Each as a phrase about "it", the run."""
    at = run.checkpoint
    if at is None:
        yield "it has no checkpoint"
        at = Checkpoint()
    if run.status in ENDED:
        yield from _of_ended(run, at)
    elif run.status is RunStatus.WAITING:
        yield from _of_waiting(run, at)
    else:
        yield from _of_running(run, at)
    yield from _of_branches(run, at)
    if run.status is RunStatus.COMPLETED and run.output is None:
        yield "it is completed and has no output"
    if run.status is RunStatus.FAILED and not run.error:
        yield "it is failed and nothing says why"
    if at.linked > at.evidence:
        yield f"its ledger links {at.linked} pieces of evidence, {at.evidence} are kept"


def _of_ended(run: RunState, at: Checkpoint) -> Iterator[str]:
    if at.open_steps:
        yield f"it is {run.status.value} and has an open step"
    if at.waits or run.waiting is not None:
        yield f"it is {run.status.value} and has an open wait"
    if at.join is not None:
        yield f"it is {run.status.value} and has an open join"
    if at.queued_at is not None:
        yield f"it is {run.status.value} and in a queue"


def _of_waiting(run: RunState, at: Checkpoint) -> Iterator[str]:
    if run.waiting is None:
        yield "it is waiting and nothing says for what"
    elif not at.waits and at.revision and not _edited(run, at):
        yield "it is waiting and has no open wait"
    # What is waited for may be somebody's word on a step: before it begins (attempt 0), or after.
    if any(step.unknown is None and step.attempt != 0 for step in at.open_steps.values()):
        yield "it is waiting and has an open step"
    for branch, step in at.open_steps.items():
        if step.unknown is not None and branch not in at.waits:
            yield f"the outcome at node '{step.node_id}' is unknown and nobody is asked"


def _of_running(run: RunState, at: Checkpoint) -> Iterator[str]:
    if run.waiting is not None:
        yield "it is running and has an open wait"
    if at.waits and at.join is None:
        yield "it is running and has an open wait"
    held = at.driver is not None or at.queued_at is not None or at.terms.paused is not None
    step = at.open_steps.get(MAIN)
    if step is not None and not held and step.wake_at is None:
        yield f"the step at node '{step.node_id}' is open and nobody performs it"


def _of_branches(run: RunState, at: Checkpoint) -> Iterator[str]:
    names = {*at.open_steps, *at.waits}
    join = at.join
    if join is None:
        strays = sorted(names - {MAIN})
        if strays:
            yield f"branch {strays[0]} is open and belongs to no join"
        return
    if run.status in ENDED:
        return
    if MAIN in names:
        yield "it has open branches and a step beside them"
    found = join.completed + join.failed + len(names - {MAIN})
    if found != join.total:
        yield (
            f"its join is of {join.total} branches: {join.completed} completed, "
            f"{join.failed} failed and {len(names - {MAIN})} open are {found}"
        )
    for branch, step in at.open_steps.items():
        if branch in at.waits and step.unknown is None and step.attempt != 0:
            yield f"branch {branch} is being performed and waits"


def _edited(run: RunState, at: Checkpoint) -> bool:
    """Whether its host wrote to it directly; the run's next load takes that up."""
    return at.digest is not None and at.digest != public_digest(run)
