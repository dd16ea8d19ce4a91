"""What one command works with: the store and the program it was told of, opened when needed."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

import click

from abstractruntime.cli.console import write_json
from abstractruntime.cli.loading import App, load_app
from abstractruntime.core.models import utc_now
from abstractruntime.engine.runtime import Runtime
from abstractruntime.errors import InvalidStoreUrl, StoreUnavailable
from abstractruntime.inspect.runs import find_run, short_ids
from abstractruntime.storage.base import Store
from abstractruntime.storage.open import open_store

DEFAULT_STORE = "sqlite:///abstractruntime.db"
STORE_VARIABLE = "ABSTRACTRUNTIME_STORE"
APP_VARIABLE = "ABSTRACTRUNTIME_APP"


@dataclass
class Session:
    """Options as given (None: not), and what they come to. Close it when the command is over."""

    store_url: str | None = None
    app_name: str | None = None
    json: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    _exits: ExitStack = field(default_factory=ExitStack)

    # -- the program

    @cached_property
    def app(self) -> App:
        """The program, loaded. Raises click.UsageError when none was named."""
        name = self.app_name or os.environ.get(APP_VARIABLE)
        if not name:
            raise click.UsageError(
                "which program has the workflow? Name it: --app path.py:name (or pkg.module:name), "
                f"or set {APP_VARIABLE}"
            )
        return load_app(name)

    @property
    def names_app(self) -> bool:
        """Whether a program was named."""
        return bool(self.app_name or os.environ.get(APP_VARIABLE))

    # -- the store

    @cached_property
    def store(self) -> Store:
        """The store, which must be there already. Raises StoreUnavailable."""
        return self._opened(create=False)

    def create_store(self) -> Store:
        """The store, made when it is not there."""
        if "store" not in self.__dict__:
            self.__dict__["store"] = self._opened(create=True)
        return self.store

    @property
    def url(self) -> str:
        """The URL the store is asked for by."""
        return self.store_url or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE

    def _opened(self, *, create: bool) -> Store:
        # Looking at a store must work though the program of the environment does not: only one
        # that was typed, or is needed anyhow, is asked whether it brings a store.
        asked = self.app_name is not None or "app" in self.__dict__
        own = self.app.runtime.store if asked and self.app.runtime is not None else None
        if own is not None:
            if self._names_store and _place(self.url) != _place(own.url):
                raise click.UsageError(
                    f"{self.app.name} brings its own store, {own.url}: leave --store and "
                    f"{STORE_VARIABLE} away, or name a WorkflowRegistry instead of a Runtime"
                )
            return own
        refuse_missing(self.url, allowed=create)
        store = open_store(self.url)
        self._exits.callback(store.close)
        return store

    @property
    def _names_store(self) -> bool:
        return bool(self.store_url or os.environ.get(STORE_VARIABLE))

    @property
    def _brings_store(self) -> bool:
        """Whether the store in use is the program's, which a look would not find by itself."""
        return "app" in self.__dict__ and self.app.runtime is not None

    @cached_property
    def runtime(self) -> Runtime:
        """A runtime that can move runs: the program's own, or one with its workflows."""
        if self.app.runtime is not None and self.store is self.app.runtime.store:
            return self.app.runtime
        return Runtime(
            store=self.store,
            workflow_registry=self.app.workflows,
        )

    def write(self, document: Any) -> None:
        """The document that --json asks for."""
        write_json(document, self.stream)

    def close(self) -> None:
        """Let go of what was opened."""
        self._exits.close()

    # -- runs

    def run_id(self, text: str) -> str:
        """The id that `text` or its prefix names. Raises UnknownRun, InvalidIdentifier."""
        return find_run(self.store, text)

    def short(self, run_id: str) -> str:
        """The shortest text that names this run on a command line."""
        return short_ids(self.store, [run_id], all_known=False)[run_id]

    def now(self) -> str:
        """Now, for ages."""
        return utc_now()

    def command(self, *words: str, app: bool = False) -> str:
        """A command line to type next, with the options it needs to find the same things."""
        line = ["abstractruntime", *words]
        if self.store_url:
            line += ["--store", self.store_url]
        elif not self._names_store and self._brings_store:
            line += ["--store", self.store.url]
        if app and self.app_name:
            line += ["--app", self.app_name]
        return shlex.join(line)


def _place(url: str) -> tuple[str, str]:
    """What a store's URL names, however its path is written. Raises InvalidStoreUrl."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidStoreUrl(f"not the URL of a store: {url!r} ({error})", url=url) from None
    path = unquote(parts.path[1:])
    return parts.scheme, os.path.realpath(path) if path else ""


def refuse_missing(url: str, *, allowed: bool = False) -> None:
    """Raise StoreUnavailable when a store in files is not there: looking must not make one."""
    scheme, path = _place(url)
    if allowed or scheme not in ("sqlite", "files") or not path or os.path.exists(path):
        return
    raise StoreUnavailable(
        f"There is no store at {url}",
        path=path,
        fix="start a run with `abstractruntime run APP`, or name another store with --store",
    )
