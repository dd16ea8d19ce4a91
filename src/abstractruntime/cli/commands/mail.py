"""send, emit, messages: what runs are told from outside, and what of it they have not read."""

from __future__ import annotations

import math
from typing import Any

import click

from abstractruntime.cli.after import report, workflow_of
from abstractruntime.cli.commands.moves import follow
from abstractruntime.cli.console import json_text, progress, safe, say
from abstractruntime.cli.exits import Exit
from abstractruntime.cli.given import JsonValue, Parsed
from abstractruntime.cli.session import Session
from abstractruntime.cli.surface import command
from abstractruntime.core.commit import Message
from abstractruntime.core.machine.mail import heard_keys
from abstractruntime.engine.runtime import Runtime
from abstractruntime.errors import UnknownRun

LONGEST_PAYLOAD = 200
"""Characters of a payload that are worth showing; --json has all of it."""

payload_option = click.option(
    "--payload", type=JsonValue(), default="{}", show_default=True, help="What is sent."
)
key_option = click.option(
    "--dedupe-key", metavar="KEY", help="A message whose key the run was sent before is not sent."
)
ttl_option = click.option(
    "--ttl", type=float, metavar="SECONDS", help="After so long it is not delivered any more."
)


@command("send")
@click.argument("run_id", metavar="RUN")
@click.argument("name")
@payload_option
@key_option
@ttl_option
@click.option("--early", is_flag=True, help="RUN is the id of a run that is yet to be started.")
def send(
    session: Session,
    run_id: str,
    name: str,
    payload: Parsed,
    dedupe_key: str | None,
    ttl: float | None,
    early: bool,
) -> Exit:
    """Send a message to a run.

    It stays in the run's mailbox until the run waits for NAME. When it does so now, and --app names
    the program, the run is moved on.
    """
    store = session.create_store() if early else session.store
    try:
        found = session.run_id(run_id)
    except UnknownRun:
        if not early:
            raise
        found = run_id
    message_id = Runtime(store=store).send(
        found, name, payload.value, dedupe_key=dedupe_key, ttl_s=ttl
    )
    loaded = store.load(found)
    if loaded is not None and name in heard_keys(loaded.run):
        if session.names_app:
            return _moved(session, found)
        say(f"next: {session.command('continue', session.short(found))}", stderr=session.json)
    if session.json:
        session.write({"run_id": found, "message_id": message_id})
    else:
        when = "it waits for" if loaded is not None else "it is started and waits for"
        say(f"sent to {safe(found, 60)}; read when {when} {safe(name, 60)}")
    return Exit.OK


def _moved(session: Session, run_id: str) -> Exit:
    runtime = session.runtime
    workflow = workflow_of(session, runtime.get_state(run_id))
    with progress("sending", quiet=session.json) as line:
        follow(runtime, line)
        after = runtime.tick(workflow=workflow, run_id=run_id, max_steps=math.inf)
    return report(session, after)


@command("emit")
@click.argument("name")
@payload_option
@key_option
@ttl_option
def emit(
    session: Session, name: str, payload: Parsed, dedupe_key: str | None, ttl: float | None
) -> Exit:
    """Send a message to every run that waits for NAME now.

    `continue`, or a scheduler, moves them on.
    """
    runtime = Runtime(store=session.store)
    reached = runtime.emit(name, payload.value, dedupe_key=dedupe_key, ttl_s=ttl)
    if session.json:
        session.write({"name": name, "reached": reached})
        return Exit.OK
    say(f"{reached:,} {'run' if reached == 1 else 'runs'} reached")
    if reached:
        say(f"next: {session.command('continue', app=True)}", whole=True)
    return Exit.OK


@command("messages")
@click.argument("run_id", metavar="RUN")
@click.option("--dead", is_flag=True, help="Those that no wait will take any more, and why.")
def messages(session: Session, run_id: str, dead: bool) -> Exit:
    """List what a run was sent and has not read."""
    found = session.run_id(run_id)
    runtime = Runtime(store=session.store)
    listed: list[tuple[Message, str | None]] = (
        [(letter.message, letter.reason) for letter in runtime.list_dead_letters(found)]
        if dead
        else [(message, None) for message in runtime.list_messages(found)]
    )
    if session.json:
        session.write({"run_id": found, "messages": [_document(*each) for each in listed]})
        return Exit.OK
    if not listed:
        say("no dead letters" if dead else "no unread messages")
    for message, reason in listed:
        by = f" by {safe(message.sent_by, 40)}" if message.sent_by else ""
        say(f"{safe(message.name, 60)}  sent {message.sent_at}{by}")
        say(f"  {safe(json_text(message.payload), LONGEST_PAYLOAD)}")
        if reason is not None:
            say(f"  {reason}", style="yellow")
    return Exit.OK


def _document(message: Message, reason: str | None) -> dict[str, Any]:
    document = {
        "message_id": message.message_id,
        "name": message.name,
        "payload": message.payload,
        "sent_at": message.sent_at,
        "sent_by": message.sent_by,
        "dedupe_key": message.dedupe_key,
        "expires_at": message.expires_at,
    }
    return document if reason is None else {**document, "reason": reason}


COMMANDS = (send, emit, messages)
