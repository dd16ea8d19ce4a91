"""Reading JSON back: exact for every integer, and nothing that JSON does not have."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core.canonical import decode, encode
from abstractruntime.errors import NotJson
from tests.unit.test_canonical import same


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[Infinity]",
        "-Infinity",
        "",
        "{",
        "[1,]",
        "{'a':1}",
        "1e400",
        "-1e400",
        '"\\ud800"',
        "\ud800",
        "[00000000000000000000000001]",
        "[NaN,100000000000000000000000]",
        "[1e400,100000000000000000000000]",
        "100000000000000000000000e400",
        f"{'1' * 400}.5",
        f"-{'1' * 400}.5",
        '["\\ud800",100000000000000000000000]',
        "[100000000000000000000000",
    ],
)
def test_what_is_not_json_is_refused_with_a_plain_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        decode(text)
    assert not isinstance(caught.value, NotJson)
    if text.isprintable():
        with pytest.raises(ValueError, match=r"."):
            decode(text.encode())


@pytest.mark.parametrize("text", ["\ud800", "[\udfff,100000000000000000000000]", "[1,]"])
def test_what_is_not_json_is_refused_as_the_json_library_does(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        decode(text)


def test_a_long_number_beyond_floats_is_shown_by_its_first_digits() -> None:
    with pytest.raises(ValueError, match=rf"^number is infinity when .* double: {'1' * 40}$"):
        decode(f"{'1' * 400}.5")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-9223372036854775808", -(2**63)),
        ("-9223372036854775809", -(2**63) - 1),
        ("-9999999999999999999", -9999999999999999999),
        ("9999999999999999999", 9999999999999999999),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2**64),
        ("[1e5,99999999999999999999]", [1e5, 99999999999999999999]),
        ("1.00000000000000000000000001", 1.0),
        ("[0.00001234567890123456789012345]", [1.234567890123456789e-05]),
        ("[123456789012345678901234.5,1]", [1.2345678901234568e23, 1]),
        ("100000000000000000000000e2", 1e25),
        ('{"a":1,"a":2}', {"a": 2}),
        ('"\\u00001234567890123456789012"', "\x001234567890123456789012"),
        ('["\\u00e91234567890123456789012",123456789012345678901]', None),
        ('"\\ud83d\\ude00"', "😀"),
        ('["\\ud83d\\ude0012345678901234567890",-123456789012345678901]', None),
        ('"--------------------------------"', "-" * 32),
        (' {"a" : [ 1 , 2 ] } ', {"a": [1, 2]}),
    ],
)
def test_texts_of_others_are_read_exactly(text: str, value: Any) -> None:
    expected = json.loads(text) if value is None else value
    assert same(decode(text), expected)
    assert same(decode(text.encode()), expected)


@given(st.lists(st.integers() | st.integers(min_value=-(10**25), max_value=10**25) | st.text()))
def test_digits_inside_strings_and_numbers_are_never_confused(items: list[Any]) -> None:
    value = [item if isinstance(item, int) else item + "12345678901234567890" for item in items]
    assert same(decode(encode(value)), value)
