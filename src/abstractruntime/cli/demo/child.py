"""The demo's child process: moves the run and tells its parent of every payment, so that the parent
can kill it at the worst moment. `python -m abstractruntime.cli.demo.child FOLDER RUN [options]`."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from abstractruntime.cli.demo.invoices import Row
from abstractruntime.cli.demo.workflow import pay_invoice, workflow
from abstractruntime.core.checkpoint import MAIN
from abstractruntime.engine.outcome import StepContext
from abstractruntime.engine.runtime import Runtime
from abstractruntime.errors import RuntimeFault
from abstractruntime.storage.open import open_store

DATABASE = "demo.db"


def store_url(folder: Path) -> str:
    """The URL of the store in the demo's folder."""
    return f"sqlite:///{quote(str(folder / DATABASE))}"


def main() -> None:
    """Move the run until it waits or ends; one JSON line to the parent for each payment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("run_id")
    parser.add_argument("--answer", help="answer the open wait with this choice first")
    parser.add_argument("--hold-at", type=int, default=0, help="stop after this payment line")
    given = parser.parse_args()

    def pay(row: Row, folder: str, step: StepContext) -> dict[str, Any]:
        paid = pay_invoice(row, folder, step)
        number = int(paid["receipt"].removeprefix("P-"))
        holds = number == given.hold_at and not paid["repeated"]
        tell({"payment": number, "repeated": paid["repeated"], "key": step.key, "holds": holds})
        if holds:
            # The line is on the disk, its commit is not: here the parent kills this process. If
            # the parent is gone instead, the pipe ends and the run goes on.
            sys.stdin.read(1)
        return paid

    spec = replace(workflow.spec, functions={**workflow.spec.functions, "pay_invoice": pay})
    with open_store(store_url(given.folder)) as store:
        runtime = Runtime(store=store)
        try:
            if given.answer is None:
                run = runtime.tick(workflow=spec, run_id=given.run_id, max_steps=math.inf)
            else:
                before = runtime.get_state(given.run_id)
                opened = before.checkpoint.waits.get(MAIN) if before.checkpoint else None
                run = runtime.resume(
                    workflow=spec,
                    run_id=given.run_id,
                    wait_key=before.waiting.wait_key if before.waiting else None,
                    wait_id=None if opened is None else opened.wait_id,
                    payload=given.answer,
                    max_steps=math.inf,
                )
        except RuntimeFault as fault:
            tell({"fault": fault.to_dict()})
            sys.exit(1)
        tell({"status": run.status.value, "error": run.error})


def tell(event: dict[str, Any]) -> None:
    """One line to the parent; a parent that is gone is no reason to stop paying."""
    with suppress(OSError):
        os.write(sys.stdout.fileno(), json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    main()
