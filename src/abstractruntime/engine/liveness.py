"""Which drivers live: flows of this process by token, other processes by pid and start time."""

from __future__ import annotations

import os
import threading
from functools import cache, lru_cache
from pathlib import Path

from abstractruntime.core.checkpoint import Driver

_LIVE: set[str] = set()
"""Tokens of the flows that are under way in this process."""

_LOCK = threading.Lock()


def begin(token: str) -> Driver:
    """A flow begins: the driver to write into the runs it moves."""
    pid = os.getpid()
    with _LOCK:
        _LIVE.add(token)
    return Driver(_host(), _boot(), pid, _own_start(pid), token)


def end(token: str) -> None:
    """The flow is over, however it ended: runs it still drives are recoverable at once."""
    with _LOCK:
        _LIVE.discard(token)


def is_live(driver: Driver) -> bool:
    """Whether somebody may still be moving the run.

    Sure of processes of this host; one on another host counts as live, for only a lease can tell.
    """
    if driver.host != _host():
        return True
    if driver.boot != _boot():
        return False
    if driver.pid == os.getpid() and driver.started == _own_start(driver.pid):
        return driver.token in _LIVE
    return process_start(driver.pid) == driver.started


def process_start(pid: int) -> str | None:
    """When the process began, as the system counts it; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return _start_without_proc(pid)
    except ProcessLookupError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    # A zombie has ended: only its parent has not looked yet.
    return None if state in ("Z", "X") else rest[18]


def _start_without_proc(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "unknown"
    return "unknown"


@lru_cache(maxsize=2)
def _own_start(pid: int) -> str:
    return process_start(pid) or "unknown"


@cache
def _host() -> str:
    """The machine, and within it the process-id namespace that pids are counted in."""
    name = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "host")
    try:
        return f"{name}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return name


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"
