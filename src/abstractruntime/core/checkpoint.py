"""The kernel's part of a stored run: where it stands between commits.

Public fields (status, node, vars, waiting …) live in RunState; everything a driver needs beyond
them to go on after a crash lives here, as frozen values with a compact JSON form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any

from abstractruntime.core.options import bare
from abstractruntime.core.times import normal
from abstractruntime.core.values import value

MAIN = ""
"""The branch every run has; others come with parallel steps."""


@value
class Driver:
    """Who moves a run now: one flow in one process on one boot of one host."""

    host: str
    boot: str
    pid: int
    started: str
    token: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "boot": self.boot,
            "pid": self.pid,
            "started": self.started,
            "token": self.token,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Driver:
        return cls(
            host=data["host"],
            boot=data["boot"],
            pid=data["pid"],
            started=data["started"],
            token=data["token"],
        )


@value
class OpenStep:
    """An intent that is committed and has no committed outcome: the whole plan, to perform again.

    `opened` is the revision whose commit holds its first STARTED record; `wake_at` is set between
    attempts, when `attempt` is the one that is due then. `child` names a sync child it drives,
    `salt` is that of the payload's commitment. `unknown` says why nobody knows whether the last
    attempt was performed; `progress` is what its handler last told of itself, `first_at` when the
    first attempt of a step that is bounded in all began. `approval` says what was asked and said of
    it (core.machine.approval): at attempt 0 it waits for that. `begun`: a crash may have cut it
    short.
    """

    step_id: str
    node_id: str
    visit: int
    effect: dict[str, Any]
    key: str
    started_at: str
    opened: int
    next_node: str | None = None
    attempt: int = 1
    wake_at: str | None = None
    child: str | None = None
    salt: str | None = None
    unknown: str | None = None
    progress: Any = None
    first_at: str | None = None
    approval: dict[str, Any] | None = None
    branch: str = MAIN
    begun: bool = True

    @property
    def joins(self) -> bool:
        """Whether it is a branch of a plan with several effects."""
        return self.branch != MAIN and self.branch.isdigit()

    def to_dict(self, *, payload: bool = True) -> dict[str, Any]:
        """Its JSON form; without `payload` for stores that find it in the STARTED record."""
        data: dict[str, Any] = {
            "step_id": self.step_id,
            "node_id": self.node_id,
            "visit": self.visit,
            "effect": self.effect if payload else bare(self.effect),
            "key": self.key,
            "started_at": self.started_at,
            "opened": self.opened,
        }
        if self.next_node is not None:
            data["next_node"] = self.next_node
        if self.attempt != 1:
            data["attempt"] = self.attempt
        if self.wake_at is not None:
            data["wake_at"] = self.wake_at
        if self.child is not None:
            data["child"] = self.child
        if self.salt is not None:
            data["salt"] = self.salt
        if self.unknown is not None:
            data["unknown"] = self.unknown
        if self.progress is not None:
            data["progress"] = self.progress
        if self.first_at is not None:
            data["first_at"] = self.first_at
        if self.approval is not None:
            data["approval"] = self.approval
        if self.branch != MAIN:
            data["branch"] = self.branch
        if not self.begun:
            data["begun"] = False
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OpenStep:
        return cls(**{name: data[name] for name in _OPEN_STEP if name in data})


@value
class OpenWait:
    """The kernel's side of a wait: its identity and the step that opened it."""

    wait_id: str
    step_id: str
    node_id: str
    visit: int
    opened: int
    key: str | None = None
    child: str | None = None
    wait: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _OPEN_WAIT if getattr(self, name) is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OpenWait:
        return cls(**{name: data[name] for name in _OPEN_WAIT if name in data})


@value
class Join:
    """What became of a plan's branches so far: so many, of which `need` must be completed.

    `borne` failures do not fail the run. At `into` in vars stand {"results", "errors"} by branch.
    """

    node_id: str
    visit: int
    next_node: str
    total: int
    need: int
    borne: int = 0
    limit: int | None = None
    into: str | None = None
    completed: int = 0
    failed: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _JOIN if getattr(self, name) is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Join:
        return cls(**{name: data[name] for name in _JOIN if name in data})


_JOIN = tuple(f.name for f in fields(Join))
_OPEN_STEP = tuple(f.name for f in fields(OpenStep))
_OPEN_WAIT = tuple(f.name for f in fields(OpenWait))


@value
class Terms:
    """Under which terms a run moves, where any were set.

    paused    {"at", "actor", "reason", "cause"}: nobody moves the run until it is unpaused
    deadline  the run fails when it has not ended by then
    account   what it may spend of which budgets, and has (core.machine.budget)
    undos     [{"n", "step", "at", "done"}], oldest first: the undo of that step stands in the
              records of revision `at`, its outcome in those of `done`
    ending    {"as", "at", "error", "actor", "reason", "tree", "open_steps"}: how the run ends when
              its undos are performed and its children closed
    closes    it has started children that its end reaches
    closing   its own close policy: what becomes of it when its parent ends
    losing    children of branches that a join did not wait for: to be cancelled
    """

    paused: dict[str, Any] | None = None
    deadline: str | None = None
    account: dict[str, Any] | None = None
    undos: list[dict[str, Any]] | None = None
    ending: dict[str, Any] | None = None
    closes: bool | None = None
    closing: str | None = None
    losing: list[str] | None = None

    @property
    def phase(self) -> str | None:
        """What is over the run's status: paused, cancelling, failing, completing; None: nothing."""
        if self.paused is not None:
            return "paused"
        return None if self.ending is None else PHASES[str(self.ending["as"])]

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _TERMS if getattr(self, name) is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Terms:
        return cls(**{name: data[name] for name in _TERMS if name in data})


PHASES = {"cancelled": "cancelling", "failed": "failing", "completed": "completing"}
"""What a run is called while it is about to end so."""

_TERMS = tuple(f.name for f in fields(Terms))
NO_TERMS = Terms()


@value
class Checkpoint:
    """The kernel fields of a run as of `revision` (0: never committed).

    visits     node → times entered in this generation
    entered    the current node's visit is already counted
    recall     set by a rewind or jump: step records above this revision may answer planned steps
    reports_to the parent's wait key that hears of this run's end
    linked     how many pieces of evidence the ledger already links
    digest     of the public fields, for stores a host writes to directly
    queued_at  schedulers move the run from then on, though nothing else wakes it
    terms      under which the run moves
    join       what became of the branches of the open plan so far
    committed  the last commit, where saves of a host that no commit took up have taken revisions
    """

    revision: int = 0
    generation: int = 1
    visits: Mapping[str, int] = field(default_factory=dict)
    entered: bool = False
    open_steps: Mapping[str, OpenStep] = field(default_factory=dict)
    waits: Mapping[str, OpenWait] = field(default_factory=dict)
    driver: Driver | None = None
    chain_head: str | None = None
    recall: int | None = None
    version: str | None = None
    reports_to: str | None = None
    linked: int = 0
    evidence: int = 0
    digest: str | None = field(default=None, compare=False)
    queued_at: str | None = None
    terms: Terms = field(default_factory=lambda: NO_TERMS)
    join: Join | None = None
    committed: int | None = field(default=None, compare=False)

    @property
    def last_commit(self) -> int:
        """The revision of the last commit; above it are those that a host's edits took."""
        return self.revision if self.committed is None else self.committed

    def wake_at(self, until: str | None) -> str | None:
        """When the run is due to be moved by a clock: its wait's `until`, a retry, its queue, its
        deadline; never while it is paused."""
        earliest = self.queued_at
        if self.terms is not NO_TERMS:
            if self.terms.paused is not None:
                return None
            deadline = self.terms.deadline
            if deadline is not None and (earliest is None or deadline < earliest):
                earliest = deadline
        if until is not None:
            until = normal(until, what="waiting.until")
            earliest = until if earliest is None else min(earliest, until)
        if self.join is not None:
            for wait in self.waits.values():
                at = None if wait.wait is None else wait.wait.get("until")
                if at is not None:
                    at = normal(at, what="waiting.until")
                    earliest = at if earliest is None else min(earliest, at)
        for step in self.open_steps.values():
            at = step.wake_at
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        return earliest

    def to_dict(self, *, payloads: bool = True) -> dict[str, Any]:
        """Compact JSON form: what stands at its default is left out, `evidence` always."""
        data: dict[str, Any] = {"revision": self.revision}
        if self.generation != 1:
            data["generation"] = self.generation
        if self.visits:
            data["visits"] = dict(self.visits)
        if self.entered:
            data["entered"] = True
        if self.open_steps:
            data["open_steps"] = {
                branch: step.to_dict(payload=payloads) for branch, step in self.open_steps.items()
            }
        if self.waits:
            data["waits"] = {branch: wait.to_dict() for branch, wait in self.waits.items()}
        if self.driver is not None:
            data["driver"] = self.driver.to_dict()
        for name in (
            "chain_head",
            "recall",
            "version",
            "reports_to",
            "digest",
            "queued_at",
            "committed",
        ):
            value = getattr(self, name)
            if value is not None:
                data[name] = value
        if self.linked:
            data["linked"] = self.linked
        if self.terms is not NO_TERMS and self.terms != NO_TERMS:
            data["terms"] = self.terms.to_dict()
        if self.join is not None:
            data["join"] = self.join.to_dict()
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Checkpoint:
        driver = data.get("driver")
        return cls(
            revision=data.get("revision", 0),
            generation=data.get("generation", 1),
            visits=dict(data.get("visits") or {}),
            entered=data.get("entered", False),
            open_steps={
                branch: step if isinstance(step, OpenStep) else OpenStep.from_dict(step)
                for branch, step in (data.get("open_steps") or {}).items()
            },
            waits={
                branch: wait if isinstance(wait, OpenWait) else OpenWait.from_dict(wait)
                for branch, wait in (data.get("waits") or {}).items()
            },
            driver=None
            if driver is None
            else driver
            if isinstance(driver, Driver)
            else Driver.from_dict(driver),
            chain_head=data.get("chain_head"),
            recall=data.get("recall"),
            version=data.get("version"),
            reports_to=data.get("reports_to"),
            linked=data.get("linked", 0),
            evidence=data.get("evidence", 0),
            digest=data.get("digest"),
            queued_at=data.get("queued_at"),
            terms=NO_TERMS if not data.get("terms") else Terms.from_dict(data["terms"]),
            join=None if data.get("join") is None else Join.from_dict(data["join"]),
            committed=data.get("committed"),
        )

    @classmethod
    def coerce(cls, value: Checkpoint | Mapping[str, Any]) -> Checkpoint:
        """A checkpoint from what a plain store handed back: the object itself or its dict."""
        return value if isinstance(value, Checkpoint) else cls.from_dict(value)
