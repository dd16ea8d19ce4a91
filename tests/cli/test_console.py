"""Ages, durations, JSON and tables read well and never lie about what they leave out."""

from __future__ import annotations

import json

import pytest

from abstractruntime.cli.console import Column, age, json_text, lasted, print_table, shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "now"), (1, "1s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"),
     (86400 * 3, "3d"), (86400 * 800, "2y")],
)  # fmt: skip
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.0001, "<1ms"), (0.0123, "12ms"), (1.25, "1.2s"), (120, "2m")],
)
def test_a_duration_has_the_digits_that_matter(seconds: float | None, text: str) -> None:
    assert lasted(seconds) == text


@pytest.mark.parametrize("text", ["\x9b31m", "\u202ex", "\ud800", "\u2028", "\x7f", "é 日本 🙂"])
def test_json_keeps_every_character_and_shows_none_that_disturbs(text: str) -> None:
    written = json_text({"key " + text: text})
    assert json.loads(written) == {"key " + text: text}
    assert not set(written) & set("\x9b\u202e\ud800\u2028\x7f")


def test_an_integer_of_any_size_is_written_exactly() -> None:
    number = 7**6000
    assert str(7**600) in json_text({"n": 7**600})
    assert json_text({"n": number}).startswith('{"n":')


def test_a_value_is_shown_on_one_line_of_bounded_width() -> None:
    assert shown({"a": [1, "x"]}) == '{"a":[1,"x"]}'
    assert shown("two\nlines") == "two⏎lines"
    assert len(shown("x" * 10_000_000, 20)) == 20
    assert shown("x" * 30, 20).endswith("…")


def test_columns_without_a_share_are_never_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    columns = (Column("ID", 8), Column("TEXT", 6, share=1), Column("N", 3, right=True))
    print_table(columns, [("abcdefgh", "日本語" * 20, "7"), ("x", ("plain", "red"), "12")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("abcdefgh  日本語")
    assert lines[1].endswith("…     7") or lines[1].endswith("…    7")
    assert lines[2].endswith("  12")
