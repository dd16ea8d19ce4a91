"""What counts as JSON: what is taken, what is refused and where it is said to be."""

import dataclasses
import datetime
import decimal
import enum
import math
import sys
import uuid
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core.canonical import decode, encode, exact
from abstractruntime.errors import LimitExceeded, NotJson


class Colour(str, enum.Enum):
    RED = "red"


class Shade(enum.StrEnum):
    DARK = "dark"


class Level(enum.IntEnum):
    LOW = 1


class Plain(enum.Enum):
    TEXT = "text"


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Items(list[Any]):
    pass


class Pairs(tuple[Any, ...]):
    __slots__ = ()


@dataclasses.dataclass
class Point:
    x: int = 1


Named = namedtuple("Named", "a")

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**80), max_value=2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=25
)


def same(one: Any, other: Any) -> bool:
    """Equal with equal types and equal order, and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other) if isinstance(one, float) else bool(one == other)


def nest(depth: int, wrap: Callable[[Any], Any], inside: Any = 1) -> Any:
    """`depth` containers inside each other."""
    for _ in range(depth):
        inside = wrap(inside)
    return inside


def path_of(value: Any, error: type[Exception] = NotJson, **options: Any) -> str:
    """Where the refusal of `value` says the fault is; the message has to begin with it."""
    with pytest.raises(error) as caught:
        encode(value, **options)
    path: str = caught.value.where["path"]
    assert str(caught.value).startswith(path[:40])
    return path


# ---- what is written


def test_text_is_compact_utf8_and_keeps_the_order_of_keys() -> None:
    value = {"b": [1, True, None], "a": {"é": "日本"}, "": 0.5}
    assert encode(value) == '{"b":[1,true,null],"a":{"é":"日本"},"":0.5}'.encode()


@pytest.mark.parametrize("value", [None, True, False, 0, -1, 1.5, "", "a\x00b", "😀", [], {}])
def test_a_value_alone_is_written_and_comes_back(value: Any) -> None:
    assert same(decode(encode(value)), value)


@given(JSON)
def test_what_was_encoded_comes_back_as_it_was(value: Any) -> None:
    assert same(decode(encode(value)), value)


@given(JSON)
def test_equal_values_have_equal_bytes_whichever_way_they_were_made(value: Any) -> None:
    data = encode(value)
    assert encode(decode(data)) == data


@given(JSON)
def test_exact_gives_the_bytes_and_the_value_they_read_back_as(value: Any) -> None:
    data, back = exact(value)
    assert data == encode(value)
    assert same(back, value)


def test_exact_refuses_as_encode_does() -> None:
    with pytest.raises(NotJson) as caught:
        exact([{1}])
    assert caught.value.where["path"] == "$[0]"
    for path in ("$", "$.x"):
        with pytest.raises(LimitExceeded) as refused:
            exact([[1]], max_bytes=4, path=path)
        assert refused.value.where["path"] == path
        with pytest.raises(LimitExceeded) as refused:
            exact([[1]], max_depth=1, path=path)
        assert refused.value.where["path"] == f"{path}[0]"


def test_exact_shares_no_container_with_the_value_given() -> None:
    value: dict[str, Any] = {"a": [{}]}
    _, back = exact(value)
    assert back is not value
    assert back["a"] is not value["a"]
    assert back["a"][0] is not value["a"][0]


def test_tuples_become_lists_at_any_depth() -> None:
    assert same(exact({"a": (1, ({"b": ()},))})[1], {"a": [1, [{"b": []}]]})


@pytest.mark.parametrize("member", [Colour.RED, Shade.DARK])
def test_str_enums_become_str_as_values_and_as_keys(member: str) -> None:
    data, back = exact({"a": [member], member: 1})
    assert data == f'{{"a":["{member.value}"],"{member.value}":1}}'.encode()  # type: ignore[attr-defined]
    assert type(back["a"][0]) is str
    assert all(type(key) is str for key in back)


@pytest.mark.parametrize(
    "number",
    [
        2**63 - 1,
        2**63,
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        10**18,
        -(10**18),
        10**19,
        -(10**19),
        10**20,
        10**308,
        10**309,
        3**1300,
        -(7**3000) + 1,
        10**5000,
        10**5000 - 1,
        -(10**5000) + 7,
    ],
    ids=lambda number: f"{number.bit_length()} bits",
)
def test_integers_of_any_size_are_exact_in_both_directions(number: int) -> None:
    data, back = exact({"n": number, "f": 1e16})
    assert back == {"n": number, "f": 1e16}
    assert type(back["n"]) is int
    assert decode(data) == back
    assert decode(data.decode()) == back
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        assert data == b'{"n":%d,"f":1e+16}' % number or data == b'{"n":%d,"f":1e16}' % number
    finally:
        sys.set_int_max_str_digits(limit)


def test_a_float_is_written_alike_beside_a_long_integer_and_alone() -> None:
    numbers = [1e16, 1e-7, 5e-324, 0.1, -0.0, 1.7976931348623157e308]
    assert encode([*numbers, 2**70]).startswith(encode(numbers)[:-1])


def test_the_smallest_limit_for_digits_an_interpreter_may_have_is_enough() -> None:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        for exponent in (590, 599, 600, 601, 639, 640, 641, 1300, 4000):
            for number in (10**exponent, 10**exponent - 1, -(10**exponent), -(10**exponent) + 1):
                assert decode(encode(number)) == number
    finally:
        sys.set_int_max_str_digits(limit)


@pytest.mark.parametrize(
    "number", [0.0, -0.0, 5e-324, sys.float_info.max, -sys.float_info.max, 0.1]
)
def test_finite_floats_keep_every_bit(number: float) -> None:
    assert repr(decode(encode([number]))[0]) == repr(number)


# ---- what is refused


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "datetime.datetime"),
        (datetime.date(2026, 1, 1), "datetime.date"),
        (decimal.Decimal(1), "decimal.Decimal"),
        (uuid.UUID(int=1), "uuid.UUID"),
        (b"x", "bytes"),
        (bytearray(b"x"), "bytearray"),
        (memoryview(b"x"), "memoryview"),
        ({1}, "set"),
        (frozenset(), "frozenset"),
        (1j, "complex"),
        (..., "ellipsis"),
        (object(), "object"),
        (len, "builtin_function_or_method"),
        (StopIteration, "type"),
        (Point(), "Point"),
        (Level.LOW, "Level"),
        (Plain.TEXT, "Plain"),
        (Text("a"), "Text"),
        (Whole(1), "Whole"),
        (Real(1.5), "Real"),
        (Items(), "Items"),
        (Pairs(), "Pairs"),
        (Named(1), "Named"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        (defaultdict(int), "collections.defaultdict"),
        (orjson.Fragment(b"1"), "Fragment"),
        (math.nan, "float nan"),
        (math.inf, "float inf"),
        (-math.inf, "float -inf"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_everything_else_is_refused_with_its_place_and_type(value: Any, named: str) -> None:
    for holder, path in (
        (value, "$"),
        ({"items": [0, {"when": value}]}, "$.items[1].when"),
        ([None, 0.5, *[1] * 50, value], "$[52]"),
        (({"a": (value,)},), "$[0].a[0]"),
        ({str(n): n for n in range(40)} | {"last": value}, "$.last"),
        ([list(range(40)), [value]], "$[1][0]"),
    ):
        with pytest.raises(NotJson) as caught:
            encode(holder)
        assert caught.value.where["path"] == path
        assert str(caught.value).startswith(f"{path} is ")
        assert named in str(caught.value)


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (1, "the key 1 of type int"),
        (None, "the key None of type NoneType"),
        (True, "the key True of type bool"),
        (1.5, "the key 1.5 of type float"),
        ((1,), "the key (1,) of type tuple"),
        (Text("a"), "Text"),
        (Plain.TEXT, "Plain"),
        ("\udfff", "lone surrogate"),
    ],
)
def test_a_key_that_is_no_text_is_refused_at_its_object(key: Any, named: str) -> None:
    with pytest.raises(NotJson) as caught:
        encode({"a": [{"b": 1, key: 2}]})
    assert caught.value.where["path"] == "$.a[0]"
    assert str(caught.value).startswith("$.a[0] has the key ")
    assert named in str(caught.value)


def test_paths_name_keys_as_a_program_would() -> None:
    bad = object()
    assert path_of({"a b": bad}) == '$["a b"]'
    assert path_of({"": bad}) == '$[""]'
    assert path_of({'a"b': bad}) == '$["a\\"b"]'
    assert path_of({"0": bad}) == '$["0"]'
    assert path_of({"é": [bad]}) == "$.é[0]"
    assert path_of({Colour.RED: bad}) == "$.red"
    assert path_of([[bad]], path="$.vars.x") == "$.vars.x[0][0]"


def test_the_first_fault_is_the_one_that_is_named() -> None:
    assert path_of({"a": [1, {2}], "b": {3}}) == "$.a[1]"
    assert path_of({"a": [1, [2]], "b": {3}}) == "$.b"
