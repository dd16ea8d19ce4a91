"""graph: a workflow or a run's path through it, as Mermaid or SVG."""

from __future__ import annotations

from pathlib import Path

import click

from abstractruntime.cli.console import say
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.loading import load_app
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.errors import StoreFault, StoreUnavailable
from abstractruntime.inspect.graph import Graph, graph_of_run, graph_of_workflow, to_mermaid
from abstractruntime.inspect.runs import detail_of
from abstractruntime.inspect.svg import to_svg
from abstractruntime.inspect.timeline import each_record


@command("graph")
@click.argument("target", metavar="APP|RUN")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["mermaid", "svg"]),
    help="Mermaid unless the output's name ends in .svg.",
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="A file.")
def graph(session: Session, target: str, format_: str | None, output: Path | None) -> Exit:
    """Draw a workflow, or the path of a run.

    APP is path.py:name or pkg.module:name, with :WORKFLOW_ID behind it when the program has
    several workflows. Of a RUN, nodes it never came near are drawn only when --app names its
    program.
    """
    drawn = _of_run(session, target) if _names_run(session, target) else _of_app(target)
    form = format_ or ("svg" if output is not None and output.suffix == ".svg" else "mermaid")
    text = to_svg(drawn) if form == "svg" else to_mermaid(drawn)
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StoreUnavailable(f"cannot write {output}: {error.strerror}") from error
    if session.json:
        written = None if output is None else str(output)
        session.write({**drawn.to_dict(), "format": form, "text": text, "file": written})
    elif output is not None:
        say(f"wrote {output}")
    else:
        session.stream.write(text)
    return Exit.OK


def _names_run(session: Session, target: str) -> bool:
    """A colon makes it a program, unless a host has called a run so."""
    if ":" not in target:
        return True
    try:
        return target in session.store.find_prefix(target, limit=1)
    except StoreFault:
        return False


def _of_app(target: str) -> Graph:
    return graph_of_workflow(load_app(target).workflow())


def _of_run(session: Session, target: str) -> Graph:
    run = detail_of(session.store, session.run_id(target), now=session.now()).state
    spec = session.app.workflow(run.workflow_id) if session.names_app else None
    return graph_of_run(run, each_record(session.store, run.run_id), spec)


COMMANDS = (graph,)
