"""The vars of a draft: results put into them, what is taken, what is undone."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abstractruntime.core.machine.draft import set_dotted
from abstractruntime.core.models import RunStatus
from abstractruntime.errors import LimitExceeded, NotJson
from tests.unit.machine.builder import changes, draft_of, fresh_delta, whole


def nested(depth: int) -> Any:
    """`depth` lists inside each other."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


# ---- vars


def test_a_result_is_put_at_its_dotted_key_and_waits_to_be_absorbed() -> None:
    draft = draft_of({"a": {"x": 0}, "n": 1})
    before = whole(draft)
    draft.set_result("a.b.c", b'{"d":[1]}')
    assert changes(before, draft) == {
        "vars": {"a": {"x": 0, "b": {"c": {"d": [1]}}}, "n": 1},
        "_results": [("a.b.c", b'{"d":[1]}')],
        "absorbed": False,
    }


def test_absorbing_takes_the_vars_as_they_stand_and_says_what_changed() -> None:
    draft = draft_of({"n": 1, "gone": True})
    before = whole(draft)
    draft.run.vars["pair"] = (1, RunStatus.FAILED)
    del draft.run.vars["gone"]
    draft.set_result("n", b"2")
    draft.absorb()
    found = changes(before, draft)
    assert fresh_delta(draft, before) == found["encoding"] == b'{"n":2,"pair":[1,"failed"]}'
    del found["delta"], found["encoding"]
    assert found == {"vars": {"n": 2, "pair": [1, "failed"]}}
    assert type(draft.run.vars["pair"][1]) is str


def test_absorbing_what_did_not_change_is_no_change() -> None:
    draft = draft_of()
    before = whole(draft)
    draft.run.vars["n"] = 1
    draft.absorb()
    assert changes(before, draft) == {}
    assert draft.delta is None


def test_two_absorptions_make_one_delta() -> None:
    draft = draft_of()
    before = whole(draft)
    draft.run.vars["first"] = 1
    draft.absorb()
    draft.run.vars["second"] = 2
    draft.absorb()
    draft.absorb()
    assert fresh_delta(draft, before) == b'{"n":1,"first":1,"second":2}'


@pytest.mark.parametrize(
    ("value", "fault", "path"),
    [({1}, NotJson, "$.vars.bad"), (nested(201), LimitExceeded, None)],
)
def test_vars_that_cannot_be_stored_are_refused_and_nothing_is_taken(
    value: Any, fault: type[Exception], path: str | None
) -> None:
    draft = draft_of()
    draft.set_result("kept", b"1")
    draft.run.vars["bad"] = value
    before = whole(draft)
    with pytest.raises(fault) as caught:
        draft.absorb()
    assert changes(before, draft) == {}
    if path:
        assert caught.value.where["path"] == path  # type: ignore[attr-defined]
    draft.restore()
    assert draft.run.vars == {"n": 1, "kept": 1}


def test_restoring_undoes_what_was_done_to_vars_but_keeps_the_results_that_came_since() -> None:
    draft = draft_of()
    draft.set_result("old", b"1")
    draft.absorb()
    draft.set_result("a.b", b'"new"')
    before = whole(draft)
    draft.run.vars["n"] = "scribbled"
    draft.run.vars["a"]["c"] = "scribbled"
    draft.restore()
    assert changes(before, draft) == {}
    assert draft.run.vars == {"n": 1, "old": 1, "a": {"b": "new"}}


def test_restoring_does_not_bring_absorbed_results_back_a_second_time() -> None:
    draft = draft_of()
    draft.set_result("a", b"1")
    draft.absorb()
    draft.run.vars["a"] = 2
    draft.absorb()
    draft.restore()
    assert draft.run.vars == {"n": 1, "a": 2}


KEYS = st.lists(st.text(st.characters(exclude_characters=".", codec="utf-8")), min_size=1).map(
    ".".join
)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(key=KEYS, in_the_way=st.sampled_from([None, 1, "text", [1], {"kept": 1}]))
def test_a_value_is_found_where_its_dotted_key_says(key: str, in_the_way: Any) -> None:
    path = key.split(".")
    target: dict[str, Any] = {path[0]: deepcopy(in_the_way), "x" * 99: "beside"}
    set_dotted(target, key, "value")
    assert target.pop("x" * 99) == "beside"
    found: Any = target
    for name in path:
        assert type(found) is dict
        beside = {k: v for k, v in found.items() if k != name}
        assert beside in ({}, {"kept": 1})
        found = found[name]
    assert found == "value"


def test_objects_on_the_way_are_kept_and_what_is_no_object_is_replaced() -> None:
    target = {"a": {"b": {"kept": 1}, "list": [1]}}
    set_dotted(target, "a.b.c", 2)
    set_dotted(target, "a.list.d", 3)
    set_dotted(target, "e", 4)
    assert target == {"a": {"b": {"kept": 1, "c": 2}, "list": {"d": 3}}, "e": 4}


# ---- large results

LARGE: list[tuple[str, bytes]] = [
    ("out", b"[" + b",".join([b"[]"] * 150) + b"]"),
    ("out", b"[" + b",".join([b"{}"] * 150) + b"]"),
    (".".join("a" * 152), b"1"),
    (".".join("a" * 51), b"[" + b",".join([b"[]"] * 50 + [b"{}"] * 50) + b"]"),
]


@pytest.mark.parametrize(("key", "text"), LARGE)
def test_a_result_that_may_be_too_deep_for_its_place_is_tried_at_once(
    key: str, text: bytes
) -> None:
    draft = draft_of()
    draft.set_result(key, text)
    assert draft.absorbed
    assert draft.delta is not None
    small = text.removesuffix(b",[]]").removesuffix(b",{}]")
    draft = draft_of()
    draft.set_result(key.removesuffix(".a"), small + b"]" * (small != text))
    assert not draft.absorbed
    assert draft.delta is None


def test_a_result_that_may_be_too_large_for_its_place_is_tried_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for limit, at_once in ((11, False), (10, True)):
        monkeypatch.setattr("abstractruntime.core.machine.draft._SURELY_SMALL", limit)
        draft = draft_of()  # {"n":1}: 7 bytes
        draft.set_result("a", b"1234")
        assert draft.absorbed is at_once


def test_a_result_that_vars_cannot_hold_leaves_them_as_they_were() -> None:
    draft = draft_of({"n": 1, "a": 5})
    draft.set_result("a.kept", b"1")
    before = whole(draft)
    deep = b"[" * 200 + b"]" * 200
    with pytest.raises(LimitExceeded):
        draft.set_result("a.b", deep)
    assert changes(before, draft) == {}
    draft.set_result("b", deep)
    assert draft.absorbed
