"""What vars may not hold, how much they may hold, and which variable a refusal names."""

from typing import Any

import pytest

from abstractruntime.core import pieces
from abstractruntime.core.canonical import encode
from abstractruntime.core.delta import MAX_VARS_BYTES, Encoding
from abstractruntime.errors import LimitExceeded, NotJson
from tests.unit.test_canonical import Colour, nest
from tests.unit.test_delta import PAD, began, stepped, text_of


@pytest.mark.parametrize("pad", ["", PAD])
def test_a_refusal_names_the_variable(pad: str) -> None:
    encoding, live = began({"a": 1, "box": {"b c": [1], "p": pad}, "p": pad})
    for spoil, path in (
        (lambda v: v.update(a={1}), "a"),
        (lambda v: v.update(new=[{1}]), "new[0]"),
        (lambda v: v["box"]["b c"].append({"x": {1}}), 'box["b c"][1].x'),
        (lambda v: v["box"].update(new={1}), "box.new"),
        (lambda v: v.update(box={1}), "box"),
    ):
        spoiled = encoding.restore(live)
        spoil(spoiled)
        for prefix in ("$.vars", "$.x"):
            with pytest.raises(NotJson) as caught:
                encoding.step(spoiled, path=prefix)
            assert caught.value.where["path"] == f"{prefix}.{path}"
            with pytest.raises(NotJson) as caught:
                Encoding.of(spoiled, path=prefix)
            assert caught.value.where["path"] == f"{prefix}.{path}"
        with pytest.raises(NotJson) as caught:
            encoding.step(spoiled)
        assert caught.value.where["path"].startswith("$.vars.")
        assert text_of(encoding.restore(spoiled)) == encoding.text()


@pytest.mark.parametrize("pad", ["", PAD])
@pytest.mark.parametrize("vars", [None, [1], (1,), "a", 1])
def test_vars_that_are_no_dict_are_refused(pad: str, vars: Any) -> None:
    encoding, _ = began({"p": pad})
    for call in (lambda: encoding.step(vars), lambda: Encoding.of(vars)):
        kind = type(vars).__name__
        with pytest.raises(NotJson, match=f"of type {kind}, not a dict") as caught:
            call()
        assert caught.value.where["path"] == "$.vars"


@pytest.mark.parametrize("key", [1, None, (1,)])
def test_a_key_of_vars_that_is_no_str_is_refused(key: Any) -> None:
    for pad in ("", PAD):
        encoding, live = began({"box": {"p": PAD}, "p": pad})
        live[key] = 1
        with pytest.raises(NotJson) as caught:
            encoding.step(live)
        assert caught.value.where["path"] == "$.vars"
        del live[key]
        live["box"][key] = 1
        with pytest.raises(NotJson) as caught:
            encoding.step(live)
        assert caught.value.where["path"] == "$.vars.box"


def test_an_enum_as_the_key_of_a_large_variable_is_taken_as_its_text() -> None:
    encoding, live = began({"box": {"p": PAD}, "p": PAD})
    live["box"][Colour.RED] = 1
    live[Colour.RED] = 2
    _, handed, _ = stepped(encoding, live)
    assert handed["box"]["red"] == 1
    assert handed["red"] == 2


@pytest.mark.parametrize("pad", ["", PAD])
def test_a_variable_may_be_200_deep(pad: str) -> None:
    for depth, fits in ((200, True), (201, False)):
        inside = nest(depth - 5, lambda inside: [inside])
        value = nest(5, lambda inside: {"k": inside, "p": pad}, inside)
        for base in ({"p": pad}, {"p": pad, "v": nest(100, lambda inside: [inside])}):
            encoding, live = began(base)
            live["v"] = value
            if fits:
                _, live, _ = stepped(encoding, live)
                began(live)
            else:
                with pytest.raises(LimitExceeded) as caught:
                    encoding.step(live)
                assert caught.value.where["path"].startswith("$.vars.v")
                with pytest.raises(LimitExceeded):
                    Encoding.of(live)


def test_depth_counts_from_the_variable_on_wherever_in_it_something_changed() -> None:
    vars = {"v": nest(2, lambda inside: {"k": inside, "p": PAD})}
    for depth, fits in ((198, True), (199, False)):
        encoding, live = began(vars)
        live["v"]["k"]["k"] = nest(depth, lambda inside: [inside])
        if fits:
            stepped(encoding, live)
        else:
            with pytest.raises(LimitExceeded):
                encoding.step(live)


def test_what_was_stored_is_read_whatever_the_limits_are_today() -> None:
    deep = nest(200, lambda inside: [inside], 2**70)
    for vars in ({"v": deep}, {"v": deep, "p": PAD}):
        began(vars)
    text = encode({"a": "x" * (9 * 2**20), "b": "y" * (9 * 2**20), "n": 2**70}, max_bytes=2**25)
    encoding, live = Encoding.parse(text)
    assert encoding.text() == text
    big = encode({"a": ["x" * 2**24]}, max_bytes=2**25)
    encoding, live = Encoding.parse(big)
    assert encoding.text() == big
    live["n"] = 1
    with pytest.raises(LimitExceeded):
        encoding.step(live)


def test_a_variable_may_take_16_mib() -> None:
    half = "x" * (8 * 2**20 - 100)
    encoding, live = began({"p": PAD, "v": {"a": half}})
    live["v"]["b"] = half
    rest = 16 * 2**20 - 2 * len(half) - len('{"a":"","b":"","c":""}')
    live["v"]["c"] = "y" * rest
    encoding, live, _ = encoding.step(live)
    assert len(encode(live["v"])) == 16 * 2**20
    Encoding.of(live)
    live["v"]["c"] += "y"
    for call in (lambda: encoding.step(live), lambda: Encoding.of(live)):
        with pytest.raises(LimitExceeded) as caught:
            call()
        assert caught.value.where["path"] == "$.vars.v"
        assert f"takes {2**24 + 1} bytes" in str(caught.value)
        assert f"limit is {2**24}" in str(caught.value)
    live["v"]["c"] = "y" * 2**24
    with pytest.raises(LimitExceeded) as caught:
        encoding.step(live)
    assert caught.value.where["path"] == "$.vars.v", "the variable, not what is too large in it"
    small, _ = began({})
    with pytest.raises(LimitExceeded) as caught:
        small.step(live, path="$.x")
    assert caught.value.where["path"] == "$.x.v"


def test_all_variables_together_may_take_64_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_VARS_BYTES == 64 * 2**20
    encoding, live = began({"a": PAD, "b": PAD})
    size = len(text_of({**live, "c": ""}))
    for module in ("pieces", "delta"):
        monkeypatch.setattr(f"abstractruntime.core.{module}.MAX_VARS_BYTES", size + 100)
    live["c"] = "x" * 100
    encoding, live, _ = encoding.step(live)
    assert encoding.size == size + 100
    Encoding.of(live)
    live["c"] += "x"
    for call in (lambda: encoding.step(live), lambda: Encoding.of(live)):
        with pytest.raises(LimitExceeded) as caught:
            call()
        assert caught.value.where["path"] == "$.vars"
        assert f"takes {size + 101} bytes" in str(caught.value)
        assert f"limit is {size + 100}" in str(caught.value)
    assert size + 100 == pieces.MAX_VARS_BYTES
