"""Random workflows with crashes anywhere: chains, loops, waits, timers, retries, children, growth.

Examples are derived from the code, so each run tries the same ones; a failure prints the shape.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from abstractruntime.testing.crashes import When
from abstractruntime.testing.workflows import KINDS, Shape, Stage, build, random_shape
from tests.crashes.grounds import ground
from tests.crashes.trial import Trial, clean

PLAIN_STAGES = st.builds(Stage, st.sampled_from(KINDS[:-1]), st.integers(1, 4))


def with_children(inner: st.SearchStrategy[Stage]) -> st.SearchStrategy[Stage]:
    shapes = st.lists(inner, min_size=1, max_size=3).map(lambda stages: Shape(tuple(stages)))
    return st.builds(Stage, st.just("child"), st.just(1), shapes)


STAGES = st.one_of(PLAIN_STAGES, with_children(PLAIN_STAGES), with_children(PLAIN_STAGES))
SHAPES = st.lists(STAGES, min_size=1, max_size=7).map(lambda stages: Shape(tuple(stages)))
POINTS = st.lists(
    st.tuples(st.integers(1, 60), st.sampled_from(list(When))), min_size=1, max_size=3
)

BOUNDED = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def check(here: Any, shape: Shape, points: list[tuple[int, When]], *, backoff: float = 0.0) -> None:
    workflow = partial(build, shape, backoff=backoff)
    output, calls = clean(here, workflow)
    note(f"{shape}\n{len(calls)} calls, crashes at {points}")
    Trial(here, workflow).play(*points).judge(output)


@pytest.mark.parametrize("awaiting", [False, True], ids=["blocking", "awaiting"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@BOUNDED
@given(shape=SHAPES, points=POINTS)
def test_a_random_workflow_ends_as_if_nothing_had_crashed(
    kind: str, awaiting: bool, tmp_path: Path, shape: Shape, points: list[tuple[int, When]]
) -> None:
    with ground(kind, tmp_path, awaiting=awaiting) as here:
        check(here, shape, points)


@BOUNDED
@given(shape=SHAPES, points=POINTS)
def test_a_random_workflow_on_a_pair_ends_as_if_nothing_had_crashed(
    tmp_path: Path, shape: Shape, points: list[tuple[int, When]]
) -> None:
    with ground("pair", tmp_path) as here:
        check(here, shape, points)


@BOUNDED
@given(shape=SHAPES, points=POINTS)
def test_a_random_workflow_driven_one_node_at_a_time_ends_as_if_nothing_had_crashed(
    tmp_path: Path, shape: Shape, points: list[tuple[int, When]]
) -> None:
    with ground("memory", tmp_path, max_steps=1) as here:
        check(here, shape, points)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@BOUNDED
@given(shape=SHAPES, points=POINTS)
def test_a_random_workflow_that_a_scheduler_moves_ends_as_if_nothing_had_crashed(
    kind: str, tmp_path: Path, shape: Shape, points: list[tuple[int, When]]
) -> None:
    """Here attempts are minutes apart: every backoff is a row with a wake time."""
    with ground(kind, tmp_path, scheduled=True) as here:
        check(here, shape, points, backoff=60.0)


def test_a_seed_gives_the_same_shape_each_time() -> None:
    shapes = [random_shape(seed) for seed in range(50)]
    assert shapes == [random_shape(seed) for seed in range(50)]
    kinds = {stage.kind for shape in shapes for stage in shape.stages}
    assert kinds == set(KINDS)
