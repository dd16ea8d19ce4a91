"""The three canonical forms are exactly those of the stdlib and of RFC 8785."""

import hashlib
import json
import math
import struct
import sys
from typing import Any

import pytest
import rfc8785 as oracle
from hypothesis import example, given
from hypothesis import strategies as st

from abstractruntime.core import canonical
from abstractruntime.core.canonical import chain_form, key_form, rfc8785
from abstractruntime.errors import LimitExceeded, NotJson
from tests.unit.test_canonical import JSON, Colour, nest

# Everything the stdlib takes, whether it is JSON or not.
LOOSE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**80), max_value=2**80)
    | st.floats()
    | st.text()
    | st.just(Colour.RED),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.integers(), inner)
    ),
    max_leaves=25,
)


def stdlib_key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def stdlib_chain(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# ---- key and chain form


@given(LOOSE)
def test_both_forms_are_those_of_the_stdlib(value: Any) -> None:
    assert key_form(value) == stdlib_key(value)
    assert chain_form(value) == stdlib_chain(value)


@given(st.floats() | st.floats(min_value=-1e-3, max_value=1e-3) | st.floats(1e14, 1e18))
@example(1e-4)
@example(math.nextafter(1e-4, 0))
@example(1e16)
@example(math.nextafter(1e16, 0))
@example(1e-5)
@example(-1e-7)
@example(5e-324)
@example(sys.float_info.max)
@example(-0.0)
@example(123456789012345.6)
def test_floats_of_all_kinds_are_written_as_the_stdlib_does(number: float) -> None:
    assert chain_form(number) == stdlib_chain(number)
    assert chain_form({"a": [1, number]}) == stdlib_chain({"a": [1, number]})
    assert key_form(-number) == stdlib_key(-number)


@given(st.binary(min_size=8, max_size=8))
def test_floats_of_any_bits_are_written_as_the_stdlib_does(bits: bytes) -> None:
    (number,) = struct.unpack("d", bits)
    assert key_form([number]) == stdlib_key([number])


def test_every_character_is_escaped_as_the_stdlib_does() -> None:
    planes = [*range(0x3000), *range(0xFE00, 0x10100), 0x1F600, 0x10FFFF]
    for code in planes:
        text = f"{chr(code)}a"
        assert key_form(text) == stdlib_key(text), hex(code)
        assert chain_form(text) == stdlib_chain(text), hex(code)
    whole = "".join(map(chr, planes))
    assert key_form({whole: [whole]}) == stdlib_key({whole: [whole]})


@pytest.mark.parametrize(
    "text", ['\\"', '"\\é', "\\\\u0001é", "\x01é\x02", "\\u0002 \x7f", "é\n\t\\n", "\x7f"]
)
def test_quotes_and_backslashes_beside_other_letters_are_escaped_once(text: str) -> None:
    assert key_form([text, {text: text}]) == stdlib_key([text, {text: text}])


def test_keys_are_sorted_by_their_characters_at_every_level() -> None:
    keys = ["\uffff", "\U00010000", "b", "a", "", "é", "A", "\x7f", "a\x00", "ab", "10", "9"]
    value = {key: dict.fromkeys(keys, 1) for key in keys}
    assert chain_form(value) == stdlib_chain(value)
    assert chain_form({"b": 1, "a": 2}) == b'{"a":2,"b":1}'


@pytest.mark.parametrize("depth", [199, 200, 201, 249, 250, 251, 300])
def test_records_may_be_deeper_than_the_values_in_them(depth: int) -> None:
    for wrap in (lambda v: [v], lambda v: {"b": 1, "a": v}, lambda v: (v,)):
        value = nest(depth, wrap)
        assert chain_form(value) == stdlib_chain(value)


def test_integers_longer_than_the_stdlib_agrees_to_write_are_written() -> None:
    assert chain_form({"b": 10**5000, "a": [1e-7, 1e22, (Colour.RED,), 0.5, 7]}) == (
        b'{"a":[1e-07,1e+22,["red"],0.5,7],"b":1' + b"0" * 5000 + b"}"
    )
    assert key_form([-(10**5000), "é"]) == "[-1" + "0" * 5000 + ',"\\u00e9"]'
    assert len(chain_form([10**5000, "x" * (17 * 2**20)])) > 17 * 2**20


def test_what_the_stdlib_refuses_is_refused_too() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for value in ({1}, b"x", object()):
        with pytest.raises(TypeError):
            chain_form(value)
    for value, path in ((circle, "$[0]"), ("\ud800", "$"), (["\udfff"], "$[0]")):
        with pytest.raises(NotJson) as caught:
            chain_form(value)
        assert caught.value.where["path"] == path


def test_the_golden_key_of_the_public_api_holds() -> None:
    effect = {"effect_type": "llm_call", "effect_payload": {"prompt": "é"}}
    text = key_form({"run_id": "run-1", "node_id": "node-1", **effect})
    assert hashlib.sha256(text.encode()).hexdigest()[:32] == "7a506b882e8a02019c0ab509b8711778"


def test_a_plain_value_never_takes_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"a": [1, None, True, 0.5, 9999999999999998.0, 1e-4, {"b": "é"}], "c": [0.0] * 40}
    expected = stdlib_chain(value)
    monkeypatch.setattr(canonical.json, "dumps", None)
    monkeypatch.setattr(canonical, "exact_tree", None)
    assert chain_form(value) == expected
    assert key_form({"a": [1, None, 0.5]}) == '{"a":[1,null,0.5]}'
    assert canonical.encode({**value, "f": [1e-300, 1e300]})
    deep = nest(200, lambda v: [v])
    assert canonical.encode(deep)
    assert canonical.encode(nest(200, lambda v: {"a": v}))
    assert canonical.exact({"f": [float(n) for n in range(50)]})


# ---- RFC 8785


@given(JSON)
def test_rfc8785_agrees_with_another_implementation(value: Any) -> None:
    try:
        expected = oracle.dumps(value)
    except oracle.IntegerDomainError:
        with pytest.raises(NotJson):
            rfc8785(value)
    else:
        assert rfc8785(value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rfc8785_writes_any_float_as_another_implementation_does(number: float) -> None:
    assert rfc8785(number) == oracle.dumps(number)
    short = float(f"{number / 10:.3g}")
    assert rfc8785(short) == oracle.dumps(short)


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        # The examples of RFC 8785, appendix B.
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_the_numbers_of_the_rfc_are_written_as_it_says(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert rfc8785([number]) == f"[{text}]".encode()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"),
        (100.0, "100"),
        (0.5, "0.5"),
        (12.25, "12.25"),
        (1e20, "100000000000000000000"),
        (1e22, "1e+22"),
        (1.5e-9, "1.5e-9"),
        (0.00001, "0.00001"),
        (-1e-7, "-1e-7"),
    ],
)
def test_common_numbers_are_written_as_ecmascript_does(number: float, text: str) -> None:
    assert rfc8785(number) == text.encode()


def test_rfc8785_sorts_keys_by_utf16_units() -> None:
    value = {"\ufb33": 1, "\U0001f600": 2, "\r": 3, "1": 4, "\u20ac": 5, "\x80": 6, "\xf6": 7}
    assert [ord(key[0]) for key in json.loads(rfc8785(value))] == [
        0x0D, 0x31, 0x80, 0xF6, 0x20AC, 0x1F600, 0xFB33
    ]  # fmt: skip


def test_rfc8785_escapes_as_little_as_it_may() -> None:
    text = '\u20ac$\x0f\nA\'B"\\\\"/\x7f'
    assert (
        rfc8785({text: (True, None)})
        == ('{"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f":[true,null]}').encode()
    )


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**64, 10**400])
def test_rfc8785_names_the_place_of_an_integer_beyond_its_range(number: int) -> None:
    assert rfc8785([2**53 - 1, 1 - 2**53]) == b"[9007199254740991,-9007199254740991]"
    with pytest.raises(NotJson) as caught:
        rfc8785({"a": [0, {"b c": number}]})
    assert caught.value.where["path"] == '$.a[1]["b c"]'
    assert str(caught.value).startswith('$.a[1]["b c"] is an integer')
    with pytest.raises(NotJson) as caught:
        rfc8785(number, path="$.p")
    assert caught.value.where["path"] == "$.p"


def test_rfc8785_is_as_strict_as_storage() -> None:
    with pytest.raises(NotJson) as caught:
        rfc8785({"a": {1}}, path="$.x")
    assert caught.value.where["path"] == "$.x.a"
    with pytest.raises(LimitExceeded):
        rfc8785(nest(201, lambda v: [v]))
    assert rfc8785(nest(200, lambda v: [v])) == b"[" * 200 + b"1" + b"]" * 200
