"""Text of runs is shown as it is, but for what could act on a terminal or a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.inspect.text import columns, one_line, shortened, visible


@pytest.mark.parametrize("text", ["plain", "é ß 日本 🙂", "[red]x[/red]", "a – b …"])
def test_text_that_does_nothing_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\r\nc", "a⏎b⏎c"),
        ("a\tb", "a b"),
        ("\x9b\x00\x7f", "\\x9b\\x00\\x7f"),
        ("\u202eevil", "\\u202eevil"),
        ("\ud800", "\\ud800"),
        ("\u2028", "\\u2028"),
    ],
)
def test_text_that_acts_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_line_breaks_can_be_kept() -> None:
    assert visible("a\nb\x1b", lines=True) == "a\nb\\x1b"


@given(st.text(st.characters(), max_size=60), st.integers(2, 30))
def test_a_line_is_never_wider_than_it_may_be(text: str, width: int) -> None:
    for made in (one_line(text, width), shortened(visible(text), width)):
        assert columns(made) <= width
        assert "\n" not in made
    if columns(visible(text)) <= width:
        assert one_line(text, width) == visible(text)


def test_wide_and_combining_characters_are_counted_as_terminals_do() -> None:
    assert columns("日本") == 4
    assert columns("e\u0301") == 1


def test_the_middle_of_a_long_name_is_left_out() -> None:
    assert shortened("reconcile_the_statement", 11) == "recon…ement"
