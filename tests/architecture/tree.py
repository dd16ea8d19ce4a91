"""Finds and reads the repository's Python files for the architecture tests.

It knows where things lie and how to parse them; what they must look like is each test's business.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "abstractruntime"
TESTS = ROOT / "tests"
BENCH = ROOT / "bench"
BIN = Path(sys.executable).parent

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(*folders: Path) -> list[Path]:
    """Every .py file under the folders. Raises AssertionError when a folder holds none."""
    found: list[Path] = []
    for folder in folders:
        here = sorted(folder.rglob("*.py"))
        assert here, f"no Python files under {folder}: the test would check nothing"
        found += here
    return found


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def qualified(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every node of a tree with the dotted name of the function or class it stands in."""
    for child in ast.iter_child_nodes(tree):
        name = prefix
        if isinstance(child, Function | ast.ClassDef):
            name = f"{prefix}.{child.name}" if prefix else child.name
        yield name, child
        yield from qualified(child, name)
