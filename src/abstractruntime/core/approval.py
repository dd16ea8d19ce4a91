"""Which effects somebody has to approve before they are performed, and on which terms.

Values and matching alone: what an approval does to a run is `core.machine.approval`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

from abstractruntime.errors import InvalidPlan

FAIL = "fail"
ACTIONS = ("allow", "deny", "ask")
MOST_VOTES = 1000


@dataclass(frozen=True)
class Approval:
    """What has to be said before an effect is performed.

    `by` are the actors who may answer (None: anybody), `quorum` how many different ones have to
    approve; one who rejects is enough. Seconds after the question: `expires_s`, `remind_s` (each
    a record that hooks hear of), `escalate_s`, from when on `escalate_to` may answer too.
    `on_expired`, `on_rejected`: "fail" or a node to go to. `answer_schema`: the JSON Schema of an
    answer. `prompt`: the question; one is made when it is None.
    """

    by: tuple[str, ...] | None = None
    quorum: int = 1
    expires_s: float | None = None
    on_expired: str = FAIL
    on_rejected: str = FAIL
    remind_s: tuple[float, ...] = ()
    escalate_s: float | None = None
    escalate_to: tuple[str, ...] = ()
    answer_schema: Mapping[str, Any] | None = None
    prompt: str | None = None

    def __post_init__(self) -> None:
        for name in ("by", "escalate_to"):
            actors = getattr(self, name)
            if actors is not None:
                object.__setattr__(self, name, _actors(name, actors))
        reminders = self.remind_s
        listed = isinstance(reminders, tuple | list)
        object.__setattr__(self, "remind_s", tuple(reminders) if listed else (reminders,))
        for seconds in (*self.remind_s, self.expires_s, self.escalate_s):
            right = seconds is None or (type(seconds) in (int, float) and 0 < seconds < 1e9)
            _refuse_unless(right, "a time", seconds)
        _refuse_unless(type(self.quorum) is int and 0 < self.quorum <= MOST_VOTES, "quorum",
                       self.quorum)  # fmt: skip
        for name in ("on_expired", "on_rejected"):
            found = getattr(self, name)
            _refuse_unless(isinstance(found, str) and bool(found), name, found)
        schema, prompt = self.answer_schema, self.prompt
        _refuse_unless(schema is None or isinstance(schema, Mapping), "answer_schema", schema)
        _refuse_unless(prompt is None or isinstance(prompt, str), "prompt", prompt)
        if self.by is not None and len({*self.by, *self.escalate_to}) < self.quorum:
            raise InvalidPlan(
                f"{self.quorum} have to approve, but only {len({*self.by, *self.escalate_to})} may"
            )

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form: what stands at its default is left out."""
        said: dict[str, Any] = {}
        for name, default in _DEFAULTS.items():
            found = getattr(self, name)
            if found != default:
                said[name] = list(found) if isinstance(found, tuple) else found
        return said

    @classmethod
    def of(cls, said: Approval | Mapping[str, Any]) -> Approval:
        """An approval from itself or its JSON form. InvalidPlan names what it cannot have."""
        if isinstance(said, Approval):
            return said
        if not isinstance(said, Mapping):
            raise InvalidPlan(f"approval cannot be {said!r}")
        unknown = [name for name in said if name not in _DEFAULTS]
        if unknown:
            raise InvalidPlan(f"An approval has no {unknown[0]!r}; it has {', '.join(_DEFAULTS)}")
        return cls(**said)

    def may(self, actor_id: str, *, escalated: bool) -> bool:
        """Whether this actor may answer."""
        if self.by is None:
            return True
        return actor_id in self.by or (escalated and actor_id in self.escalate_to)


_DEFAULTS = {f.name: f.default for f in fields(Approval)}


@dataclass(frozen=True)
class Glob:
    """A text that the shell's pattern matches: `*`, `?` and `[…]`, capitals count."""

    pattern: str


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`, both included; None: no bound on that side."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Rule:
    """What to do with the effects it matches: "allow", "deny" or "ask" (`approval` says whom).

    `type` and `name` are patterns as in Glob; `name` is that of the function of a `call` or of the
    tools of a `tool_calls`. `arguments`: dotted path into the payload (`*`: each item) to the exact
    value, a Glob or a Between. `cost_up_to`: the number at the payload's `cost_path` is known and
    no larger. Of several tool calls, "allow" has to match all, the others one. `label` names the
    rule in records.
    """

    action: str
    type: str | None = None
    name: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    cost_up_to: float | None = None
    cost_path: str = "cost"
    approval: Approval = field(default_factory=Approval)
    label: str | None = None

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise InvalidPlan(f"Rule.action is one of {', '.join(ACTIONS)}, not {self.action!r}")

    @property
    def text(self) -> str:
        """Its label, or what it matches."""
        said = [self.type or "any effect", *([self.name] if self.name else []), *self.arguments]
        return self.label or f"{self.action} {' '.join(said)}"

    def matches(self, effect: Mapping[str, Any]) -> bool:
        """Whether a recorded effect is one of those it is for."""
        if self.type is not None and not fnmatchcase(effect["type"], self.type):
            return False
        found = [self._covers(name, payload) for name, payload in _subjects(effect)]
        return all(found) if self.action == "allow" else any(found)

    def _covers(self, name: str | None, payload: Mapping[str, Any]) -> bool:
        if self.name is not None and (name is None or not fnmatchcase(name, self.name)):
            return False
        for path, wanted in self.arguments.items():
            values = list(_at(payload, path.split(".")))
            hits = [_fits(value, wanted) for value in values]
            if not hits or not (all(hits) if self.action == "allow" else any(hits)):
                return False
        if self.cost_up_to is None:
            return True
        costs = list(_at(payload, self.cost_path.split(".")))
        return bool(costs) and all(_fits(cost, Between(None, self.cost_up_to)) for cost in costs)


def ruled(rules: Sequence[Rule], effect: Mapping[str, Any]) -> Rule | None:
    """The first rule that matches a recorded effect."""
    return next((rule for rule in rules if rule.matches(effect)), None)


def _subjects(effect: Mapping[str, Any]) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """What rules are asked about: the effect, or each tool call as if it were alone."""
    payload = effect["payload"]
    calls = payload.get("tool_calls")
    if effect["type"] != "tool_calls" or not isinstance(calls, list) or not calls:
        name = payload.get("function")
        yield (name if isinstance(name, str) else None), payload
        return
    for call in calls:
        name = call.get("name") if isinstance(call, Mapping) else None
        yield (name if isinstance(name, str) else None), {**payload, "tool_calls": [call]}


def _at(value: Any, path: list[str]) -> Iterator[Any]:
    if not path:
        yield value
        return
    first, *rest = path
    if isinstance(value, list):
        if first == "*":
            for item in value:
                yield from _at(item, rest)
        elif first.isdecimal() and int(first) < len(value):
            yield from _at(value[int(first)], rest)
    elif isinstance(value, Mapping):
        if first == "*":
            for item in value.values():
                yield from _at(item, rest)
        elif first in value:
            yield from _at(value[first], rest)


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Glob):
        return isinstance(value, str) and fnmatchcase(value, wanted.pattern)
    if isinstance(wanted, Between):
        if type(value) not in (int, float):
            return False
        return (wanted.low is None or value >= wanted.low) and (
            wanted.high is None or value <= wanted.high
        )
    return type(value) is type(wanted) and bool(value == wanted)


def _actors(name: str, actors: Any) -> tuple[str, ...]:
    listed = isinstance(actors, tuple | list | set | frozenset)
    found = tuple(sorted(actors) if isinstance(actors, set | frozenset) else actors if listed
                  else (actors,))  # fmt: skip
    _refuse_unless(all(isinstance(actor, str) and actor for actor in found), name, actors)
    return found


def _refuse_unless(right: bool, name: str, found: object) -> None:
    if not right:
        raise InvalidPlan(f"An approval cannot have {found!r} as {name}")
