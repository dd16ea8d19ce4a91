"""Size budgets. A file or function over its budget is a room that wants to be two."""

import ast
from pathlib import Path

from tests.architecture.tree import PACKAGE, ROOT, TESTS, Function, parse, python_files, qualified

LINES = 400
LINES_HARD = 600  # no reason is good enough for more
STATEMENTS = 40  # the same number as ruff's max-statements

# Files allowed between LINES and LINES_HARD, each with its reason.
LONG_FILES: dict[str, str] = {}


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def statements_of(function: Function) -> int:
    """The statements in a function's body, those of functions inside it too, without docstrings."""
    inside = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    docstrings = sum(
        ast.get_docstring(node, clean=False) is not None
        for node in inside
        if isinstance(node, Function | ast.ClassDef)
    )
    return len(inside) - 1 - docstrings


def file_lengths() -> dict[str, int]:
    return {
        path.relative_to(ROOT).as_posix(): lines_of(path) for path in python_files(PACKAGE, TESTS)
    }


def test_no_file_is_longer_than_the_hard_limit() -> None:
    too_long = {name: count for name, count in file_lengths().items() if count > LINES_HARD}
    assert not too_long, f"longer than {LINES_HARD} lines, split them: {too_long}"


def test_a_file_over_its_budget_is_named_with_a_reason() -> None:
    over = {name: count for name, count in file_lengths().items() if count > LINES}
    unnamed = {name: count for name, count in over.items() if not LONG_FILES.get(name)}
    assert not unnamed, f"longer than {LINES} lines: split them, or name the reason: {unnamed}"


def test_the_list_of_long_files_names_only_long_files() -> None:
    lengths = file_lengths()
    stale = [name for name in LONG_FILES if lengths.get(name, 0) <= LINES]
    assert not stale, f"no longer over {LINES} lines, take them off the list: {stale}"


def test_no_function_has_more_statements_than_its_budget() -> None:
    over = {
        f"{path.relative_to(ROOT).as_posix()}:{node.lineno} {name}": statements_of(node)
        for path in python_files(PACKAGE, TESTS)
        for name, node in qualified(parse(path))
        if isinstance(node, Function) and statements_of(node) > STATEMENTS
    }
    assert not over, f"more than {STATEMENTS} statements: {over}"


def test_statements_are_counted_at_every_depth_and_docstrings_are_not() -> None:
    source = '''
def outer():
    """Words."""
    if x:
        a = 1
    else:
        for b in c:
            d()
    def inner():
        """Words."""
        return 1
'''
    outer = ast.parse(source).body[0]
    assert isinstance(outer, ast.FunctionDef)
    assert statements_of(outer) == 6  # if, a, for, d, def inner, return
