"""Depth, cycles and size: what is too much, at the very edge, and that nothing breaks beyond."""

from typing import Any

import pytest

from abstractruntime.core.canonical import MAX_BYTES, MAX_DEPTH, decode, encode
from abstractruntime.errors import LimitExceeded, NotJson
from tests.unit.test_canonical import nest, path_of

WRAPS: list[Any] = [
    lambda v: [v],
    lambda v: (v,),
    lambda v: {"a": v},
    lambda v: [0, v, "x"],
    lambda v: ({"k": v}),
]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("inside", [1, [], {}, 2**70, 0.5])
def test_200_containers_inside_each_other_pass_and_201_do_not(wrap: Any, inside: Any) -> None:
    own = 1 if isinstance(inside, list | dict) else 0
    assert len(encode(nest(MAX_DEPTH - own, wrap, inside))) > MAX_DEPTH
    assert MAX_DEPTH == 200
    path = path_of(nest(MAX_DEPTH + 1 - own, wrap, inside), LimitExceeded)
    assert path.count("[") + path.count(".") == MAX_DEPTH


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("depth", [0, 1, 2, 7])
def test_a_smaller_depth_can_be_asked_for(wrap: Any, depth: int) -> None:
    encode(nest(depth, wrap), max_depth=depth)
    path_of(nest(depth + 1, wrap), LimitExceeded, max_depth=depth)


def test_wide_and_deep_values_are_measured_at_their_deepest() -> None:
    wide = [[1], {"a": {"b": nest(198, lambda v: [v])}}, *([[n]] for n in range(300))]
    path_of(wide, LimitExceeded)
    wide[1]["a"]["b"] = nest(197, lambda v: [v])  # type: ignore[call-overload, index]
    encode(wide)


def test_the_message_of_a_deep_value_stays_readable_and_its_path_is_whole() -> None:
    with pytest.raises(LimitExceeded) as caught:
        encode(nest(300, lambda v: {"key": v}))
    assert len(str(caught.value)) < 200
    assert caught.value.where["path"] == "$" + ".key" * 200


@pytest.mark.parametrize(("size", "short"), [(80, False), (81, True)])
def test_a_path_of_80_characters_is_not_shortened(size: int, short: bool) -> None:
    start = "$" + "x" * (size - 1)
    with pytest.raises(LimitExceeded) as caught:
        encode([], path=start, max_depth=0)
    shown = f"{start[:40]} … {start[-30:]}" if short else start
    assert str(caught.value) == f"{shown} is nested too deep: a value may have 200 levels"


def test_tuples_nested_by_the_hundred_thousand_are_refused_and_nothing_breaks() -> None:
    deep: Any = nest(100_000, lambda v: (v,))
    path_of(deep, LimitExceeded)
    while deep != 1:  # the interpreter's own teardown of such a thing recurses
        (deep,) = deep


def test_a_container_inside_itself_is_named_by_where_it_comes_again() -> None:
    items: list[Any] = [1]
    items.append({"again": items})
    assert path_of({"a": items}) == "$.a[1].again"
    with pytest.raises(NotJson, match=r"^\$\[1\]\.again contains itself$"):
        encode(items)
    thing: dict[str, Any] = {}
    thing["me"] = thing
    assert path_of(thing) == "$.me"
    loop: list[Any] = []
    loop.append((loop, loop))
    assert path_of((loop,)) == "$[0][0][0]"
    assert path_of([loop]) == "$[0][0][0]"


def test_a_container_may_stand_in_many_places_if_not_inside_itself() -> None:
    part = {"a": [1]}
    value = [part, part, {"x": part, "y": [part]}]
    assert encode(value) == b'[{"a":[1]},{"a":[1]},{"x":{"a":[1]},"y":[{"a":[1]}]}]'
    assert decode(encode(value)) == value


def test_sharing_that_doubles_with_every_level_is_stopped() -> None:
    bomb: Any = []
    for _ in range(100):
        bomb = [bomb, bomb]
    with pytest.raises(LimitExceeded) as caught:
        encode(bomb, max_bytes=100_000)
    assert caught.value.where["path"] == "$"
    assert str(caught.value) == ("$ takes more than 100000 bytes as JSON; the limit is 100000")


def test_what_stands_behind_more_items_than_fit_is_not_looked_at() -> None:
    for count, error in ((45, NotJson), (55, LimitExceeded)):
        path_of(((), [1] * count, object()), error, max_bytes=100)


@pytest.mark.parametrize("inside", ["", 2**70, (1,)])
def test_a_value_of_just_the_largest_size_passes_and_one_byte_more_does_not(inside: Any) -> None:
    size = len(encode({"é": ["x" * 100, inside]}))
    value = {"é": ["x" * 100, inside]}
    assert len(encode(value, max_bytes=size)) == size
    with pytest.raises(LimitExceeded) as caught:
        encode(value, max_bytes=size - 1, path="$.p")
    assert caught.value.where["path"] == "$.p"
    assert f"takes {size} bytes" in str(caught.value)
    assert f"limit is {size - 1}" in str(caught.value)


@pytest.mark.parametrize("value", [(), (1,), (1, 2, 3), ((), ()), [(), 1, 2, 3, 4, 5], (1,) * 99])
def test_the_slow_walk_does_not_take_a_small_value_for_a_large_one(value: Any) -> None:
    size = len(encode(value))
    assert len(encode(value, max_bytes=size)) == size
    path_of(value, LimitExceeded, max_bytes=size - 1)


def test_the_largest_value_is_16_mib_of_text() -> None:
    assert MAX_BYTES == 16 * 1024 * 1024
    assert len(encode("x" * (MAX_BYTES - 2))) == MAX_BYTES
    path_of("x" * (MAX_BYTES - 1), LimitExceeded)
