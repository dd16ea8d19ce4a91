"""Broad handlers are where failures become silence. Each one in the package is named here.

A broad handler is a bare `except`, `except Exception` or `except BaseException` (alone, in a tuple,
or behind a module name), and `contextlib.suppress` of either.
"""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.tree import PACKAGE, parse, python_files, qualified

# (file below the package, qualified name of the function) -> why it must catch everything there.
ALLOWED: dict[tuple[str, str], str] = {
    ("engine/advance.py", "Mover.move"): "a performed outcome is committed before any unwinding",
    ("engine/advance.py", "Mover._call_node"): "a node may raise anything: the run's FAILED record",
    ("engine/drive.py", "drive"): "whatever a request raises is thrown into the flow that made it",
    ("engine/drive.py", "adrive"): "whatever a request raises is thrown into the flow that made it",
    ("engine/drive.py", "_written"): "a refused commit is thrown into the flow that made it",
    ("engine/crossing.py", "Crossing._depart"): "what a store refuses goes to the awaiting flow",
    ("engine/crossing.py", "Crossing._deliver"): "the writer's error goes to the awaiting flow",
    ("engine/running.py", "run_blocking"): "an interrupted caller takes its coroutine with it",
    (
        "engine/running.py",
        "Threads._run",
    ): "an interrupt is raised where it is heard of",
    ("engine/running.py", "_said"): "an interrupt is raised where it is heard of",
    ("engine/running.py", "keep_late"): "nobody waits for it any more: it is logged",
    ("engine/effects.py", "reconciliation.ask_later"): "a handler may raise anything: unknown",
    ("engine/effects.py", "reconciliation.ask"): "a handler may raise anything: unknown",
    (
        "storage/relational/desk.py",
        "WritingDesk.transact",
    ): "whatever ends a handler undoes its transaction",
    ("engine/effects.py", "attempt.make_later"): "a handler may raise anything: a failed attempt",
    ("engine/effects.py", "attempt.make"): "a handler may raise anything: a failed attempt",
    ("engine/hooks.py", "Hooks.committed"): "a listener cannot undo a commit; it is logged",
    (
        "storage/paired.py",
        "PairedStore.submit",
    ): "a user's store may raise anything: the handle has it",
    ("storage/relational/desk.py", "WritingDesk.write"): "a work that cannot be encoded is its own",
    (
        "storage/relational/desk.py",
        "WritingDesk._transact",
    ): "any fault reaches each member's owner",
    (
        "storage/relational/desk.py",
        "WritingDesk._fail",
    ): "a failed rollback is the fault that counts",
    ("storage/relational/group.py", "_call"): "one owner's callback must not stop the others'",
    ("cli/loading.py", "_executed"): "a program may raise anything, SystemExit too, when loaded",
    (
        "integrations/abstractcore/llm_client.py",
        "LocalAbstractCoreLLMClient._failing",
    ): "told apart by name: AbstractCore's classes need not be there; what is unknown goes on",
    (
        "integrations/abstractcore/tool_executor.py",
        "MappingToolExecutor._one",
    ): "a tool may raise anything: a result that the model reads",
    (
        "integrations/abstractcore/tool_executor.py",
        "MappingToolExecutor._aone",
    ): "a tool may raise anything: a result that the model reads",
    ("scheduler/scheduler.py", "Scheduler._watch"): "the loop outlives a store that fails; stats",
    (
        "scheduler/scheduler.py",
        "Scheduler._tell",
    ): "a listener's error stops no move; it is in stats",
    ("scheduler/scheduler.py", "Scheduler._move"): "one run's error is its own; stats and callback",
}

BROAD = {"Exception", "BaseException"}


def is_broad(expression: ast.expr | None) -> bool:
    match expression:
        case None:
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in BROAD
        case ast.Tuple(elts=members):
            return any(is_broad(member) for member in members)
        case _:
            return False


def broad_handlers(tree: ast.AST) -> Iterator[str]:
    """The qualified name of the function around each broad handler, "" at module level."""
    for name, node in qualified(tree):
        match node:
            case ast.ExceptHandler(type=caught) if is_broad(caught):
                yield name
            case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress")) as call:
                if any(is_broad(argument) for argument in call.args):
                    yield name
            case _:
                pass


def found_in_package() -> set[tuple[str, str]]:
    return {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in python_files(PACKAGE)
        for name in broad_handlers(parse(path))
    }


def test_every_broad_except_in_the_package_is_named_with_a_reason() -> None:
    named = {place for place, reason in ALLOWED.items() if reason.strip()}
    unnamed = sorted(found_in_package() - named)
    assert not unnamed, f"catch what you mean, or name the place and its reason: {unnamed}"


def test_the_list_of_broad_excepts_names_only_what_is_there() -> None:
    stale = sorted(ALLOWED.keys() - found_in_package())
    assert not stale, f"no broad except there any more, take them off the list: {stale}"


@pytest.mark.parametrize(
    "line",
    [
        "except:",
        "except Exception:",
        "except BaseException as error:",
        "except (ValueError, Exception):",
        "except builtins.Exception:",
    ],
)
def test_a_broad_handler_is_recognised_however_it_is_written(line: str) -> None:
    source = f"class A:\n def b(self):\n  try:\n   pass\n  {line}\n   pass\n"
    assert list(broad_handlers(ast.parse(source))) == ["A.b"]


def test_suppressing_everything_counts_as_a_broad_handler() -> None:
    source = "async def f():\n with contextlib.suppress(Exception):\n  pass\n"
    assert list(broad_handlers(ast.parse(source))) == ["f"]


def test_a_handler_of_named_errors_is_not_broad() -> None:
    source = "try:\n pass\nexcept (ValueError, KeyError):\n pass\n"
    assert list(broad_handlers(ast.parse(source))) == []
