"""Real SIGKILLs of a run with one effect of each delivery class, counted by an HTTP server.

`make test` kills 16 processes, `make faults` 300; each before one of its SQL statements, at either
durability level.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, EffectOutcome, RunStatus, Runtime, StepPlan, WorkflowSpec
from abstractruntime.engine.outcome import StepContext
from abstractruntime.storage.open import open_store
from tests.crashes.verdict import check_ledger
from tests.faults.campaign import PATIENCE_S, context
from tests.faults.worker import count_statements

TABLE = "CREATE TABLE IF NOT EXISTS booked (key TEXT, run TEXT)"


@dataclass(frozen=True)
class Kill:
    """One process to be killed and what it works on."""

    folder: Path
    durability: str
    port: int

    def open(self) -> Any:
        return open_store(f"sqlite:///{self.folder}/runs.db", durability=self.durability)


def workflow(port: int) -> WorkflowSpec:
    def post(kind: str, step: StepContext) -> str:
        url = f"http://127.0.0.1:{port}/{kind}/{step.key}"
        with urllib.request.urlopen(url, data=b"", timeout=PATIENCE_S) as answer:
            return str(answer.status)

    def book(step: StepContext) -> str:
        assert step.transaction is not None
        step.transaction.execute(TABLE)
        step.transaction.execute("INSERT INTO booked VALUES (?, ?)", (step.key, step.run_id))
        return step.key

    def node(name: str, function: str, after: str, delivery: str, **arguments: Any) -> Any:
        payload = {"function": function, "arguments": arguments}
        return lambda run, ctx: StepPlan(
            name, Effect("call", payload, name, delivery=delivery), after
        )

    nodes = {
        "note": node("note", "post", "pay", "at_least_once", kind="note"),
        "pay": node("pay", "post", "book", "at_most_once", kind="pay"),
        "book": node("book", "book", "end", "transactional"),
        "end": lambda run, ctx: StepPlan("end", complete_output={}),
    }
    return WorkflowSpec("kills", "note", nodes, functions={"post": post, "book": book})


def work(kill: Kill, said: Any, die_at: int | None) -> None:
    """In the child: one run from its start to its end; it tells how many statements there were."""
    counted = count_statements(die_at)
    with kill.open() as store:
        spec = workflow(kill.port)
        runtime = Runtime(store=store)
        runtime.tick(workflow=spec, run_id=runtime.start(workflow=spec, run_id="r"))
    said.send(len(counted))


class Counting(ThreadingHTTPServer):
    """Counts requests by path, on loopback, at a port of its own choice."""

    daemon_threads = True

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Answers)


class _Answers(BaseHTTPRequestHandler):
    server: Counting

    def do_POST(self) -> None:
        with self.server.lock:
            self.server.counted[self.path] += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def counting() -> Iterator[Counting]:
    server = Counting()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE_S)


def spawn(kill: Kill, die_at: int | None) -> tuple[int | None, Any]:
    heard, said = context().Pipe(duplex=False)
    process = context().Process(target=work, args=(kill, said, die_at), daemon=True)
    process.start()
    said.close()
    process.join(PATIENCE_S)
    return process.exitcode, heard


def judge(kill: Kill, server: Counting, word: str) -> str:
    """Go on where the dead process stopped; how its doubt was resolved, or "none"."""
    spec, resolved = workflow(kill.port), "none"
    with kill.open() as store:
        runtime = Runtime(store=store)
        runtime.start(workflow=spec, run_id="r", on_duplicate="return")
        state = runtime.tick(workflow=spec, run_id="r")
        if state.status is RunStatus.WAITING:
            assert state.waiting is not None
            intent = (state.waiting.details or {})["unknown"]
            performed = server.counted[f"/pay/{intent['key']}"]
            resolved = "completed" if performed else word
            outcome = EffectOutcome.completed("200") if performed else word
            runtime.resolve("r", outcome=outcome)
            state = runtime.tick(workflow=spec, run_id="r")
        failed = resolved == "fail"
        assert state.status is (RunStatus.FAILED if failed else RunStatus.COMPLETED), state.error
        check_ledger(store, "r")
    paid = [times for path, times in server.counted.items() if path.startswith("/pay/")]
    assert paid == ([] if failed else [1]), "at most once"
    noted = [times for path, times in server.counted.items() if path.startswith("/note/")]
    assert len(noted) == 1, "repeats carry the same key"
    assert noted[0] <= 2
    if not failed:
        with sqlite3.connect(kill.folder / "runs.db") as rows:
            assert rows.execute("SELECT count(*) FROM booked").fetchall() == [(1,)]
        rows.close()
    return resolved


def kills(folder: Path, durability: str, count: int) -> Counter[str]:
    """`count` processes, each killed before another of its statements."""
    said: Counter[str] = Counter()
    (folder / "whole").mkdir()
    with counting() as server:
        ended, heard = spawn(Kill(folder / "whole", durability, server.server_port), None)
        assert ended == 0
        statements = heard.recv()
    for number in range(count):
        here = folder / str(number)
        here.mkdir()
        with counting() as server:
            kill = Kill(here, durability, server.server_port)
            ended, _ = spawn(kill, 1 + number * statements // count)
            assert ended == -signal.SIGKILL
            said[judge(kill, server, ("retry", "fail")[number % 2])] += 1
    print(f"{durability}: {count} killed over {statements} statements, doubts {dict(said)}")
    return said


LEVELS = pytest.mark.parametrize("durability", ["power", "process"])


@LEVELS
@pytest.mark.timeout(60)
def test_eight_processes_killed_at_each_level_keep_each_class_s_promise(
    durability: str, tmp_path: Path
) -> None:
    assert sum(kills(tmp_path, durability, 8).values()) == 8


@pytest.mark.faults
@pytest.mark.timeout(900)
@LEVELS
def test_a_hundred_and_fifty_processes_killed_at_each_level_keep_each_class_s_promise(
    durability: str, tmp_path: Path
) -> None:
    said = kills(tmp_path, durability, 150)
    assert said["completed"] or said["retry"] or said["fail"], os.fspath(tmp_path)
