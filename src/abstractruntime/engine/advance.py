"""The flow of one run: from its checkpoint until it waits, ends or has used its node calls.

Theory of operation. A `Mover` holds the run as a Draft. It calls nodes, writes the intent of each
effect, asks its driver to perform it, and lets the outcome ride with the next intent. Everything
it does between two commits can be lost without harm: nodes are called again on the vars as last
committed. What cannot be repeated, a performed outcome, is kept in `pending` until a commit holds
it; when that commit meets a newer revision the outcome is applied to the fresh state if its step
is still open there, and kept as evidence if not.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable

from abstractruntime.core.checkpoint import MAIN, NO_TERMS, Driver
from abstractruntime.core.commit import Commit
from abstractruntime.core.machine import ends
from abstractruntime.core.machine.assemble import assemble
from abstractruntime.core.machine.draft import Draft
from abstractruntime.core.machine.plan import Fanout, Finish, Goto, Planned, check
from abstractruntime.core.machine.table import ENDED
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.engine import (
    budgets,
    children,
    endings,
    mail,
    parallel,
    perform,
    recalls,
    settle,
)
from abstractruntime.engine.liveness import is_live
from abstractruntime.engine.load import load_draft
from abstractruntime.engine.requests import Flow, Read, Transact
from abstractruntime.engine.settings import CHILD_STEPS, MAX_MOVES, MAX_NESTED, MAX_WEIGHT, Settings
from abstractruntime.errors import (
    CounterRefused,
    EffectMismatch,
    InvalidInput,
    InvalidPlan,
    RevisionConflict,
    RunBusy,
    UnknownNode,
)


class Moved(Exception):
    """A commit met a newer revision; the mover stands on the fresh state now. Internal."""


Find = Callable[[str], WorkflowSpec]
"""The workflow of an id; raises when there is none."""


def advance(
    settings: Settings,
    run_id: str,
    workflow: WorkflowSpec | Find,
    me: Driver,
    *,
    max_steps: float = math.inf,
    patient: bool = True,
    depth: int = 0,
) -> Flow[RunState]:
    """Load the run and move it; the end of the flow is the run as last committed.

    `patient`: sleep through backoffs; else leave the run timed. `depth`: so many parents, each in
    this flow, await the run.
    Raises UnknownRun, RunBusy, UnknownNode, what `workflow` raises and what the store raises.
    """
    draft = yield from load_draft(settings, run_id)
    spec = workflow if isinstance(workflow, WorkflowSpec) else workflow(draft.run.workflow_id)
    mover = Mover(settings, draft, spec, me, max_steps, patient, depth)
    return (yield from mover.move())


def advance_if_due(
    settings: Settings, run_id: str, find: Find, me: Driver
) -> Flow[RunState | None]:
    """As `advance`, impatient and without limit; None when nothing was committed."""
    draft = yield from load_draft(settings, run_id)
    deadline = draft.terms.deadline
    if draft.parked and (deadline is None or settings.now() < deadline):
        return None  # its host has moved it meanwhile
    mover = Mover(settings, draft, find(draft.run.workflow_id), me, math.inf, patient=False)
    run = yield from mover.move()
    return run if mover.committed else None


class Mover:
    """One run as one driver moves it."""

    def __init__(
        self,
        settings: Settings,
        draft: Draft,
        spec: WorkflowSpec,
        me: Driver,
        max_steps: float,
        patient: bool,
        depth: int = 0,
    ) -> None:
        self.settings = settings
        self.spec = spec
        self.me = me
        self.max_steps = max_steps
        self.patient = patient
        self.depth = depth
        self.calls = 0
        self.pending: list[settle.Done] = []
        self.recorded: recalls.Recorded | None = None
        self.inbox = mail.Inbox()
        self.committed = False
        self._writing = False
        self.draft = draft
        self.at = self.run.updated_at

    def now(self) -> str:
        """Read the clock; the next commit is dated by the last reading."""
        self.at = self.settings.context.now_iso()
        return self.at

    @property
    def run(self) -> RunState:
        return self.draft.run

    def move(self) -> Flow[RunState]:
        """Move until the run waits, ends, is due later, or the node calls are used up."""
        try:
            while True:
                try:
                    return (yield from self._move())
                except Moved:
                    continue
        except BaseException:
            yield from self._rescue()
            raise

    def _move(self) -> Flow[RunState]:
        self.refuse_if_busy()
        if self.draft.terms is not NO_TERMS and self.held_by_terms():
            return (yield from self.stop())
        waits = self.run.status is RunStatus.WAITING and self.draft.terms.ending is None
        if waits and not ((yield from mail.receive(self)) or (yield from children.unblock(self))):
            return (yield from self.stop())
        while True:
            draft = self.draft
            if draft.terms is not NO_TERMS:
                moved = yield from endings.by_terms(self)
                if moved is False:
                    return (yield from self.stop())
                if moved:
                    continue
            if draft.run.status is not RunStatus.RUNNING:
                if (yield from mail.receive(self)):
                    continue
                return (yield from self.stop())
            if draft.join is not None:
                if not (yield from parallel.go_on(self)):
                    return (yield from self.stop())
            elif draft.open_steps:
                if not (yield from perform.perform_open(self, draft.open_steps[MAIN])):
                    return (yield from self.stop())
            elif self.calls >= self.max_steps:
                return (yield from self.stop())
            else:
                yield from self._call_node()

    def refuse_if_busy(self) -> None:
        """An open run with a live driver that is not this flow is not touched."""
        driver = self.draft.driver
        if driver is None or driver.token == self.me.token or self.run.status in ENDED:
            return
        if is_live(driver):
            raise RunBusy(
                f"Run '{self.run.run_id}' is being moved by process {driver.pid} on "
                f"{driver.host.partition('/')[0]}",
                run_id=self.run.run_id,
                driver=driver.to_dict(),
            )

    def held_by_terms(self) -> bool:
        """Whether the run's terms keep it from being moved; one past its deadline fails here."""
        draft = self.draft
        if draft.run.status in ENDED:
            return False
        if draft.terms.paused is not None:
            bounded = self.bounded and draft.terms.ending is None
            if draft.run.status is RunStatus.RUNNING and not draft.wakes and not bounded:
                draft.queued_at = self.now()  # whoever moved it goes on by itself
            return True
        deadline = draft.terms.deadline
        if draft.terms.account is not None and budgets.out_of_time(self):
            return True
        if deadline is None or draft.terms.ending is not None or self.now() < deadline:
            return False
        ends.overdue(draft, deadline, now=self.at, line_id=self.settings.new_id())
        return draft.terms.ending is None

    @property
    def bounded(self) -> bool:
        """Whether a host moves the run, so many node calls at a time."""
        return self.max_steps != math.inf

    def moved(self) -> Moved:
        """What to raise when the draft is fresh and the step at hand is gone."""
        return Moved()

    def descend(self, run_id: str, find: Find) -> Flow[RunState]:
        """Move a run that this one awaits, as the same driver; one too deep is left as it is."""
        if self.depth >= MAX_NESTED:
            return (yield from load_draft(self.settings, run_id)).run
        limit = math.inf if self.max_steps == math.inf else CHILD_STEPS
        return (
            yield from advance(
                self.settings,
                run_id,
                find,
                self.me,
                max_steps=limit,
                patient=self.patient,
                depth=self.depth + 1,
            )
        )

    # -- nodes

    def _call_node(self) -> Flow[None]:
        draft, run = self.draft, self.draft.run
        node_id = run.current_node
        node = self.spec.nodes.get(node_id)
        if node is None:
            raise UnknownNode(
                f"Unknown node_id '{node_id}' in workflow '{self.spec.workflow_id}'",
                run_id=run.run_id,
                node=node_id,
                fix="run it with the workflow it was started with, or edit the run's node",
            )
        self.calls += 1
        try:
            plan = node(run, self.settings.context)
            run.status, run.current_node, run.waiting = RunStatus.RUNNING, node_id, None
            run.output = run.error = None
            checked = check(
                plan,
                node_id=node_id,
                knows=self.spec.nodes.__contains__,
                workflow_id=self.spec.workflow_id,
            )
            draft.absorb()
        except Exception as error:
            run.status, run.current_node, run.waiting = RunStatus.RUNNING, node_id, None
            run.output = run.error = None
            self.fail_node(error)
            return
        if type(checked) is Planned:
            yield from self._step(checked)
        elif type(checked) is Fanout:
            yield from parallel.begin(self, checked)
        elif type(checked) is Goto:
            yield from self._go(checked.next_node)
        elif type(checked) is Finish:
            ends.complete(draft, checked, now=self.now(), line_id=self.settings.new_id())

    def fail_node(self, error: Exception) -> None:
        """The node raised, or planned what cannot be: the run fails, vars as before the node."""
        node_id = self.run.current_node
        if isinstance(error, InvalidPlan | EffectMismatch):
            text = error.message
        elif isinstance(error, InvalidInput):
            text = f"Node '{node_id}': {error.message}"
        else:
            text = f"Node '{node_id}' raised {type(error).__name__}: {error}"
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        ends.fail_node(
            self.draft,
            _clean(text),
            error_type=type(error).__name__,
            trace=[_clean(f"{f.filename}:{f.lineno} {f.name}") for f in frames],
            now=self.now(),
            line_id=self.settings.new_id(),
        )

    def _go(self, next_node: str) -> Flow[None]:
        draft = self.draft
        draft.note(
            "moved",
            line_id=self.settings.new_id(),
            now=self.now(),
            visit=draft.visit(),
            to=next_node,
        )
        draft.enter(next_node)
        draft.moves += 1
        if draft.moves >= MAX_MOVES or draft.weight >= MAX_WEIGHT:
            yield from self.commit(self.me)

    def _step(self, planned: Planned) -> Flow[None]:
        draft = self.draft
        if draft.recall is not None and (yield from recalls.recall(self, planned)):
            return
        try:
            key = perform.step_key(self, planned)
        except InvalidInput as error:
            self.fail_node(error)
            return
        if self.settings.own_keys and (yield from recalls.recall_by_key(self, planned, key)):
            return
        yield from perform.begin(self, planned, key)

    # -- commits

    def commit(self, driver: Driver | None) -> Flow[None]:
        """Write what the draft gathered. Moved: it missed; the mover stands on the fresh state."""
        draft, settings = self.draft, self.settings
        if draft.evidence > draft.linked:
            run_id = draft.run.run_id
            kept = yield Read(lambda store: store.list_evidence(run_id))
            draft.link_evidence(kept, ids=settings.new_id, now=self.now())
        draft.driver = driver
        commit = assemble(draft, settings.sealer, now=self.at)
        self._writing = True
        try:
            yield commit
        except (RevisionConflict, CounterRefused):
            self._writing = False
            yield from self._reload()
            raise Moved from None
        # First of all: an interrupt from here on must not take a committed outcome for a lost one.
        self.pending.clear()
        self._writing = False
        self.committed = True
        settings.hooks.committed(commit)

    def transact(self, request: Transact, written: list[Commit]) -> Flow[None]:
        """Have the step performed inside a transaction; `written` holds the commit, if there was
        one. Moved: it missed, and nothing of it was written."""
        self._writing = True
        try:
            yield request
        except (RevisionConflict, CounterRefused):
            self._writing = False
            yield from self._reload()
            raise Moved from None
        self._writing = False
        if written:
            self.committed = True
            self.settings.hooks.committed(written[0])

    def stop(self) -> Flow[RunState]:
        """Commit what is open and let go of the run."""
        draft = self.draft
        parked = draft.run.status is RunStatus.RUNNING and not draft.wakes
        if self.depth and parked:
            # A parent awaits this run: schedulers go on with it, though no host does.
            draft.queued_at = self.now()
        if draft.dirty or (draft.driver is not None and draft.driver.token == self.me.token):
            yield from self.commit(None)
        return draft.run

    def _reload(self) -> Flow[None]:
        """Somebody else committed: stand on what is there now and save performed outcomes."""
        pending, self.pending = self.pending, []
        self.draft = yield from load_draft(self.settings, self.run.run_id)
        self.recorded = None
        self.inbox = mail.Inbox()
        for done in pending:
            found = self.draft.open_steps.get(done.step.branch)
            if found is not None and found.step_id == done.step.step_id:
                settle.apply_again(self, found, done)
            else:
                yield from settle.keep_evidence(self, done.step, done.outcome)
                self.draft.evidence += 1

    def _rescue(self) -> Flow[None]:
        """The flow is being torn down: a performed outcome is committed before it unwinds."""
        if not self.pending or self._writing:
            return
        # The draft may be half-made: the outcome goes to a fresh one.
        yield from self._reload()
        while self.pending:
            # The driver that dies with this flow stays in a running run: it is recovered at once.
            running = self.run.status is RunStatus.RUNNING
            try:
                yield from self.commit(self.me if running else None)
            except Moved:
                continue


def _clean(text: str) -> str:
    """Text that JSON can hold: a lone surrogate is shown as its escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
