"""Why a run stands where it does, in words for a person: one short paragraph."""

from __future__ import annotations

import re
from collections.abc import Iterator

from abstractruntime.core.canonical import encode
from abstractruntime.inspect.spans import ago, coming, lasting, moment, past
from abstractruntime.inspect.text import one_line
from abstractruntime.inspect.why import Trying, Unread, Waiting, Why, is_over

LONGEST = 160
"""Columns of a question, an error or a reason."""

FEW = 3
"""Waits of branches, and names of unread messages, that are told one by one."""

_NO_HANDLER = re.compile(r"No effect handler registered for ([^\s]+)")
_NO_FUNCTION = re.compile(r"Unknown function '([^']+)'")


def explain(why: Why, *, now: str) -> str:
    """The paragraph, as of `now`; what came from the run is safe to show."""
    return " ".join(_sentences(why, now))


def _sentences(why: Why, now: str) -> Iterator[str]:
    name = f"Run {why.short} ({_safe(why.workflow_id, 60)})"
    if is_over(why.status):
        yield from _ended(why, name, now)
        return
    yield f"{name} {_headline(why, now)}."
    yield from _pause(why, now)
    yield from _hold(why, now)
    yield from _join(why)
    for wait in why.waits[:FEW] if why.join else why.waits:
        yield from _wait(why, wait, now)
    hidden = len(why.waits[FEW:]) + why.more_waits if why.join else why.more_waits
    if hidden:
        yield f"{hidden} more {_be(hidden, 'branch waits', 'branches wait')}."
    for trying in why.trying[:FEW]:
        yield from _try(why, trying, now)
    hidden = len(why.trying[FEW:]) + why.more_trying
    if hidden:
        yield f"{hidden} more {_be(hidden, 'step is', 'steps are')} open."
    yield from _mail(why.unread, now)
    if why.deadline is not None:
        said = "passed" if past(why.deadline, now) else "is"
        yield f"Its deadline {said} {_at(why.deadline, now)}; it fails if it has not ended by then."


def _ended(why: Why, name: str, now: str) -> Iterator[str]:
    if why.status == "completed":
        yield f"{name} completed {ago(why.since, now)} and waits for nothing."
        return
    error = _safe(why.error or "nothing says why")
    if why.status == "cancelled":
        yield f"{name} was cancelled {ago(why.since, now)}: {error}. Nothing moves it any more."
        return
    yield f"{name} failed {ago(why.since, now)} at node '{_safe(why.node, 60)}': {_stop(error)}"
    yield from _missing(why.error)
    yield "Nothing moves it until it is reopened; the ledger shows each step."


def _missing(error: str | None) -> Iterator[str]:
    """What the program lacked, when that is what the error says."""
    if found := _NO_HANDLER.search(error or ""):
        kind = _safe(found[1], 60)
        yield (
            f"The program that moved it has no handler for the effect '{kind}': "
            f"give its Runtime effect_handlers={{'{kind}': …}}, then reopen the run."
        )
    elif found := _NO_FUNCTION.search(error or ""):
        function = _safe(found[1], 60)
        yield (
            f"The workflow has no function '{function}': "
            "decorate it with @workflow.function, then reopen the run."
        )


def _headline(why: Why, now: str) -> str:
    node = f"at node '{_safe(why.node, 60)}'"
    if why.paused is not None:
        return f"is paused {node}"
    match why.standing:
        case "driven":
            return f"is being moved {node}"
        case "recoverable":
            return f"stopped {node} because whoever moved it died"
        case "queued":
            return f"is ready to go on {node}"
        case "parked":
            return f"stands {node} and is moved by the program that started it, step by step"
        case "timed" if why.status == "running":
            return f"is between two attempts {node}"
    return f"waits {node}"


def _pause(why: Why, now: str) -> Iterator[str]:
    paused = why.paused
    if paused is None:
        return
    reason = paused.get("reason")
    by = f"by {_safe(paused['actor'], 60)} " if paused.get("actor") else ""
    if paused.get("cause") == "exhausted":
        yield f"It paused itself {ago(paused['at'], now)}: {_stop(_safe(reason or ''))}"
        yield "Once unpaused it tries again."
        return
    because = f": {_stop(_safe(reason))}" if reason else ", without a reason."
    yield f"It was paused {by}{ago(paused['at'], now)}{because}"
    yield "Nobody moves it until it is unpaused; what it waits for stays open."


def _hold(why: Why, now: str) -> Iterator[str]:
    driver = why.driver
    if driver is not None:
        where = f"process {driver['pid']} on {_safe(driver['host'], 60)}"
        if driver["live"]:
            yield f"It is in the hands of {where}, which last wrote {ago(why.since, now)}."
        else:
            yield (
                f"That was {where}, which last wrote {ago(why.since, now)}. Nothing is lost: "
                "the next scheduler, worker or `continue` goes on from there."
            )
    elif why.paused is None and why.standing == "queued":
        yield "It goes on when a scheduler, a worker or `continue` takes it; none has so far."
    elif why.paused is None and why.standing == "parked":
        yield f"That program last moved it {ago(why.since, now)}; schedulers leave it alone."


def _join(why: Why) -> Iterator[str]:
    join = why.join
    if join is None:
        return
    done, failed = join.get("completed", 0), join.get("failed", 0)
    left = join["total"] - done - failed
    said = f"Of {join['total']} branches {done} {_be(done, 'is', 'are')} done"
    if failed:
        said += f", {failed} failed"
    yield f"{said}, {left} {_be(left, 'is', 'are')} open."


def _wait(why: Why, wait: Waiting, now: str) -> Iterator[str]:
    who = f"Branch {wait.branch}" if why.join is not None else "It"
    since = f"since {moment(wait.since, now)} ({_bare_ago(wait.since, now)})"
    match wait.reason:
        case "unknown":
            yield (
                f"{who} was performing {_safe(wait.step or '', 80)} when it was cut short {since}, "
                f"and nobody knows whether that was done ({_safe(wait.unknown or '')})."
            )
            yield (
                "Find out, then say which: completed with its result, retry if it was not done, "
                "or fail."
            )
            return
        case "until":
            yield f"{who} waits until {coming(wait.until, now)}."
            yield from _late(wait, now)
            return
        case "user":
            question = f": “{_safe(wait.prompt)}”" if wait.prompt else ""
            yield f"{who} waits for a person {since}{_stop(question)}"
            if wait.choices:
                yield f"Choices: {_safe(', '.join(wait.choices))}."
        case "job":
            yield f"{who} waits for a job to report {since}."
        case "subworkflow":
            yield from _child(who, wait, since)
        case _:
            keys = " or ".join(f"'{_safe(key, 60)}'" for key in wait.keys[:5])
            yield f"{who} waits for the message {keys} {since}."
            yield from _letters(wait)
    if wait.limit:
        yield from _late(wait, now)


def _letters(wait: Waiting) -> Iterator[str]:
    if wait.ready:
        yield (
            f"{wait.ready} such {_be(wait.ready, 'message is', 'messages are')} there: it goes on "
            "when a scheduler, a worker or `continue` takes it."
        )
    elif wait.lapsed:
        yield f"{wait.lapsed} came, but expired before it was read."


def _late(wait: Waiting, now: str) -> Iterator[str]:
    """A time that has come and moved nothing yet; a limit that will."""
    if past(wait.until, now):
        what = "That time" if not wait.limit else f"Its time limit ({_at(wait.until, now)})"
        yield f"{what} is over and nothing has moved it yet: no scheduler or worker is running."
    elif wait.limit:
        yield f"It gives up waiting at {coming(wait.until, now)}."


def _child(who: str, wait: Waiting, since: str) -> Iterator[str]:
    child = wait.child or {}
    name = _safe(str(child.get("run_id") or "")[:8], 60)
    status = child.get("status")
    yield f"{who} waits for its child run {name} {since}."
    if status == "gone":
        yield "That run is not in this store."
    elif status == "waiting":
        for_ = {"user": "a person", "event": "a message", "until": "a time", "job": "a job"}
        below = for_.get(str(child.get("waits_for")), "a child of its own")
        yield f"The child in turn waits for {below}."
    elif status == "running":
        yield "The child has not ended."
    elif status is not None:
        yield f"The child has ended ({status}): the run goes on when it is moved next."


def _try(why: Why, step: Trying, now: str) -> Iterator[str]:
    who = f"Branch {step.branch}" if why.join is not None else "It"
    what = f"'{_safe(step.what, 60)}'"
    if step.error is not None:
        tried = step.attempt - 1 if step.due is not None else step.attempt
        when = f" {ago(step.failed_at, now)}" if step.failed_at else ""
        yield f"Attempt {max(1, tried)} at {what} failed{when}: {_stop(_safe(step.error))}"
    if step.due is not None:
        if why.paused is not None:
            yield f"Attempt {step.attempt} waits for the pause to end."
        elif past(step.due, now):
            yield (
                f"Attempt {step.attempt} has been due for {_bare_ago(step.due, now)}: "
                "no scheduler or worker has taken it yet."
            )
        else:
            yield f"Attempt {step.attempt} is due at {coming(step.due, now)}."
    elif why.standing == "recoverable" and step.begun:
        yield f"{who} was performing {what}; {_again(step)}."
    elif why.standing == "driven" and step.begun:
        yield f"{who} has been performing {what} for {_bare_ago(step.since, now)}."
        if step.progress is not None:
            yield f"It last reported {_safe(encode(step.progress).decode('utf-8'), 80)}."


def _again(step: Trying) -> str:
    if step.delivery == "at_most_once":
        return "it is not done twice: its handler is asked what became of it, else you are"
    if step.delivery == "transactional":
        return "nothing of that was written, and it is done again"
    return "that is done again, with the same idempotency key"


def _mail(unread: tuple[Unread, ...], now: str) -> Iterator[str]:
    for each in unread:
        if each.meant is not None:
            count = "A message" if each.count == 1 else f"{each.count} messages"
            yield (
                f"{count} came as '{_safe(each.name, 60)}' {ago(each.since, now)} and "
                f"{_be(each.count, 'is', 'are')} unread: is '{_safe(each.meant, 60)}' meant?"
            )
    others = [each for each in unread if each.meant is None]
    if others:
        names = ", ".join(f"'{_safe(each.name, 60)}'" for each in others[:FEW])
        more = " and others" if len(others) > FEW else ""
        yield f"Unread under other names: {names}{more}."


def _at(time: str | None, now: str) -> str:
    return "" if time is None else coming(time, now)


def _bare_ago(time: str, now: str) -> str:
    return ago(time, now).removesuffix(" ago") or lasting(0)


def _be(number: int, one: str, many: str) -> str:
    return one if number == 1 else many


def _stop(text: str) -> str:
    """A sentence's end with one full stop."""
    return text if text.endswith((".", "!", "?", "?”", ".”", "…")) else f"{text}."


def _safe(text: str, width: int = LONGEST) -> str:
    return one_line(text, width)
