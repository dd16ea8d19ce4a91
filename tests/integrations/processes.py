"""Processes that tests of the integration start: programs of a few lines, and the AbstractCore
server. Every one is ended with its test."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKEN = "server-token-canary-7141"


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a process that finds no settings but ours, and reaches loopback without a proxy."""
    kept = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
    return {**kept, "HOME": str(folder), "NO_PROXY": "127.0.0.1", **more}


def program(code: str, folder: Path, *arguments: str, **env: str) -> Any:
    """Run Python code in `folder`; the JSON value of the last line it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=folder,
        env=environment(folder, **env),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Server:
    """An AbstractCore server: its URL, and the headers that it lets in."""

    url: str
    log: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def abstractcore_server(folder: Path) -> Iterator[Server]:
    """A real AbstractCore server on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    log = folder / "server.log"
    command = [sys.executable, "-m", "abstractcore.server.app", "--host", "127.0.0.1"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", port],
            cwd=folder,
            env=environment(folder, ABSTRACTCORE_AUTH_TOKEN=TOKEN),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        server = Server(f"http://127.0.0.1:{port}", log)
        while not _healthy(server.url):
            assert process.poll() is None, log.read_text()
        yield server
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _healthy(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        # Not listening yet: give the processor to the server that starts.
        os.sched_yield() if hasattr(os, "sched_yield") else None
        return False
