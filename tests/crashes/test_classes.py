"""A process dies before or after each call of a run with one effect of each delivery class."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from abstractruntime.storage.base import Capability
from tests.crashes.classes import DeliveryTrial, classes
from tests.crashes.grounds import ground
from tests.crashes.trial import Ground, Point, every_point

pytestmark = pytest.mark.timeout(90)

STORES = pytest.mark.parametrize("kind", ["memory", "sqlite", "pair", "files"])
DRIVERS = pytest.mark.parametrize("awaiting", [False, True], ids=["blocking", "awaiting"])


def trial(here: Ground, *points: Point, gives_up: bool = False) -> DeliveryTrial:
    workflow = partial(classes, sql=Capability.TRANSACTIONAL in here.beneath.capabilities)
    found = DeliveryTrial(here, workflow, gives_up=gives_up)
    found.play(*points)
    found.judge_classes()
    return found


@DRIVERS
@STORES
def test_each_class_keeps_its_promise_wherever_its_process_dies(
    kind: str, awaiting: bool, tmp_path: Path
) -> None:
    said: Counter[str] = Counter()
    with ground(kind, tmp_path, awaiting=awaiting) as here:
        calls = trial(here).fuses[0].calls
        failures = []
        for gives_up in (False, True):
            for point in every_point(calls):
                try:
                    found = trial(here, point, gives_up=gives_up)
                except AssertionError as error:
                    failures.append(f"{point} {calls[point[0] - 1]}: {str(error)[:160]}")
                    continue
                if found.surfaced:
                    seen = any(
                        one.node_id == "pay" and one.attempt == 1 for one in found.witness.performed
                    )
                    said["completed" if seen else "fail" if gives_up else "retry"] += 1
        assert failures == []
    print(f"{kind}: {2 * len(calls)} points, resolved {dict(said)}")
    assert min(said["completed"], said["retry"], said["fail"]) > 0, said
