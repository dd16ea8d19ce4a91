"""What must hold of the runs of a World after each action, as its Model has them."""

from __future__ import annotations

from typing import Any

from abstractruntime import RunState, verify_ledger_chain
from abstractruntime.inspect.standing import standing_of
from tests.property.model import ENDED, Model, Run
from tests.property.world import World


class Checks:
    """Compares the runs of `world` with those of `model`.

    `seen` are the wait ids by the model's numbers of waits; `sound` whether all that was compared
    was the same.
    """

    world: World
    model: Model
    lazy: bool
    crashes: int
    sound: bool
    seen: dict[str, dict[int, str]]

    def check_family(self, run_id: str) -> None:
        """Check a run, those above it and those below."""
        run = self.model.runs[run_id]
        while run.parent is not None:
            run = self.model.runs[run.parent]
        family = [run]
        for one in family:
            family += [each for each in self.model.runs.values() if each.parent == one.run_id]
            self.check(one)

    def check(self, run: Run) -> None:
        """The store shows the run as the model has it, and its ledger says why."""
        self.sound = False
        state = self.world.state(run.run_id)
        shown = {name: value for name, value in state.vars.items() if name != "_limits"}
        same((state.status.value, state.current_node), (run.status, run.node))
        same(shown, run.vars)
        same((state.output, state.error), (run.output, run.error))
        self.check_standing(run, state)
        records = self.world.store.list_records(run.run_id)
        if records and records[0].get("record_hash"):
            assert verify_ledger_chain(records)["ok"]
        said, log = self.world.log(records), run.log
        if self.lazy:  # such a store journals edits when the run moves, several as one
            said, log = ([one for one in many if one != ("edited",)] for many in (said, log))
        same(said, log)
        self.check_effects(run)
        self.sound = True

    def check_standing(self, run: Run, state: RunState) -> None:
        at, wait = state.checkpoint, run.wait
        assert at is not None
        if run.node == run.noticed:
            same(dict(at.visits), run.visits)
        standing = "ended" if run.status in ENDED else "parked"
        if wait is not None:
            standing = "timed" if wait["reason"] == "until" else "waiting"
            assert state.waiting is not None
            shown = (state.waiting.reason.value, state.waiting.wait_key)
            same(shown, (wait["reason"], wait["key"]))
            if "" in at.waits:
                self.seen.setdefault(run.run_id, {})[wait["number"]] = at.waits[""].wait_id
        same(standing_of(state), standing)

    def check_effects(self, run: Run) -> None:
        """Each effect was performed, none again after its commit, few more often than once."""
        programs = self.world.programs
        again = [step for step in programs.repeated if step.run_id == run.run_id]
        assert not again, again
        mine = {entry: n for entry, n in programs.performed.items() if entry[0] == run.run_id}
        same({entry[1:] for entry in mine}, run.performed)
        assert sum(mine.values()) <= len(mine) + self.crashes
        programs.known |= {programs.keys[entry] for entry in mine}


def same(found: Any, expected: Any) -> None:
    assert found == expected, f"the store has {found}, the model {expected}"
