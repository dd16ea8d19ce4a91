"""budget: what a run and those below it may spend and have spent, and more of it."""

from __future__ import annotations

from typing import Any

import click

from abstractruntime.cli.console import safe, say
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.engine.runtime import Runtime

EFFECTS = "effects."
NUMBERS = ("steps", "tokens", "cost", "depth")


class More(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """NAME=NUMBER of a limit."""

    name = "name=number"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float]:
        name, _, number = str(value).partition("=")
        known = name in (*NUMBERS, "wall_s") or name.removeprefix(EFFECTS) not in ("", name)
        try:
            found = float(number) if name == "wall_s" else int(number)
        except ValueError:
            found = -1
        if not known or found < 0:
            names = ", ".join((*NUMBERS, "wall_s", f"{EFFECTS}TYPE"))
            self.fail(f"{safe(str(value), 80)} is not NAME=NUMBER, with NAME one of {names}")
        return name, found


@command("budget")
@click.argument("run_id", metavar="RUN")
@click.option(
    "--raise", "raises", type=More(), multiple=True, metavar="NAME=NUMBER",
    help="Add so much to a limit: tokens=1000, steps=5, effects.llm_call=3, wall_s=60 …",
)  # fmt: skip
@click.option("--reason", help="Why; it stands in the ledger.")
def budget(
    session: Session, run_id: str, raises: tuple[tuple[str, float], ...], reason: str | None
) -> Exit:
    """Show the budget of a run, or raise it.

    Runs that paused because of it go on with the next `continue`.
    """
    found = session.run_id(run_id)
    runtime = Runtime(store=session.store)
    if raises:
        runtime.raise_budget(found, reason=reason, **_arguments(raises))
    said = runtime.get_budget(found)
    if session.json:
        session.write(said)
        return Exit.OK
    if not said["limits"] and said["until"] is None and said["depth"] is None:
        say("no budget of its own")
    for name, limit in said["limits"].items():
        used, reserved = said["used"][name], said["reserved"][name]
        say(f"{safe(name, 60)}: {used:,} of {limit:,} used, {reserved:,} reserved")
    if said["until"] is not None:
        say(f"time: until {said['until']}")
    if said["depth"] is not None:
        say(f"depth: {said['depth']}")
    for above in said["above"]:
        say(f"shares the budget of {above}")
    return Exit.OK


def _arguments(raises: tuple[tuple[str, float], ...]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, number in raises:
        if name.startswith(EFFECTS):
            said.setdefault("effects", {})[name.removeprefix(EFFECTS)] = number
        else:
            said[name] = number
    return said


COMMANDS = (budget,)
