"""Actor ids derived from what an actor is."""

import dataclasses
import hashlib
import json

import pytest

from abstractruntime.identity import ActorFingerprint


def test_the_golden_actor_id() -> None:
    actor = ActorFingerprint.from_metadata(kind="agent", display_name="test-agent")
    assert actor.actor_id == "ar_b4a2bf0b7b6a03bcf15ed837"


def test_the_id_is_the_sha256_of_the_canonical_description() -> None:
    actor = ActorFingerprint.from_metadata(
        kind="human", display_name="Zoë", metadata={"b": 1, "a": ["x"]}
    )
    canonical = json.dumps(
        {"kind": "human", "display_name": "Zoë", "metadata": {"b": 1, "a": ["x"]}},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    assert actor.actor_id == "ar_" + hashlib.sha256(canonical.encode()).hexdigest()[:24]


def test_equal_descriptions_give_equal_ids_whatever_the_order_of_their_keys() -> None:
    one = ActorFingerprint.from_metadata(kind="service", metadata={"a": 1, "b": 2})
    other = ActorFingerprint.from_metadata(kind="service", metadata={"b": 2, "a": 1})
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "human", "display_name": "a"},
        {"kind": "agent", "display_name": "b"},
        {"kind": "agent", "display_name": "a", "metadata": {"x": 1}},
        {"kind": "agent"},
    ],
)
def test_another_description_gives_another_id(other: dict[str, object]) -> None:
    agent = ActorFingerprint.from_metadata(kind="agent", display_name="a")
    assert ActorFingerprint.from_metadata(**other).actor_id != agent.actor_id  # type: ignore[arg-type]


def test_no_metadata_and_empty_metadata_are_the_same_actor() -> None:
    none = ActorFingerprint.from_metadata(kind="agent")
    empty = ActorFingerprint.from_metadata(kind="agent", metadata={})
    assert none.actor_id == empty.actor_id


def test_to_dict_names_the_four_fields() -> None:
    actor = ActorFingerprint.from_metadata(kind="agent", display_name="a", metadata={"x": 1})
    assert actor.to_dict() == {
        "actor_id": actor.actor_id,
        "kind": "agent",
        "display_name": "a",
        "metadata": {"x": 1},
    }


def test_an_actor_cannot_be_changed_not_even_by_the_metadata_it_was_made_from() -> None:
    metadata: dict[str, object] = {"x": 1}
    actor = ActorFingerprint.from_metadata(kind="agent", metadata=metadata)
    metadata["x"] = 2
    assert actor.metadata == {"x": 1}
    with pytest.raises(dataclasses.FrozenInstanceError):
        actor.kind = "human"  # type: ignore[misc]


def test_metadata_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError):
        ActorFingerprint.from_metadata(kind="agent", metadata={"x": {1, 2}})
