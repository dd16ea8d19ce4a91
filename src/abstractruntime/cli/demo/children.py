"""Runs the demo's child processes, and kills them when it is told to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from abstractruntime.cli.demo.folder import Place
from abstractruntime.errors import StoreFault


@dataclass(frozen=True, slots=True)
class Kill:
    """When to kill a child: right after payment `at`, where it `holds`, or `pause_s` after it.

    `latest` is the payment where it holds in any case, should this process be slow to kill it.
    """

    at: int
    latest: int
    holds: bool
    pause_s: float = 0.0

    @property
    def moment(self) -> str:
        """The moment in words."""
        if self.holds:
            return f"after payment {self.at} was written and before its commit"
        return f"at a random moment, {self.pause_s * 1000:.1f} ms after payment {self.at}"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: killed, or with the status of its run."""

    pid: int
    killed: bool
    status: str | None


def run_child(
    place: Place,
    *,
    answer: str | None = None,
    kill: Kill | None = None,
    begun: Callable[[int], None],
    paid: Callable[[int, bool], None],
) -> Ended:
    """Move the run in a process of its own until it ends, waits or is killed.

    `begun` is told its process id, `paid` the number of each payment and whether it was refused
    because its key was known. Raises StoreFault with the child's own words when it fails.
    """
    words = [sys.executable, "-m", "abstractruntime.cli.demo.child", str(place.folder)]
    words.append(place.run_id)
    if answer is not None:
        words += ["--answer", answer]
    if kill is not None:
        words += ["--hold-at", str(kill.latest)]
    # An interrupt between the child's start and ours to know of it would leave it alone.
    _interrupts(False)
    child: subprocess.Popen[bytes] | None = None
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # The keyboard's interrupt is for the parent, which ends its child by itself.
            start_new_session=True,
        )
        _interrupts(True)
        begun(child.pid)
        return _followed(child, kill, paid)
    finally:
        _interrupts(True)
        if child is not None:
            child.kill()
            child.communicate()


def _interrupts(allowed: bool) -> None:
    """Let the keyboard interrupt this process, or make it wait."""
    if hasattr(signal, "pthread_sigmask"):
        how = signal.SIG_UNBLOCK if allowed else signal.SIG_BLOCK
        signal.pthread_sigmask(how, {signal.SIGINT})


def _followed(
    child: subprocess.Popen[bytes], kill: Kill | None, paid: Callable[[int, bool], None]
) -> Ended:
    assert child.stdout is not None
    status: str | None = None
    for text in child.stdout:
        event: dict[str, Any] = json.loads(text)
        if "fault" in event:
            raise StoreFault(f"the child could not go on: {event['fault']['message']}")
        status = event.get("status", status)
        if "payment" not in event:
            continue
        paid(event["payment"], event["repeated"])
        if kill is not None and event["payment"] >= kill.at and event["holds"] is kill.holds:
            time.sleep(kill.pause_s)
            child.kill()  # SIGKILL: nothing in the child hears of it
            return Ended(child.pid, child.wait() != 0, None)
    code = child.wait()
    if code != 0 or status is None:
        said = child.stderr.read().decode(errors="replace") if child.stderr else ""
        raise StoreFault(f"the child ended with {code}: {said.strip()[-2000:]}")
    return Ended(child.pid, False, status)
