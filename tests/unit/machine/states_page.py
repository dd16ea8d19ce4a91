"""docs/states.md, drawn from the transition table: `python -m tests.unit.machine.states_page`."""

from pathlib import Path

from abstractruntime.core.machine.table import ENDED, TABLE
from abstractruntime.core.models import RunStatus

PAGE = Path(__file__).resolve().parents[3] / "docs" / "states.md"

HEAD = """\
# What a run may become

Drawn from `core/machine/table.py`; a test compares the two. After a change of the table, write this
page anew: `.venv/bin/python -m tests.unit.machine.states_page`.

"""
TAIL = """
**Paused** is no state but lies over any of these: nobody moves the run until it is unpaused. A run
whose step has an [unknown outcome](delivery.md#unknown-outcomes) is WAITING for somebody's word.

A step that keeps a run RUNNING and a wait that follows a wait stay in their state. COMPLETED and
CANCELLED are final; a FAILED run can be reopened at the node where it failed. A host that saves a
run by hand may set any status: that is journaled as an edit, not as a move of this table.
"""


def picture() -> str:
    """The table as a Mermaid state diagram, in the order of the table."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {RunStatus.RUNNING.value}"]
    for status, moves in TABLE.items():
        for move, after in moves.items():
            lines.append(f"    {status.value} --> {after.value}: {move.value}")
    lines += [
        f"    {status.value} --> [*]" for status in TABLE if status in ENDED and not TABLE[status]
    ]
    return "\n".join([*lines, "```", ""])


def page() -> str:
    return HEAD + picture() + TAIL


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
