"""How an effect wants to be performed, beside what it asks for: as a node says it, and as recorded.

Recorded options stand in the effect of its records under "options", only what was set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from abstractruntime.core.approval import Approval
from abstractruntime.core.budget import MOST, SPENT
from abstractruntime.core.values import value
from abstractruntime.errors import InvalidPlan


class Delivery(str, Enum):
    """What a crash between an intent and its outcome means for the effect."""

    AT_LEAST_ONCE = "at_least_once"
    """It is performed again, with the same idempotency key."""
    AT_MOST_ONCE = "at_most_once"
    """It is never performed twice: its outcome is unknown until somebody says."""
    TRANSACTIONAL = "transactional"
    """Its rows and the step commit together: exactly once. SQL stores, sync handlers."""


@dataclass(frozen=True)
class Retry:
    """How often an effect is tried and what happens when it never succeeds.

    `attempts` in all, at least 1. Seconds between them double from `backoff_s` up to
    `backoff_max_s`; `jitter`, 0 to 1, is the share of each that varies with the step. `never` names
    error types that are not tried again. `on_exhausted`: "fail", "pause" or a node to go to.
    """

    attempts: int = 3
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0
    jitter: float = 0.0
    never: tuple[str, ...] = ()
    on_exhausted: str = "fail"

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise InvalidPlan(f"Retry.attempts must be at least 1, found {self.attempts!r}")
        for name in ("backoff_s", "backoff_max_s"):
            _refuse_unless(_is_seconds(getattr(self, name)), f"Retry.{name}", getattr(self, name))
        _refuse_unless(_is_seconds(self.jitter) and self.jitter <= 1, "Retry.jitter", self.jitter)

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form, whole."""
        return {
            "attempts": self.attempts,
            "backoff_s": self.backoff_s,
            "backoff_max_s": self.backoff_max_s,
            "jitter": self.jitter,
            "never": list(self.never),
            "on_exhausted": self.on_exhausted,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Retry:
        """The inverse of `to_dict`; what is left out stands at its default."""
        return cls(**{**data, "never": tuple(data.get("never") or ())})

    def delay(self, attempt: int, *, spread: float) -> float:
        """Seconds after the failed `attempt` (1 is the first); `spread` in [0, 1) places it."""
        doublings = min(attempt - 1, 1023)
        whole = min(self.backoff_s * 2.0**doublings, self.backoff_max_s)
        return whole * (1.0 - self.jitter * spread)


@value
class Options:
    """Recorded options, parsed. Seconds; None where nothing was said.

    `timeout_s` bounds one attempt, `total_timeout_s` the step from its first attempt on,
    `heartbeat_s` the time between two heartbeats of its handler. `approval` is what had to be said
    before it was performed, in its JSON form.
    """

    delivery: Delivery = Delivery.AT_LEAST_ONCE
    retry: Retry | None = None
    timeout_s: float | None = None
    total_timeout_s: float | None = None
    heartbeat_s: float | None = None
    approval: Mapping[str, Any] | None = None

    @property
    def timed(self) -> bool:
        """Whether an attempt may have to be given up while it runs."""
        return not (self.timeout_s is None is self.total_timeout_s is self.heartbeat_s)


DEFAULT = Options()
TIMES = ("timeout_s", "total_timeout_s", "heartbeat_s")


def options_from(effect: Mapping[str, Any]) -> Options:
    """The options of a recorded effect."""
    said = effect.get("options")
    if not said:
        return DEFAULT
    retry = said.get("retry")
    return Options(
        Delivery(said.get("delivery", Delivery.AT_LEAST_ONCE)),
        None if retry is None else Retry.from_dict(retry),
        said.get("timeout_s"),
        said.get("total_timeout_s"),
        said.get("heartbeat_s"),
        said.get("approval"),
    )


def recorded(
    *,
    delivery: str | None = None,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    total_timeout_s: float | None = None,
    heartbeat_s: float | None = None,
    approval: Approval | Mapping[str, Any] | None = None,
    costs: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """What was set, in the form effects are recorded with. InvalidPlan names what cannot be."""
    said: dict[str, Any] = {}
    if delivery is not None:
        said["delivery"] = _delivery(delivery).value
    if retry is not None:
        _refuse_unless(isinstance(retry, Retry), "retry", retry)
        said["retry"] = retry.to_dict()
    for name, seconds in zip(TIMES, (timeout_s, total_timeout_s, heartbeat_s), strict=True):
        if seconds is not None:
            _refuse_unless(_is_seconds(seconds) and seconds > 0, name, seconds)
            said[name] = seconds
    if approval is not None:
        said["approval"] = Approval.of(approval).to_dict()
    if costs is not None:
        said["costs"] = _costs(costs)
    return said


def bare(effect: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded effect without its payload."""
    plain = {"type": effect["type"], "result_key": effect["result_key"]}
    if "options" in effect:
        plain["options"] = effect["options"]
    return plain


def _costs(said: Mapping[str, int]) -> dict[str, int]:
    """The most that one attempt spends of what budgets limit."""
    _refuse_unless(isinstance(said, Mapping), "costs", said)
    for name, most in said.items():
        _refuse_unless(name in SPENT and type(most) is int and 0 <= most <= MOST, "costs", said)
    return dict(said)


def _delivery(said: str) -> Delivery:
    try:
        return Delivery(said)
    except ValueError:
        known = ", ".join(each.value for each in Delivery)
        raise InvalidPlan(f"Unknown delivery class {said!r}", fix=f"use one of {known}") from None


def _is_seconds(found: object) -> bool:
    return type(found) in (int, float) and 0 <= found < 1e9  # type: ignore[operator]


def _refuse_unless(right: bool, name: str, found: object) -> None:
    if not right:
        raise InvalidPlan(f"{name} cannot be {found!r}")


F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declared:
    """What a function or handler says of itself; an effect's own words come before it."""

    options: Mapping[str, Any]
    reconcile: Callable[..., Any] | None = None


def durable(
    *,
    delivery: str | None = None,
    retry: Retry | None = None,
    timeout_s: float | None = None,
    total_timeout_s: float | None = None,
    heartbeat_s: float | None = None,
    approval: Approval | Mapping[str, Any] | None = None,
    costs: Mapping[str, int] | None = None,
    reconcile: Callable[..., Any] | None = None,
) -> Callable[[F], F]:
    """Decorate a function or handler with how it is performed wherever it is called.

    `reconcile(intent)` is asked, instead of a person, whether an `at_most_once` step that a crash
    cut short was performed: it returns an EffectOutcome, completed or failed, or None when it
    cannot tell. InvalidPlan names what cannot be.
    """
    options = recorded(
        delivery=delivery,
        retry=retry,
        timeout_s=timeout_s,
        total_timeout_s=total_timeout_s,
        heartbeat_s=heartbeat_s,
        approval=approval,
        costs=costs,
    )

    def declare(function: F) -> F:
        function.__durable__ = Declared(options, reconcile)  # type: ignore[attr-defined]
        return function

    return declare


def declared_by(function: object) -> Declared | None:
    """What `function` says of itself; a handler object may have `reconcile` as a method."""
    said: Declared | None = getattr(function, "__durable__", None)
    if said is not None and said.reconcile is not None:
        return said
    reconcile = getattr(function, "reconcile", None)
    if not callable(reconcile):
        return said
    return Declared({} if said is None else said.options, reconcile)
