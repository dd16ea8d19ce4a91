"""Which effects a rule matches, and what an approval may say."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.approval import Approval, Between, Glob, Rule, ruled
from abstractruntime.errors import InvalidPlan


def tools(*calls: tuple[str, dict[str, Any]], **payload: Any) -> dict[str, Any]:
    made = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return {"type": "tool_calls", "payload": {"tool_calls": made, **payload}, "result_key": None}


def effect(kind: str, **payload: Any) -> dict[str, Any]:
    return {"type": kind, "payload": payload, "result_key": None}


@pytest.mark.parametrize(
    ("rule", "matched", "found"),
    [
        (Rule("ask"), effect("pay"), True),
        (Rule("ask", "pay*"), effect("pay_later"), True),
        (Rule("ask", "pay"), effect("pay_later"), False),
        (Rule("ask", "call", "rm"), effect("call", function="rm"), True),
        (Rule("ask", "call", "rm"), effect("call", function="RM"), False),
        (Rule("ask", name="*"), effect("pay"), False),
        (Rule("ask", name="*"), effect("call", function=5), False),
        (Rule("deny", "tool_calls", "rm"), tools(("ls", {}), ("rm", {})), True),
        (Rule("allow", "tool_calls", "ls"), tools(("ls", {}), ("rm", {})), False),
        (Rule("allow", "tool_calls", "ls"), tools(("ls", {}), ("ls", {})), True),
        (Rule("allow", "tool_calls"), tools(), True),
        (Rule("allow", "tool_calls", "ls"), tools(), False),
        (Rule("allow", name="ls"), effect("tool_calls", tool_calls=["ls"]), False),
    ],
)
def test_a_rule_is_about_types_and_names(rule: Rule, matched: dict[str, Any], found: bool) -> None:
    assert rule.matches(matched) is found


@pytest.mark.parametrize(
    ("wanted", "value", "found"),
    [
        ("a", "a", True),
        ("a*", "ab", False),  # exact, not a pattern
        (1, 1, True),
        (1, 1.0, False),
        (1, True, False),
        ([1], [1], True),
        (Glob("*.example.org"), "www.example.org", True),
        (Glob("*.example.org"), "WWW.EXAMPLE.ORG", False),
        (Glob("*"), 5, False),
        (Between(1, 5), 5, True),
        (Between(1, 5), 5.1, False),
        (Between(high=5), -1, True),
        (Between(low=5), 4, False),
        (Between(), "5", False),
        (Between(0, 1), True, False),
    ],
)
def test_an_argument_is_exact_a_pattern_or_a_range(wanted: Any, value: Any, found: bool) -> None:
    rule = Rule("ask", arguments={"deep.at": wanted})
    assert rule.matches(effect("x", deep={"at": value})) is found


def test_an_argument_that_is_not_there_matches_nothing() -> None:
    rule = Rule("ask", arguments={"deep.at": Glob("*")})
    for payload in ({}, {"deep": {}}, {"deep": "at"}, {"deep": []}):
        assert not rule.matches(effect("x", **payload))


def test_a_path_goes_through_lists_by_index_or_star() -> None:
    payload = {"rows": [{"n": 1}, {"n": 9}]}
    assert Rule("ask", arguments={"rows.1.n": 9}).matches(effect("x", **payload))
    assert not Rule("ask", arguments={"rows.2.n": 9}).matches(effect("x", **payload))
    assert Rule("ask", arguments={"rows.*.n": Between(5)}).matches(effect("x", **payload))
    assert not Rule("allow", arguments={"rows.*.n": Between(5)}).matches(effect("x", **payload))
    assert Rule("allow", arguments={"rows.*.n": Between(1)}).matches(effect("x", **payload))
    assert Rule("ask", arguments={"by.*": 1}).matches(effect("x", by={"a": 0, "b": 1}))


def test_name_and_arguments_are_those_of_one_tool_call() -> None:
    rule = Rule("deny", name="rm", arguments={"tool_calls.*.arguments.path": Glob("/etc/*")})
    assert rule.matches(tools(("rm", {"path": "/etc/x"})))
    assert not rule.matches(tools(("rm", {"path": "/tmp/x"}), ("cat", {"path": "/etc/x"})))


def test_a_cost_has_to_be_known_to_be_under_the_ceiling() -> None:
    rule = Rule("allow", cost_up_to=5)
    assert rule.matches(effect("x", cost=5))
    assert not rule.matches(effect("x", cost=5.01))
    assert not rule.matches(effect("x"))
    assert not rule.matches(effect("x", cost="5"))
    assert Rule("allow", cost_up_to=5, cost_path="est.usd").matches(effect("x", est={"usd": 1}))


def test_the_first_rule_that_matches_counts() -> None:
    rules = (Rule("allow", "pay", cost_up_to=5), Rule("ask", "pay"), Rule("deny"))
    found = [ruled(rules, effect("pay", cost=cost)) for cost in (1, 9)]
    assert [rule.action for rule in found if rule] == ["allow", "ask"]
    last = ruled(rules, effect("rm"))
    assert last is not None
    assert last.action == "deny"
    assert ruled(rules[:2], effect("rm")) is None


def test_a_rule_has_a_text_to_be_named_by() -> None:
    assert Rule("deny", "call", "rm").text == "deny call rm"
    assert Rule("deny", label="no deletions").text == "no deletions"
    assert Rule("ask", arguments={"a.b": 1}).text == "ask any effect a.b"


def test_a_rule_does_one_of_three_things() -> None:
    with pytest.raises(InvalidPlan, match="allow, deny, ask"):
        Rule("forbid")


@pytest.mark.parametrize(
    "options",
    [
        {"quorum": 0},
        {"quorum": True},
        {"quorum": 2, "by": ("ann",)},
        {"quorum": 2, "by": ("ann", "ann")},
        {"by": ("",)},
        {"by": (5,)},
        {"expires_s": 0},
        {"expires_s": "60"},
        {"expires_s": float("nan")},
        {"remind_s": (-1,)},
        {"escalate_s": 0},
        {"on_expired": ""},
        {"on_rejected": None},
        {"answer_schema": "object"},
        {"prompt": 5},
    ],
)
def test_an_approval_that_cannot_be_given_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidPlan):
        Approval(**options)


def test_an_approval_is_data() -> None:
    whole = Approval(
        ("ann", "bob"), 2, 60.0, "late", "no", (10, 20), 30, ("boss",), {"type": "object"}, "Pay?"
    )
    said = whole.to_dict()
    assert said["by"] == ["ann", "bob"]
    assert said["remind_s"] == [10, 20]
    assert Approval.of(said) == whole
    assert Approval().to_dict() == {}
    assert Approval.of(whole) is whole


def test_who_may_answer() -> None:
    approval = Approval(by=("ann",), escalate_s=5, escalate_to=("boss",))
    assert approval.may("ann", escalated=False)
    assert not approval.may("boss", escalated=False)
    assert approval.may("boss", escalated=True)
    assert Approval().may("anybody", escalated=False)


@pytest.mark.parametrize("said", [5, "ann", {"who": "ann"}])
def test_what_is_no_approval_is_refused(said: Any) -> None:
    with pytest.raises(InvalidPlan):
        Approval.of(said)
