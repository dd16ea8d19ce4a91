"""The file the demo pays into: one JSON object a line, keyed by the idempotency key of its step.

It stands for a bank: once a line is on the disk the money is gone, whatever happens to the payer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Payment = dict[str, Any]


def read_payments(path: str | Path) -> list[Payment]:
    """Every payment made, in order; a line that was cut off by a crash is none."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    return [json.loads(text) for text in _whole(data).splitlines()]


def pay_once(path: str | Path, key: str, row: dict[str, str]) -> Payment:
    """Pay a row, on the disk when this returns; a key that is known is refused: it has been paid.

    Gives {"receipt", "repeated"}; `repeated` says that the key was known.
    """
    file = Path(path)
    data = file.read_bytes() if file.exists() else b""
    whole = _whole(data)
    lines = whole.splitlines()
    for text in lines:
        payment = json.loads(text)
        if payment["key"] == key:
            return {"receipt": payment["receipt"], "repeated": True}
    receipt = f"P-{len(lines) + 1:04d}"
    payment = {"receipt": receipt, "key": key, **row}
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.ftruncate(handle, len(whole))
        os.lseek(handle, 0, os.SEEK_END)
        os.write(handle, json.dumps(payment, ensure_ascii=False).encode("utf-8") + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    return {"receipt": receipt, "repeated": False}


def _whole(data: bytes) -> bytes:
    """The data up to the end of its last whole line."""
    return data[: data.rfind(b"\n") + 1]
