"""File names say what a file owns. Words that say nothing are not used."""

import re
from pathlib import Path

import pytest

from tests.architecture.tree import BENCH, PACKAGE, ROOT, TESTS, python_files

# A file so named has no owner: whatever it holds belongs to some room that has a name.
EMPTY_WORDS = {"helper", "helpers", "util", "utils", "common", "misc", "manager", "managers"}


def empty_words_in(path: Path) -> set[str]:
    """The empty words in a path's folder and file names, in snake, kebab or camel case."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", " ".join(path.with_suffix("").parts))
    return {word.lower() for word in words} & EMPTY_WORDS


def test_no_file_or_folder_is_named_by_an_empty_word() -> None:
    folders = [PACKAGE, TESTS, *([BENCH] if BENCH.exists() else [])]
    bad = {
        path.relative_to(ROOT).as_posix(): sorted(empty_words_in(path.relative_to(ROOT)))
        for path in python_files(*folders)
        if empty_words_in(path.relative_to(ROOT))
    }
    assert not bad, f"name them by what they own: {bad}"


def test_no_file_beside_the_modules_is_named_by_an_empty_word() -> None:
    others = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert others
    assert [path for path in others if empty_words_in(path.relative_to(PACKAGE))] == []


@pytest.mark.parametrize(
    "name", ["engine/helpers.py", "utils/rows.py", "run_manager.py", "RunManager.py", "misc.sql"]
)
def test_an_empty_word_is_found_in_any_spelling(name: str) -> None:
    assert empty_words_in(Path(name))


@pytest.mark.parametrize("name", ["commit.py", "commonmark.py", "management.py", "utility.py"])
def test_a_word_that_only_begins_alike_is_allowed(name: str) -> None:
    assert not empty_words_in(Path(name))
