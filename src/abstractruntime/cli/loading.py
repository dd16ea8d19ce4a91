"""Loads the program a command is given as APP: `pkg.module:name` or `path.py:name`.

Names come from the command line or the environment, never from a store.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import click

from abstractruntime.authoring.workflow import Workflow
from abstractruntime.cli.console import safe
from abstractruntime.core.spec import WorkflowSource, WorkflowSpec
from abstractruntime.engine.runtime import Runtime
from abstractruntime.errors import InvalidInput, RuntimeFault, UnknownWorkflow
from abstractruntime.scheduler.registry import WorkflowRegistry

T = TypeVar("T")

ACCEPTED = "a WorkflowRegistry, a Workflow, a WorkflowSpec, a Runtime or a function that gives one"


@dataclass(frozen=True)
class App:
    """A loaded program: its workflows, and its runtime when it brings one.

    `name` is what was asked for without a workflow's id, `workflow_id` that id or None.
    """

    name: str
    workflow_id: str | None
    workflows: WorkflowSource
    runtime: Runtime | None

    def ids(self) -> list[str]:
        """The workflows' ids; [] when the program's source cannot list them."""
        listing = getattr(self.workflows, "list_ids", None)
        return [] if listing is None else list(listing())

    def workflow(self, workflow_id: str | None = None) -> WorkflowSpec:
        """The workflow asked for, else the only one. Raises UnknownWorkflow."""
        wanted = workflow_id or self.workflow_id
        known = ", ".join(safe(each, 60) for each in self.ids())
        if wanted is None:
            ids = self.ids()
            if len(ids) != 1:
                raise UnknownWorkflow(
                    f"{self.name} has {len(ids)} workflows: {known or 'none that can be listed'}",
                    fix=f"name one: {self.name}:WORKFLOW_ID",
                )
            wanted = ids[0]
        found = self.workflows.get(wanted)
        if found is None:
            raise UnknownWorkflow(
                f"{self.name} has no workflow '{safe(wanted, 60)}'",
                workflow=wanted,
                fix=f"it has: {known}" if known else None,
            )
        return found


def load_app(text: str) -> App:
    """The program that `text` names. Raises click.UsageError when it names none, InvalidInput
    when it cannot be loaded or is no program."""
    where, attribute, workflow_id = _parts(text)
    name = f"{where}:{attribute}"
    module = _module(where, name)
    value: Any = module
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise InvalidInput(
                f"{where} has no '{attribute}'", app=name, fix=_offers(module)
            ) from None
    return _app(name, workflow_id, value)


def _parts(text: str) -> tuple[str, str, str | None]:
    """Module or path, attribute, workflow id."""
    where, *rest = text.split(":")
    if len(where) == 1 and rest and rest[0][:1] in ("\\", "/"):  # C:\flows.py:wf
        where, rest = f"{where}:{rest[0]}", rest[1:]
    if not where or not rest or not rest[0] or len(rest) > 2:
        raise click.UsageError(
            f"APP is 'pkg.module:name' or 'path.py:name', with ':WORKFLOW_ID' behind it if need "
            f"be; found {safe(text, 80)!r}"
        )
    return where, rest[0], rest[1] if len(rest) == 2 and rest[1] else None


def _module(where: str, name: str) -> ModuleType:
    if where.endswith(".py") or os.sep in where:
        path = Path(where)
        if not path.is_file():
            raise InvalidInput(f"There is no file {where}", app=name)
        return _executed(name, lambda: _from_file(path))
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return _executed(name, lambda: importlib.import_module(where))


def _from_file(path: Path) -> ModuleType:
    """The module in a file, run once; its folder is where it finds its neighbours."""
    real = path.resolve()
    module_name = f"abstractruntime_app_{real.stem}"
    known = sys.modules.get(module_name)
    if known is not None and getattr(known, "__file__", None) == str(real):
        return known
    if str(real.parent) not in sys.path:
        sys.path.insert(0, str(real.parent))
    spec = importlib.util.spec_from_file_location(module_name, real)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    loaded = False
    try:
        spec.loader.exec_module(module)
        loaded = True
    finally:
        if not loaded:
            del sys.modules[module_name]
    return module


def _executed(name: str, load: Callable[[], T]) -> T:
    """Whatever a program raises while it loads, as one error that says where."""
    try:
        return load()
    except RuntimeFault:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidInput(
            f"{name} cannot be loaded: {type(error).__name__}: {error}{_place(error)}", app=name
        ) from error


def _place(error: BaseException) -> str:
    """Where in the program's own files it happened."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<")
        and "importlib" not in Path(frame.filename).parts
        and Path(frame.filename) != Path(__file__)
    ]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _app(name: str, workflow_id: str | None, value: Any, *, called: bool = False) -> App:
    match value:
        case WorkflowRegistry():
            return App(name, workflow_id, value, None)
        case Workflow() | WorkflowSpec():
            registry = WorkflowRegistry()
            registry.register(value)
            return App(name, workflow_id, registry, None)
        case Runtime():
            return App(name, workflow_id, value.workflow_registry or WorkflowRegistry(), value)
    if callable(value) and not isinstance(value, type) and not called:
        return _app(name, workflow_id, _executed(name, value), called=True)
    gives = "gives" if called else "is"
    raise InvalidInput(
        f"{name} {gives} {type(value).__name__}, which is no program",
        app=name,
        fix=f"name {ACCEPTED}",
    )


def _offers(module: ModuleType) -> str | None:
    """Names in the module that would do."""
    kinds = (WorkflowRegistry, Workflow, WorkflowSpec, Runtime)
    names = [name for name, value in vars(module).items() if isinstance(value, kinds)]
    return f"it has: {', '.join(sorted(names))}" if names else f"name {ACCEPTED}"
