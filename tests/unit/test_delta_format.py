"""Deltas as they are stored: which edits are made of which change, and what applying them gives."""

import json
from typing import Any

import orjson
import pytest

from abstractruntime.core import delta as delta_module
from abstractruntime.core.canonical import encode
from abstractruntime.core.delta import SMALL_BYTES, Encoding, apply_delta
from abstractruntime.errors import StoreCorrupt
from tests.unit.test_canonical import nest, same
from tests.unit.test_delta import PAD, began, stepped
from tests.unit.test_splice import prose


def paths_after(vars: dict[str, Any], change: Any) -> list[list[str]]:
    """The paths of the edits that a change of vars leads to."""
    encoding, live = began(vars)
    change(live)
    _, _, delta = stepped(encoding, live)
    return [edit[0] for edit in delta or []]


# ---- which edits


def test_a_small_state_changes_by_splices_of_its_whole_text() -> None:
    encoding, live = began({"n": 1, "text": "x" * 100})
    live["n"] = 2
    _, _, delta = stepped(encoding, live)
    assert delta == [[[], "~", [[5, 1, "2"]]]]


def test_a_small_state_that_changes_wholly_is_replaced() -> None:
    encoding, live = began({"a": 1})
    live.clear()
    live["b"] = 2
    _, _, delta = stepped(encoding, live)
    assert delta == [[[], "=", '{"b":2}']]


def test_the_edits_of_a_large_state_name_what_changed() -> None:
    encoding, live = began(
        {"n": 1, "gone": 2, "box": {"p": PAD, "old": 0, "t": "abcdefghijklmnop"}, "p": PAD}
    )
    live["n"] = 22
    del live["gone"], live["box"]["old"]
    live["box"]["t"] = "abcdefgh-ijklmnop"
    live["box"]["é"] = {"x": [1]}
    live["last"] = "ü"
    _, _, delta = stepped(encoding, live)
    assert delta == [
        [["gone"], "-"],
        [["n"], "=", "22"],
        [["box", "old"], "-"],
        [["box", "t"], "~", [[9, 0, "-"]]],
        [["box", "é"], "+", '{"x":[1]}'],
        [["last"], "+", '"ü"'],
    ]


@pytest.mark.parametrize(
    "reorder",
    [
        lambda box: box.update(a=box.pop("a")),
        lambda box: box.update({"new": 1, **{key: box.pop(key) for key in list(box)}}),
        lambda box: box.update({key: box.pop(key) for key in sorted(box, reverse=True)}),
    ],
)
def test_another_order_of_keys_is_one_edit_of_the_object(reorder: Any) -> None:
    for where in ([], ["box"], ["box", "in"]):
        box = {"a": 1, "b": prose(3000), "c": 3}
        vars: dict[str, Any] = dict(box, box=dict(box, **{"in": box.copy()}))

        def change(live: Any, where: list[str] = where) -> None:
            for key in where:
                live = live[key]
            reorder(live)

        assert paths_after(vars, change) == [where]


def test_a_key_moved_to_the_end_costs_its_own_size() -> None:
    encoding, live = began({"a": 1, "b": PAD, "c": PAD})
    live["a"] = live.pop("a")
    _, _, delta = stepped(encoding, live)
    assert len(encode(delta)) < 100


@pytest.mark.parametrize(("depth", "seen"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (7, 4)])
def test_objects_are_gone_into_to_depth_four_below_the_variable(depth: int, seen: int) -> None:
    vars = {"v": nest(depth, lambda inside: {"k": inside, "p": PAD}, 1)}

    def change(live: Any) -> None:
        live = live["v"]
        for _ in range(depth - 1):
            live = live["k"]
        live["k"] = 2

    assert paths_after(vars, change) == [["v"] + ["k"] * seen]


@pytest.mark.parametrize(("width", "path"), [(255, ["v", "k7"]), (256, ["v", "k7"]), (257, ["v"])])
def test_objects_of_more_than_256_keys_are_one_value(width: int, path: list[str]) -> None:
    vars = {"v": {f"k{n}": f"value {n}" for n in range(width)}, "p": PAD}
    assert paths_after(vars, lambda live: live["v"].update(k7=1)) == [path]


@pytest.mark.parametrize(("size", "path"), [(2047, ["v"]), (2048, ["v", "n"]), (2049, ["v", "n"])])
def test_objects_smaller_than_2_kib_are_one_value(size: int, path: list[str]) -> None:
    vars = {"v": {"n": 1, "p": "x" * (size - 14)}, "p": PAD}
    assert len(encode(vars["v"])) == size
    assert paths_after(vars, lambda live: live["v"].update(n=2)) == [path]


@pytest.mark.parametrize("width", [1, 300])
def test_the_variables_themselves_are_always_told_apart(width: int) -> None:
    vars = {f"v{n}": "x" * (5000 // width) for n in range(width)} | {"n": 1}
    assert paths_after(vars, lambda live: live.update(n=2)) == [["n"]]
    encoding, live = Encoding.parse(encode(vars))
    live["n"] = 2
    _, _, delta = stepped(encoding, live)
    assert delta == [[["n"], "=", "2"]], "and as well when they were read from a store"


def test_an_object_that_outgrows_or_undercuts_a_bound_is_treated_by_its_new_size() -> None:
    encoding, live = began({"v": {"n": 1, "p": "x" * 1000}, "p": PAD})
    live["v"]["p"] = "x" * 3000
    encoding, live, delta = stepped(encoding, live)
    assert [edit[0] for edit in delta] == [["v"]]
    live["v"]["n"] = 2
    encoding, live, delta = stepped(encoding, live)
    assert [edit[0] for edit in delta] == [["v", "n"]]
    live["v"]["p"] = "x"
    encoding, live, delta = stepped(encoding, live)
    assert [edit[0] for edit in delta] == [["v", "p"]]
    live["v"]["n"] = 3
    encoding, live, delta = stepped(encoding, live)
    assert [edit[0] for edit in delta] == [["v"]]
    live["v"] = [1]
    encoding, live, delta = stepped(encoding, live)
    assert delta == [[["v"], "=", "[1]"]]


def test_a_state_may_grow_large_and_shrink_small_again() -> None:
    encoding, live = began({"n": 1})
    for size in (
        SMALL_BYTES - 15,
        SMALL_BYTES - 14,
        100_000,
        SMALL_BYTES - 14,
        SMALL_BYTES - 15,
        0,
    ):
        live["p"] = "x" * size
        live["n"] += 1
        encoding, live, _ = stepped(encoding, live)
        same_as, live, delta = stepped(encoding, live)
        assert same_as is encoding
        assert delta is None
        live["n"] += 1
        encoding, live, delta = stepped(encoding, live)
        large = encoding.size > SMALL_BYTES
        assert [edit[0] for edit in delta] == ([["n"]] if large else [[]])
        again, _, delta = stepped(encoding, live)
        assert again is encoding
        assert delta is None
    assert live == {"n": 13, "p": ""}


def test_the_bound_between_small_and_large_is_4_kib() -> None:
    assert SMALL_BYTES == 4096
    for size, path in ((4096, []), (4097, ["n"])):
        vars = {"n": 1, "p": "x" * (size - 14)}
        assert len(encode(vars)) == size
        assert paths_after(vars, lambda live: live.update(n=2)) == [path]
        encoding, live = Encoding.parse(encode(vars))
        live["n"] = 2
        _, _, delta = stepped(encoding, live)
        assert [edit[0] for edit in delta] == [path]


def test_a_growing_list_between_counters_costs_what_is_added() -> None:
    encoding, live = began({"before": 0, "box": [0, [{"n": 0}], 0], "after": 0})
    total = 0
    for n in range(1, 300):
        live["before"] = live["after"] = live["box"][0] = live["box"][2] = n
        live["box"][1][0]["n"] = n
        live["box"][1].append({"text": prose(1000, n * 50)})
        encoding, live, delta = encoding.step(live)
        total += len(orjson.dumps(delta))
    assert total < 300 * 1150
    assert live["box"][0] == 299


# ---- applying


def test_many_deltas_are_applied_in_one_go() -> None:
    encoding, live = began({"n": 0, "box": {"n": 0, "list": [{"n": 0}, PAD]}, "p": PAD})
    first, made = encoding.text(), []
    for n in range(256):
        live["n"] = live["box"]["n"] = live["box"]["list"][0]["n"] = n
        live["box"]["list"].append(n)
        if n == 100:
            live["box"]["x"] = {"p": PAD, "q": 1}
        if n > 100:
            live["box"]["x"]["q"] = n
        encoding, live, delta = encoding.step(live)
        made += [delta]
    assert apply_delta(first, made) == encoding.text()
    assert apply_delta(first, iter(made)) == encoding.text()
    assert apply_delta(first, []) == first


@pytest.mark.parametrize(
    "delta",
    [
        [[["x"], "=", "1"]],
        [[["x"], "-"]],
        [[["x"], "~", [[0, 0, "1"]]]],
        [[["x", "y"], "=", "1"]],
        [[["a"], "+", "1"]],
        [[["n", "y"], "=", "1"]],
        [[["l", "y"], "=", "1"]],
        [[["a"], "~", [[99, 0, "1"]]]],
        [[["a"], "~", [[0, 0]]]],
        [[["a"], "~", [[0, 0, 1]]]],
        [[["a"], "~"]],
        [[["a"], "~", [], []]],
        [[["a"], "=", 1]],
        [[["a"], "="]],
        [[["a"], "-", 1]],
        [[["a"], "?", "1"]],
        [[["a"]]],
        [[]],
        [1],
        [[[], "-"]],
        [[[], "+", "{}"]],
        [[[["a"]], "=", "1"]],
        [[["a"], "=", "1"], [["a", "b"], "=", "1"]],
    ],
)
def test_a_delta_of_another_text_is_refused(delta: Any) -> None:
    with pytest.raises(StoreCorrupt, match="does not fit"):
        apply_delta(b'{"a":{"b":1},"n":1,"l":[1]}', [delta])


def test_the_refusal_of_a_delta_shows_the_edit_and_what_is_wrong_with_it() -> None:
    for one, fault in (
        ([["x"], "=", "1"], "the key is not there"),
        ([["x"], "-"], "the key is not there"),
        ([["n"], "+", "1"], "the key is there already"),
        ([["n"], "?", "1"], "no such edit"),
        ([["n", "m"], "=", "1"], "int"),
    ):
        with pytest.raises(StoreCorrupt) as caught:
            apply_delta(b'{"n":1}', [[one]])
        assert str(caught.value).startswith(f"the edit {one} does not fit: ")
        assert fault in str(caught.value)
    with pytest.raises(StoreCorrupt) as caught:
        apply_delta(b'{"n":1}', [[[["x"], "=", "x" * 1000]]])
    assert len(str(caught.value)) < 300
    with pytest.raises(StoreCorrupt, match="not set out as ours"):
        apply_delta(b'{"n":1,"n":1}', [[[["n"], "=", "2"]]])


def test_an_edit_may_reach_into_what_an_earlier_one_brought() -> None:
    delta = [
        [["new"], "+", '{"a":{"b":1}}'],
        [["new", "a", "c"], "+", "[]"],
        [["new"], "~", [[6, 1, "z"]]],
        [["new", "a"], "-"],
    ]
    assert apply_delta(b"{}", [delta[:2]]) == b'{"new":{"a":{"b":1,"c":[]}}}'
    with pytest.raises(StoreCorrupt):
        apply_delta(b"{}", [delta])
    assert (
        apply_delta(b"{}", [[delta[0], [["new"], "~", [[2, 1, "z"]]]]]) == b'{"new":{"z":{"b":1}}}'
    )
    assert apply_delta(b'{"":{"":1}}', [[[["", ""], "=", "2"]]]) == b'{"":{"":2}}'
    assert apply_delta(b'{"a":1,"b":2}', [[[["a"], "-"], [["a"], "+", "3"]]]) == b'{"b":2,"a":3}'


# Texts as another version may have written them: other numbers, blanks, escapes.
OTHERS = [
    b'{"n":1,"f":1e16,"e":1E-7,"big":100000000000000000000000,"box":{"f":1.50,"n":1,"p":"%s"}}',
    b'{"n":1,"f":0.00000010,"s":"\\u00e9\\/","box":{"n":1,"p":"%s"}}',
]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("size", [10, 5000])
def test_a_text_set_out_otherwise_is_kept_until_something_changes(other: bytes, size: int) -> None:
    text = other % (b"x" * size)
    encoding, live = Encoding.parse(text)
    assert encoding.text() == text
    assert encoding.size == len(text)
    assert same(live, json.loads(text))
    again, handed, delta = encoding.step(live)
    assert delta is None
    assert again.text() == text
    assert same(handed, live)
    assert handed is not live
    live["box"]["n"] = 2
    assert same(encoding.restore(live), json.loads(text))
    after, handed, delta = encoding.step(live)
    assert delta is not None
    assert after.text() == encode(live)
    assert apply_delta(text, [delta]) == after.text()


def test_a_text_set_out_as_ours_is_not_looked_through_letter_by_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delta_module, "JSONDecoder", None)
    text = encode({"a": {"b": [1.5, 1e22, "é", 2**70]}, "n": 10**5000})
    expected = encode({"a": {"b": 2}, "n": 10**5000})
    assert apply_delta(text, [[[["a", "b"], "=", "2"]]]) == expected


def test_numbers_of_any_length_may_stand_in_a_text_of_another_version() -> None:
    long = b"1" + b"0" * 5000
    text = b'{"a":' + long + b',"b":1.50,"c":1E+5,"d":-' + long + b',"n":1}'
    assert apply_delta(text, [[[["n"], "=", "2"]]]) == text.replace(b'"n":1', b'"n":2')


@pytest.mark.parametrize("other", OTHERS[:1])
def test_edits_of_a_text_with_other_numbers_leave_those_as_they_stand(other: bytes) -> None:
    text = other % b"x"
    edits = [[["box", "n"], "=", "2"], [["n"], "~", [[0, 1, "7"]]]]
    expected = text.replace(b'"n":1,"p"', b'"n":2,"p"').replace(b'{"n":1', b'{"n":7')
    assert apply_delta(text, [edits]) == expected


@pytest.mark.parametrize(
    "text", [b'{"n" : 1}', b'{"n":1, "m":2}', b'{"\\u006e":1}', b'{"n":1,"n":2}', b' {"n":1}']
)
def test_edits_inside_a_text_with_blanks_or_other_keys_are_refused(text: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        apply_delta(text, [[[["n"], "=", "2"]]])
    assert apply_delta(text, [[[[], "=", "{}"]]]) == b"{}"


@pytest.mark.parametrize("text", [b"[1]", b"1", b"null", b'"a"'])
def test_stored_vars_that_are_no_object_are_corrupt(text: bytes) -> None:
    kind = type(json.loads(text)).__name__
    with pytest.raises(StoreCorrupt, match=f"of type {kind}, not an object"):
        Encoding.parse(text)
    with pytest.raises(ValueError, match=r"."):
        Encoding.parse(text + b"{")
