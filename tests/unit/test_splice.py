"""Splices are small where a text changed little, exact always, and found in bounded work."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from abstractruntime.core import splice
from abstractruntime.core.splice import apply_splices, splices
from abstractruntime.errors import StoreCorrupt

WORDS = [f"{n * 7919 % 10007:x}{'-' * (n % 3)}" for n in range(4000)]
# Characters whose UTF-8 shares first or last bytes with another's.
LETTERS = st.sampled_from(["a", "b", "\x00", "é", "è", "ũ", "€", "₤", "😀", "😁", "🨀", '"'])
TEXT = st.text(LETTERS, max_size=200)


def prose(size: int, start: int = 0) -> str:
    """Text of which hardly any piece repeats."""
    text = ""
    while len(text) < size:
        text += f"{WORDS[start % 4000]} {start:x} "
        start += 37
    return text[:size]


def found(old: str, new: str) -> list[list[Any]] | None:
    """The splices of two texts, after checking that they are well-formed and lead to the new."""
    before, after = old.encode(), new.encode()
    changes = splices(before, after)
    if changes is None:
        return None
    assert bytes(apply_splices(before, changes)) == after
    last = 0
    for at, removed, inserted in changes:
        assert last <= at <= at + removed <= len(before)
        assert removed or inserted
        before[:at].decode()
        before[: at + removed].decode()
        last = at + removed
    return changes


@given(TEXT, TEXT, TEXT, TEXT, TEXT)
@example("é", "", "", "è", "")
@example("", "é", "", "ũ", "")
@example("aé", "😀", "éa", "😁", "é")
@example("", "😀", "", "🨀", "")
@example("€", "", "₤", "", "")
def test_splices_lead_from_one_text_to_the_other(a: str, b: str, c: str, d: str, e: str) -> None:
    for old, new in ((a + b + c, a + d + c), (a + b + c + d + e, a + c + e), (b, d)):
        for one, other in ((old, new), (new, old)):
            if found(one, other) is None:
                assert one != other


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 60), TEXT), max_size=6))
def test_scattered_changes_lead_to_the_new_text_and_cost_less_than_it(
    changes: list[tuple[int, int, str]],
) -> None:
    old = new = prose(1200) + "é😀" * 300 + prose(1200, 9)
    for at, removed, inserted in changes:
        new = new[:at] + inserted + new[at + removed :]
    made = found(old, new)
    if made is not None:
        assert len(json.dumps(made, ensure_ascii=False).encode()) < len(json.dumps(new).encode())


def test_equal_texts_need_no_splice() -> None:
    assert splices(b"", b"") == []
    assert splices(b"abc", bytes(bytearray(b"abc"))) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('{"n":41,"text":"abcdef"}', '{"n":42,"text":"abcdef"}', [[6, 1, "2"]]),
        ('{"n":9,"text":"abcdefg"}', '{"n":10,"text":"abcdefg"}', [[5, 1, "10"]]),
        ("abcdefghijklmnop", "abcdefgh-ijklmnop", [[8, 0, "-"]]),
        ("abcdefghijklmnop", "abcdefghjklmnop", [[8, 1, ""]]),
        ("abcdefghijklmnop", "abcdefghijklmnopq", [[16, 0, "q"]]),
        ("abcdefghijklmnop", "-abcdefghijklmnop", [[0, 0, "-"]]),
        ("abcdefghijklmnop", "abcdefghijklmno", [[15, 1, ""]]),
        ("é" * 9 + "é" + "x" * 9, "é" * 9 + "è" + "x" * 9, [[18, 2, "è"]]),
        ("é" * 9 + "éa" + "x" * 9, "é" * 9 + "ũa" + "x" * 9, [[18, 2, "ũ"]]),
        ("x" * 20 + "😀", "x" * 20 + "😁", [[20, 4, "😁"]]),
        ("😀" + "x" * 20, "🨀" + "x" * 20, [[0, 4, "🨀"]]),
        ("x" * 20 + "aaa", "x" * 20 + "aaaa", [[23, 0, "a"]]),
        ("x" * 20 + "aaaa", "x" * 20 + "aaa", [[23, 1, ""]]),
    ],
)
def test_one_change_is_one_splice_of_just_what_changed(
    old: str, new: str, expected: list[list[Any]]
) -> None:
    assert found(old, new) == expected


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 511, 512, 513, 1000, 65536, 200_001])
@pytest.mark.parametrize("behind", [0, 1, 64, 100, 513, 70_000])
def test_the_place_of_a_change_is_found_to_the_byte(size: int, behind: int) -> None:
    head, tail = prose(size), "|" + prose(behind, 5)
    pad = "#" * 40
    assert found(head + "1" + pad + tail, head + "2" + pad + tail) == [[size, 1, "2"]]
    assert found(head + pad + tail, head + "+" + pad + tail) == [[size, 0, "+"]]


@pytest.mark.parametrize(("old", "new"), [("", "a"), ("abc", "xyz"), ("abc", ""), ("", "{}")])
def test_a_replacement_that_is_no_larger_is_preferred(old: str, new: str) -> None:
    assert splices(old.encode(), new.encode()) is None


def test_splices_are_preferred_as_soon_as_they_are_smaller() -> None:
    # [at,1,"x"] and a comma: 7 bytes beside two numbers of one digit and the text.
    assert splices(b"0123456789", b"x123456789") is None
    assert splices(b"01234567890", b"x1234567890") == [[0, 1, "x"]]
    # The number of digits counts as well.
    assert splices(b"01234567890", b"0123456789x") is None
    assert splices(b"012345678901", b"01234567890x") == [[11, 1, "x"]]


def test_two_small_changes_far_apart_are_two_splices() -> None:
    middle = prose(2000)
    old, new = f'{{"a":1,"m":"{middle}","z":1}}', f'{{"a":2,"m":"{middle}","z":3}}'
    assert found(old, new) == [[5, 1, "2"], [2018, 1, "3"]]


def test_two_small_changes_close_together_are_one_splice() -> None:
    assert found("x" * 50 + "1,2" + "y" * 50, "x" * 50 + "3,4" + "y" * 50) == [[50, 3, "3,4"]]


def test_a_list_that_grows_costs_what_was_added_and_the_counters_around_it() -> None:
    items = [{"n": n, "text": prose(900, n * 1000)} for n in range(50)]
    old = json.dumps({"before": 9, "items": items, "after": 9})
    items[0]["n"] = 7
    items.append({"n": 50, "text": prose(900, 77)})
    new = json.dumps({"before": 10, "items": items, "after": 10})
    made = found(old, new)
    assert made is not None
    assert len(json.dumps(made)) < 1100


def test_a_small_change_in_every_item_is_a_splice_each() -> None:
    text = [prose(900, n * 500) for n in range(300)]
    old = "".join(f"<{n}:{t}>" for n, t in enumerate(text))
    new = "".join(f"<{n + 1}:{t}>" for n, t in enumerate(text))
    made = found(old, new)
    assert made is not None
    assert len(made) == 300
    assert sum(len(inserted) for _, _, inserted in made) < 1000


@pytest.mark.parametrize("size", [30, 400, 1000, 3000, 10_000, 40_000])
def test_text_put_into_or_taken_out_of_the_middle_is_found_again(size: int) -> None:
    a, b, c = prose(60_000), prose(60_000, 3), prose(60_000, 7)
    extra = "%" + prose(size - 2, 11) + "%"
    short, long = f"1{a}|{b}|{c}1", f"2{a}|{extra}{b}|{c}2"
    for old, new in ((short, long), (long, short)):
        made = found(old, new)
        assert made is not None
        assert len(made) == 3
        assert sum(len(text) for _, _, text in made) <= size + 2
        assert sum(removed for _, removed, _ in made) <= size + 2


def test_a_chance_likeness_is_passed_over_for_the_long_one_behind_it() -> None:
    likeness = "the very same forty bytes stand here..."
    a, b = prose(3000), prose(3000, 5)
    old = f"[1{a}{b}1]"
    new = f"[2{a}{prose(500, 21)}{b[:40]}{prose(500, 22)}{likeness}{prose(500, 23)}{b}2]"
    made = found(old, new)
    assert made is not None
    assert sum(removed for _, removed, _ in made) < 100
    assert sum(len(text) for _, _, text in made) < 1800


@pytest.mark.parametrize(
    ("changed", "alike", "counts"),
    [(20, 40, False), (20, 41, True), (600, 511, False), (600, 512, True)],
)
def test_equal_text_counts_if_it_is_long_or_more_than_twice_what_was_passed_over(
    changed: int, alike: int, counts: bool
) -> None:
    before, between, behind = prose(2000), prose(alike, 7), prose(6000, 11)
    old = f"{before}|{'1' * changed}{between}{'3' * 30}{behind}1"
    new = f"{before}|{'2' * changed}{between}{'4' * 30}{behind}2"
    made = found(old, new)
    assert made is not None
    places = [(at - 2001, removed) for at, removed, _ in made]
    apart = [(0, changed), (changed + alike, 30)] if counts else [(0, changed + alike + 30)]
    assert places == [*apart, (changed + alike + 30 + 6000, 1)]


@pytest.mark.parametrize("head", ["", prose(50, 9) + "|"])
def test_the_shortest_text_that_counts_is_found_wherever_it_stands(head: str) -> None:
    at, text = len(head), prose(26)
    one, other = f"{head}11111111{text}1", f"{head}{text}2"
    assert found(one, other) == [[at, 8, ""], [at + 34, 1, "2"]]
    assert found(other, one) == [[at, 0, "11111111"], [at + 26, 1, "1"]]


def test_a_character_that_ends_as_another_does_is_no_part_of_what_is_alike() -> None:
    head, text = prose(50), prose(60, 9)
    assert found(f"{head}é{text}1", f"{head}ũ{text}2") == [[50, 2, "ũ"], [112, 1, "2"]]


def test_text_that_moved_too_far_is_not_looked_for() -> None:
    a, b, extra = prose(20_000), prose(20_000, 3), prose(70_000, 11).upper()
    made = found(f"1{a}|{b}1", f"2{a}%{extra}%{b}2")
    assert made is not None
    assert [(at, removed) for at, removed, _ in made] == [(0, 1), (20_001, 20_002)]


def test_of_rows_that_are_all_alike_the_nearest_counts() -> None:
    rows = '{"kind":"row","value":"always the same"},' * 20
    assert found(f"[1{rows}1]", f"[2{rows}2]") == [[1, 1, "2"], [2 + len(rows), 1, "2"]]


def test_texts_with_nothing_in_common_are_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    seek = splice._seek

    def counted(*arguments: Any) -> tuple[int, int]:
        nonlocal looks
        looks += 1
        return seek(*arguments)

    monkeypatch.setattr(splice, "_seek", counted)
    assert splices(prose(100_000).encode(), prose(100_000).upper()[::-1].encode()) is None
    assert looks <= 14


@pytest.mark.parametrize("period", [2, 23, 24, 25, 31, 50])
def test_hostile_texts_are_done_in_bounded_work(period: int) -> None:
    size = 1 << 20
    one, other = "a" * size, ("a" * (period - 1) + "b") * (size // period)
    for old, new in ((one, other), (other, one), (other, other[1:] + "c"), (other, "c" + other)):
        made = found(old, new)
        assert made is None or len(made) <= 4097


@pytest.mark.parametrize(("budget", "least", "most"), [(20_000, 3, 6), (1 << 40, 300, 302)])
def test_what_is_looked_at_between_changes_is_counted(
    monkeypatch: pytest.MonkeyPatch, budget: int, least: int, most: int
) -> None:
    monkeypatch.setattr(splice, "_BUDGET", budget)
    same = [prose(700, n * 500) for n in range(300)]
    old = "".join(f"{text}<{prose(150, n * 37 + 11)}>" for n, text in enumerate(same))
    new = "".join(f"{text}<{prose(150, n * 91 + 17).upper()}>" for n, text in enumerate(same))
    made = found(old, new)
    assert made is not None
    assert least <= len(made) <= most


def test_equal_text_behind_a_change_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "_BUDGET", 10_000)
    text = [prose(900, n * 500) for n in range(300)]
    made = found("".join(f"<1{t}>" for t in text), "".join(f"<2{t}>" for t in text))
    assert made is not None
    assert 15 <= len(made) <= 25


def test_more_splices_than_the_limit_end_in_one_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(splice, "_MOST", 3)
    old = "".join(f"<{n}:{prose(300, n * 99)}>" for n in range(1, 9))
    new = "".join(f"<{n + 1}:{prose(300, n * 99)}>" for n in range(1, 9))
    made = found(old, new)
    assert made is not None
    assert len(made) == 4


# ---- applying


def test_applying_leaves_bytes_alone_and_changes_a_bytearray_in_place() -> None:
    old = b"abcdef"
    assert apply_splices(old, [[1, 2, "X"], [5, 0, "é"]]) == "aXdeéf".encode()
    assert old == b"abcdef"
    text = bytearray(old)
    assert apply_splices(text, [[0, 1, ""]]) is text
    assert text == b"bcdef"


@pytest.mark.parametrize(
    "changes",
    [
        [[7, 0, "x"]],
        [[6, 1, "x"]],
        [[-1, 0, "x"]],
        [[2, -1, "x"]],
        [[3, 1, "x"], [1, 1, "y"]],
        [[1, 3, "x"], [3, 1, "y"]],
    ],
)
def test_splices_that_do_not_fit_the_text_are_refused(changes: list[list[Any]]) -> None:
    with pytest.raises(StoreCorrupt, match="does not fit"):
        apply_splices(b"abcdef", changes)


def test_splices_that_touch_or_reach_the_end_fit() -> None:
    assert apply_splices(b"abcdef", [[1, 2, "x"], [3, 3, "y"], [6, 0, "z"]]) == b"axyz"
    assert apply_splices(b"", [[0, 0, "z"]]) == b"z"
