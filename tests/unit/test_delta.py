"""Finding what a node did to its variables: deltas that lead to the new text, and vars to hand on
that are what a reader of the store would get."""

import json
import random
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abstractruntime.core.canonical import decode, encode
from abstractruntime.core.delta import Delta, Encoding, apply_delta
from tests.unit.test_canonical import SCALARS, Colour, same
from tests.unit.test_splice import prose

FEW = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
PAD = prose(5000)  # enough to make any vars large


def text_of(value: Any) -> bytes:
    """The text of vars: larger and deeper than one value may be."""
    return encode(value, max_bytes=1 << 30, max_depth=201)


def containers(value: Any) -> list[int]:
    """The identities of all containers in a value, as often as they stand in it."""
    if isinstance(value, dict):
        return [id(value), *(one for item in value.values() for one in containers(item))]
    if isinstance(value, list):
        return [id(value), *(one for item in value for one in containers(item))]
    return []


def by_hand(text: bytes, delta: Delta) -> bytes:
    """What the module's docstring says a delta means, done slowly and without the module."""
    whole: Any = {"vars": decode(text)}
    for path, op, *rest in delta:
        holder, key = whole, "vars"
        for inner in path:
            holder, key = holder[key], inner
        if op == "-":
            del holder[key]
        elif op == "+":
            assert key not in holder
            holder[key] = decode(rest[0])
        elif op == "=":
            assert key in holder
            holder[key] = decode(rest[0])
        else:
            assert op == "~"
            old, new, done = text_of(holder[key]), b"", 0
            for at, removed, inserted in rest[0]:
                new += old[done:at] + inserted.encode()
                done = at + removed
            holder[key] = decode(new + old[done:])
    return text_of(whole["vars"])


def stepped(encoding: Encoding, live: dict[str, Any]) -> tuple[Encoding, dict[str, Any], Any]:
    """A step, after checking all that holds for every step."""
    before, expected = encoding.text(), text_of(live)
    after, handed, delta = encoding.step(live)
    assert after.text() == expected
    assert after.size == len(expected)
    assert encoding.text() == before, "the encoding stepped from stays what it was"
    assert same(handed, decode(expected))
    assert len(set(containers(handed))) == len(containers(handed))
    if delta is None:
        assert before == expected
    else:
        stored = decode(text_of(delta))
        assert apply_delta(before, [stored]) == expected
        assert by_hand(before, stored) == expected
        assert before != expected
    return after, handed, delta


def began(vars: dict[str, Any]) -> tuple[Encoding, dict[str, Any]]:
    """An encoding of vars and what it hands on, after checking that its text is read back alike."""
    encoding, live = Encoding.of(vars)
    again, read = Encoding.parse(encoding.text())
    assert same(live, read)
    assert again.text() == encoding.text() == text_of(vars)
    assert again.size == encoding.size == len(encoding.text())
    return encoding, live


# ---- any tree, anything done to it


def objects(value: Any) -> list[Any]:
    """The containers of a value; a cycle cannot be there yet."""
    if isinstance(value, dict):
        return [value, *(one for item in value.values() for one in objects(item))]
    if isinstance(value, list):
        return [value, *(one for item in value for one in objects(item))]
    return []


def mutate(vars: dict[str, Any], rng: random.Random, values: list[Any]) -> None:
    """Something a node may do to its variables in place."""
    boxes = objects(vars)
    box, other = rng.choice(boxes), rng.choice(boxes)
    value = deepcopy(rng.choice([*values, other, (1, (2,)), Colour.RED, 2**70]))
    if isinstance(box, dict):
        keys = list(box)
        key = rng.choice([*keys, "new", "é"])
        match rng.randrange(6):
            case 0:
                box.pop(key, None)
            case 1:
                box[key] = box.pop(key, value)
            case 2:
                box.update(dict(sorted(box.items(), key=lambda _: rng.random())))
            case 3:
                fresh = dict(sorted(box.items(), key=lambda _: rng.random()))
                box.clear()
                box.update(fresh)
            case 4 if id(box) not in map(id, objects(other)):
                box[key] = other  # the same object in two places
            case _:
                box[key] = value
    else:
        at = rng.randint(0, len(box))
        match rng.randrange(5):
            case 0:
                del box[at : at + 1]
            case 1:
                box.insert(at, value)
            case 2 if id(box) not in map(id, objects(other)):
                box[at:at] = [other]
            case 3:
                rng.shuffle(box)
            case _:
                box.append(value)


@pytest.mark.parametrize("size", [0, 1, 2, 3])
@settings(max_examples=50, deadline=None)
@given(
    vars=st.dictionaries(st.text(max_size=3), FEW, max_size=5),
    values=st.lists(FEW, max_size=3),
    rng=st.randoms(use_true_random=False),
    steps=st.integers(1, 5),
)
def test_whatever_is_done_to_the_vars_is_found_and_handed_on_as_it_reads_back(
    vars: dict[str, Any], values: list[Any], rng: random.Random, size: int, steps: int
) -> None:
    if size:
        inner = {f"k{n}": {"pad": PAD[: 700 * size], "v": dict(vars)} for n in range(size)}
        vars = {**vars, "pad": PAD, "deep": {"in": inner, "list": [1, {"a": [vars]}]}}
    encoding, live = began(vars)
    first, made, copies = encoding.text(), [], [encoding.text()]
    for _ in range(steps):
        for _ in range(rng.randint(0, 3)):
            mutate(live, rng, values)
        if rng.random() < 0.2:
            live = encoding.restore(live)
            assert text_of(live) == encoding.text()
            assert len(set(containers(live))) == len(containers(live))
        encoding, live, delta = stepped(encoding, live)
        made += [delta] if delta is not None else []
        copies.append(encoding.text())
    assert apply_delta(first, made) == copies[-1]
    assert apply_delta(first, [[one for delta in made for one in delta]]) == copies[-1]


# ---- what is handed on


@pytest.fixture(params=["small", "large"])
def pad(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What makes vars small or large; what is promised holds for both."""
    return {"pad": PAD if request.param == "large" else ""}


def test_nothing_done_is_no_delta(pad: dict[str, Any]) -> None:
    encoding, live = began({"a": 1, "b": [1, {"c": 2}], **pad})
    _, handed, delta = stepped(encoding, live)
    assert delta is None
    assert handed == {"a": 1, "b": [1, {"c": 2}], **pad}


def test_the_vars_given_first_are_not_those_handed_on(pad: dict[str, Any]) -> None:
    given = {"a": {"b": [1]}, **pad}
    _, live = began(given)
    assert live == given
    assert not set(containers(live)) & set(containers(given))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (0, False),
        (1, "1"),
        ("", None),
        ([], {}),
        ([1], [True]),
        ({"a": 0.0}, {"a": -0.0}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (2**70, 2**70 + 1),
        (300, 301),
        ("ab", "ac"),
    ],
)
def test_values_that_python_calls_equal_or_nearly_are_told_apart(
    pad: dict[str, Any], old: Any, new: Any
) -> None:
    for wrap in (lambda v: v, lambda v: [v], lambda v: {"x": {"y": v, "z": PAD}}):
        for one, other in ((old, new), (new, old)):
            encoding, live = began({"a": wrap(one), **pad})
            live["a"] = wrap(other)
            _, _, delta = stepped(encoding, live)
            assert delta is not None


@pytest.mark.parametrize(
    "value", ["text" * 9, 12345.5, 10**6, 2**80, None, True, [1, [2]], {"a": {}}]
)
def test_a_value_set_again_to_an_equal_one_is_no_delta(pad: dict[str, Any], value: Any) -> None:
    encoding, live = began({"a": value, **pad})
    live["a"] = json.loads(json.dumps(value))
    _, _, delta = stepped(encoding, live)
    assert delta is None


def test_a_tuple_or_enum_with_an_equal_text_is_handed_on_as_what_is_read_back(
    pad: dict[str, Any],
) -> None:
    encoding, live = began({"a": [1, [2]], "b": "red", "c": {"red": 1}, "d": "red", **pad})
    live["a"] = (1, (2,))
    live["b"] = Colour.RED
    live["c"] = {Colour.RED: 1}
    del live["d"]
    live[Colour.RED] = 2
    encoding, live, delta = stepped(encoding, live)
    assert delta is not None
    assert type(live["b"]) is str
    assert all(type(key) is str for key in live)
    live["a"][1] = (2,)
    _, live, delta = stepped(encoding, live)
    assert delta is None
    assert type(live["a"][1]) is list


def test_a_key_replaced_by_an_equal_enum_is_a_str_again(pad: dict[str, Any]) -> None:
    encoding, live = began({"a": {"red": 1, "p": PAD}, **pad})
    items = list(live["a"].items())
    live["a"].clear()
    live["a"].update({(Colour.RED if key == "red" else key): item for key, item in items})
    _, live, delta = stepped(encoding, live)
    assert delta is None
    assert all(type(key) is str for key in live["a"])


@pytest.mark.parametrize("size", [1, 400])
def test_one_object_in_two_places_becomes_two(pad: dict[str, Any], size: int) -> None:
    thing = {"x": [prose(10)] * size, "y": {"z": [1]}}
    encoding, live = began({"a": thing, "b": [thing, thing], "c": {"d": thing}, **pad})
    live["a"] = live["b"][0] = live["b"][1]
    live["c"]["d"] = live["b"][1]
    encoding, live, delta = stepped(encoding, live)
    assert delta is None, "the text is the same"
    live["a"]["x"].append(1)
    live["b"][0]["y"]["z"].append(2)
    _, live, _ = stepped(encoding, live)
    assert live["b"][0]["x"] == live["b"][1]["x"] == live["c"]["d"]["x"] == thing["x"]
    assert live["a"]["y"] == live["c"]["d"]["y"] == thing["y"]


def test_parts_of_lists_shared_inside_one_variable_become_two(pad: dict[str, Any]) -> None:
    encoding, live = began({"a": [[1], [1], {"b": [1]}], **pad})
    live["a"][1] = live["a"][0]
    live["a"][2]["b"] = live["a"][0]
    encoding, live, delta = stepped(encoding, live)
    assert delta is None
    live["a"][0].append(2)
    _, live, _ = stepped(encoding, live)
    assert live["a"] == [[1, 2], [1], {"b": [1]}]


def test_an_object_of_the_nodes_own_with_equal_content_is_not_kept(pad: dict[str, Any]) -> None:
    own: dict[str, Any] = {"n": 0, "list": [0]}
    encoding, live = began({"a": own, "b": [own], "c": {"d": own, "p": PAD}, **pad})
    for _ in range(2):
        live["a"] = own
        live["b"][0] = own
        live["c"]["d"] = own
        encoding, live, delta = stepped(encoding, live)
        assert delta is None
        assert id(own) not in containers(live)
        assert id(own["list"]) not in containers(live)


def test_what_did_not_change_is_handed_on_as_the_same_object() -> None:
    encoding, live = began(
        {
            "n": 0,
            "big": [{"t": prose(3000)}],
            "box": {"n": 0, "list": [1], "p": PAD},
            "o": {"p": PAD},
        }
    )
    before = dict(live)
    live["n"] = live["box"]["n"] = 1
    inside = live["box"]["list"]
    _, handed, delta = stepped(encoding, live)
    assert [edit[0] for edit in delta] == [["n"], ["box", "n"]]
    assert handed["big"] is before["big"]
    assert handed["o"] is before["o"]
    assert handed["box"]["list"] is inside


def test_a_changed_value_is_never_the_live_object() -> None:
    encoding, live = began({"list": [1], "p": PAD})
    mine = live["list"]
    mine.append(2)
    _, handed, _ = stepped(encoding, live)
    assert handed["list"] == [1, 2]
    assert handed["list"] is not mine


def test_a_small_state_is_handed_on_fresh_whether_it_changed_or_not() -> None:
    encoding, live = began({"a": [1]})
    again, handed, delta = stepped(encoding, live)
    assert again is encoding
    assert delta is None
    assert handed["a"] is not live["a"]


def test_an_unchanged_large_state_costs_no_new_encoding() -> None:
    encoding, live = began({"a": [1], "p": PAD})
    again, handed, delta = encoding.step(live)
    assert again is encoding
    assert handed is live
    assert delta is None


# ---- restoring


def test_restore_gives_the_vars_as_committed(pad: dict[str, Any]) -> None:
    vars = {"n": 1, "list": [1, {"a": 2}], "box": {"x": {"y": [1]}, "p": PAD}, "s": "t", **pad}
    encoding, live = began(vars)
    live["n"] = 2
    live["list"][1]["a"] = {3}
    live["box"]["x"]["y"] = live["list"]
    live["box"]["new"] = object()
    live["s"] = Colour.RED
    mine = containers(live["list"]) + containers(live["box"]["x"]["y"])
    restored = encoding.restore(live)
    assert same(restored, vars)
    assert not set(mine) & set(containers(restored))
    _, handed, delta = stepped(encoding, restored)
    assert delta is None
    assert same(handed, vars)


@pytest.mark.parametrize(
    "spoil", [dict.clear, lambda v: v.update(box=[1], a=None), lambda v: v.popitem()]
)
def test_restore_does_not_need_what_was_there(pad: dict[str, Any], spoil: Any) -> None:
    vars = {"a": [1], "n": 2**70, "box": {"p": PAD, "q": {"r": "s"}}, **pad}
    encoding, live = began(vars)
    spoil(live)
    assert same(encoding.restore(live), vars)
    assert same(encoding.restore({}), vars)
    assert same(encoding.restore(None), vars)  # type: ignore[arg-type]


def test_restore_keeps_what_did_not_change() -> None:
    encoding, live = began({"big": [{"t": PAD}], "n": 0})
    live["n"] = 1
    assert encoding.restore(live)["big"] is live["big"]


def test_restore_separates_what_a_failed_node_shared() -> None:
    encoding, live = began({"a": [[1], [1]], "b": [[1]], "p": PAD})
    live["a"][0] = live["a"][1] = live["b"][0]
    restored = encoding.restore(live)
    assert len(set(containers(restored))) == len(containers(restored))
