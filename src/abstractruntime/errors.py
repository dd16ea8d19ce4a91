"""Every error the runtime raises: one tree, one stable code each.

    RuntimeFault                      all of them
    ├── InvalidInput                  the caller's: mend the call
    │   ├── NotJson  LimitExceeded  InvalidTime  InvalidIdentifier
    │   ├── InvalidWorkflow  UnknownNode  InvalidPlan  UnknownFunction
    │   ├── UnknownRun  UnknownWorkflow  UnknownSnapshot  UnknownRevision
    │   └── InvalidStoreUrl  MissingExtra
    ├── Refused                       the run is not where the caller thinks: look, then decide
    │   ├── NotWaiting  WaitKeyMismatch  StaleAnswer  ChoiceRefused
    │   ├── NotReopenable  RunEnded  DuplicateRun
    │   ├── EffectMismatch  NeedsResolve  RunPaused
    │   └── ApprovalMismatch  AnswerRefused  NotEntitled
    ├── Contended                     somebody else moved first: safe to try again
    │   └── RevisionConflict  RunBusy  StoreBusy  CounterRefused
    ├── StoreFault                    the store or its medium
    │   ├── StoreUnavailable  StoreReadOnly  StoreFull  StoreClosed
    │   └── StoreCorrupt  StoreTooNew  UnsupportedByStore
    └── EffectFault                   raised *by* handlers to say how to go on
        ├── RetryableError            try again, maybe after `retry_after` seconds
        ├── TerminalError             do not try again
        └── OutcomeUnknown            nobody knows whether it was performed

Each answers: what happened, where (run, node, visit, path), recorded against found, how to mend it.
An error whose text api users match begins with that text; the rest are attributes.
"""

from __future__ import annotations

from typing import Any, ClassVar


class RuntimeFault(Exception):
    """Root of the tree. `code` is stable; `where` holds run_id, node, visit, path, … as known."""

    code: ClassVar[str] = "AR1000"
    fix: ClassVar[str] = ""

    def __init__(self, message: str, /, *, fix: str | None = None, **where: Any) -> None:
        super().__init__(message)
        self.message = message
        self.where = {name: value for name, value in where.items() if value is not None}
        self.how_to_fix = self.fix if fix is None else fix

    def __str__(self) -> str:
        return self.message

    def explain(self) -> str:
        """The message, where it happened, how to mend it and the code, on one to three lines."""
        lines = [f"{self.message} [{self.code}]"]
        if self.where:
            lines.append(
                "  " + ", ".join(f"{name}={value!r}" for name, value in self.where.items())
            )
        if self.how_to_fix:
            lines.append(f"  fix: {self.how_to_fix}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """{"code", "error", "message", "where", "fix"}, for machines."""
        return {
            "code": self.code,
            "error": type(self).__name__,
            "message": self.message,
            "where": {name: str(value) for name, value in self.where.items()},
            "fix": self.how_to_fix,
        }


# ---- the caller's input


class InvalidInput(RuntimeFault, ValueError):
    """The call cannot be right as it stands; nothing was written."""

    code = "AR1100"


class NotJson(InvalidInput, TypeError):
    """A value that JSON cannot hold exactly; `where["path"]` names it."""

    code = "AR1101"
    fix = "store str, int, finite float, bool, None, list and str-keyed dict only; convert others"


class LimitExceeded(InvalidInput):
    """Deeper, larger or longer than docs/limits.md allows."""

    code = "AR1102"
    fix = "keep bulk data in an artifact and store its reference"


class InvalidTime(InvalidInput):
    """Not an ISO-8601 time with an offset."""

    code = "AR1103"
    fix = 'give an ISO-8601 time with an offset, e.g. "2026-01-31T09:00:00+00:00"'


class InvalidIdentifier(InvalidInput):
    """An id that is empty, too long, or has characters a file or key may not have."""

    code = "AR1104"


class InvalidWorkflow(InvalidInput):
    """A workflow whose graph cannot run: missing entry, unknown or unreachable node."""

    code = "AR1105"


class UnknownNode(InvalidInput, KeyError):
    code = "AR1106"


class InvalidPlan(InvalidInput):
    """A step plan that cannot be performed as it stands."""

    code = "AR1107"


class UnknownFunction(InvalidInput, KeyError):
    """A `call` effect names a function that neither the workflow nor the runtime has."""

    code = "AR1108"
    fix = "register it with @wf.function or Runtime(functions=…)"


class UnknownRun(InvalidInput, KeyError):
    code = "AR1109"


class UnknownWorkflow(InvalidInput, KeyError):
    code = "AR1110"


class UnknownSnapshot(InvalidInput, KeyError):
    code = "AR1111"


class UnknownRevision(InvalidInput, KeyError):
    code = "AR1112"


class InvalidStoreUrl(InvalidInput):
    code = "AR1113"
    fix = (
        "use memory://, sqlite:///relative.db, sqlite:////absolute.db, files:///relative-folder "
        "or files:////absolute-folder"
    )


class MissingExtra(InvalidInput, ImportError):
    """What was asked for needs an optional dependency that is not installed."""

    code = "AR1114"


# ---- refused: the run is not where the caller thinks


class Refused(RuntimeFault):
    """The call is well-formed but the run is not in a state that takes it; nothing was written."""

    code = "AR1200"


class NotWaiting(Refused, ValueError):
    code = "AR1201"
    fix = "read the run's state; somebody may have answered already"


class WaitKeyMismatch(Refused, ValueError):
    code = "AR1202"
    fix = "answer the wait that is open: waiting.wait_key"


class StaleAnswer(Refused, ValueError):
    """The answer names a wait that is no longer the open one."""

    code = "AR1203"
    fix = "read the run again and answer the wait that is open now"


class ChoiceRefused(Refused, ValueError):
    code = "AR1204"
    fix = "answer with one of the choices"


class NotReopenable(Refused, ValueError):
    code = "AR1205"
    fix = "only failed runs can be reopened"


class RunEnded(Refused, ValueError):
    code = "AR1206"
    fix = "an ended run takes nothing more; start another one"


class DuplicateRun(Refused, ValueError):
    code = "AR1207"
    fix = 'take another run id, or on_duplicate="return" to go on with the run that is there'


class EffectMismatch(Refused, ValueError):
    """A policy-made idempotency key recurs with another effect."""

    code = "AR1208"
    fix = "let the key depend on the payload, or keep the payload equal"


class NeedsResolve(Refused, ValueError):
    """The run waits for somebody's word on an outcome nobody knows: no answer can give it."""

    code = "AR1209"
    fix = "say what became of it: runtime.resolve(run_id, outcome=…), or `abstractruntime resolve`"


class RunPaused(Refused, ValueError):
    code = "AR1210"
    fix = "unpause the run first"


class ApprovalMismatch(Refused, ValueError):
    """The stored effect is not the one that was approved: it is not performed."""

    code = "AR1211"
    fix = "find out who changed the store; then reopen the run: its node plans and asks anew"


class AnswerRefused(Refused, ValueError):
    """The answer says nothing that the open wait can take."""

    code = "AR1212"


class NotEntitled(Refused, PermissionError):
    """This actor may not answer."""

    code = "AR1213"
    fix = "let one of those answer who may"


# ---- contended: somebody else moved first


class Contended(RuntimeFault):
    """Somebody else moved first; nothing of this call was written; it may be tried again."""

    code = "AR1300"


class RevisionConflict(Contended):
    """`where` holds expected and found revision."""

    code = "AR1301"
    fix = "load the run again and repeat the change on what is there now"


class RunBusy(Contended):
    """A live driver is moving the run; `where["driver"]` names it."""

    code = "AR1302"
    fix = "wait for that driver, or stop it"


class StoreBusy(Contended):
    """The store stayed locked for the whole busy timeout."""

    code = "AR1303"
    fix = "find the process that holds the database, or raise busy_timeout"


class CounterRefused(Contended):
    """A commit would take a counter past its bound; nothing of it was written.

    `where` names the `counter`, its `value` and its bound, `at_most`.
    """

    code = "AR1304"
    fix = "look what is left in the budget and raise it"


# ---- the store or its medium


class StoreFault(RuntimeFault):
    """The store could not do what it was asked; what it acknowledged before stands."""

    code = "AR1400"


class StoreUnavailable(StoreFault):
    code = "AR1401"


class StoreReadOnly(StoreFault):
    code = "AR1402"
    fix = "make the file and its folder writable, or open another store"


class StoreFull(StoreFault):
    code = "AR1403"
    fix = "free space on the medium, then call again"


class StoreClosed(StoreFault):
    code = "AR1404"


class StoreCorrupt(StoreFault):
    code = "AR1405"
    fix = "keep the file, run `abstractruntime doctor`, restore from a backup"


class StoreTooNew(StoreFault):
    """The file was written by a newer version of this library."""

    code = "AR1406"
    fix = "upgrade abstractruntime"


class UnsupportedByStore(StoreFault):
    """The store lacks a named capability."""

    code = "AR1407"


# ---- said by handlers


class EffectFault(Exception):
    """Base of what handlers raise to say how to go on; not an error of the runtime."""


class RetryableError(EffectFault):
    """Try the effect again by policy; not before `retry_after` seconds when given."""

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TerminalError(EffectFault):
    """Do not try the effect again."""


class OutcomeUnknown(EffectFault):
    """It may have been performed or not: an `at_most_once` step is resolved, not tried again."""
