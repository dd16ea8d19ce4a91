"""Bulk data beside runs: ids, references, owners, and what a crash leaves."""

import dataclasses
import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.errors import InvalidIdentifier, NotJson
from abstractruntime.storage import artifacts
from abstractruntime.storage.artifacts import (
    Artifact,
    ArtifactMetadata,
    ArtifactStore,
    FileArtifactStore,
    InMemoryArtifactStore,
    artifact_ref,
    compute_artifact_id,
    get_artifact_id,
    is_artifact_ref,
    resolve_artifact,
    validate_artifact_id,
)

ABC = "ba7816bf8f01cfea414140de5dae2223"


@pytest.fixture(params=["memory", "files"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ArtifactStore:
    minutes = iter(range(10_000))
    monkeypatch.setattr(artifacts, "utc_now", lambda: f"2026-01-01T{next(minutes):05}")
    return InMemoryArtifactStore() if request.param == "memory" else FileArtifactStore(tmp_path)


def ids(found: list[ArtifactMetadata]) -> list[str]:
    return [each.artifact_id for each in found]


# ---- ids, references, values


def test_the_golden_id() -> None:
    assert compute_artifact_id(b"abc") == ABC == hashlib.sha256(b"abc").hexdigest()[:32]


@pytest.mark.parametrize("artifact_id", ["a", "A-1_b", ABC, "-", "x" * 256])
def test_letters_digits_hyphens_and_underscores_make_an_id(artifact_id: str) -> None:
    validate_artifact_id(artifact_id)


def test_an_empty_id_is_a_value_error_with_the_apis_text() -> None:
    with pytest.raises(ValueError, match=r"^artifact_id cannot be empty$") as caught:
        validate_artifact_id("")
    assert isinstance(caught.value, InvalidIdentifier)


@pytest.mark.parametrize(
    "artifact_id", ["../x", "a/b", "a.b", "a b", "é", "a\n", "a\x00", "x" * 257]
)
def test_any_other_id_is_refused(artifact_id: str) -> None:
    with pytest.raises(ValueError, match="Invalid artifact_id"):
        validate_artifact_id(artifact_id)


def test_the_refusal_of_an_id_has_the_apis_text() -> None:
    with pytest.raises(ValueError, match="Invalid") as caught:
        validate_artifact_id("../x")
    assert str(caught.value) == (
        "Invalid artifact_id '../x': "
        "must contain only alphanumeric characters, hyphens, and underscores"
    )


def test_a_reference_stands_for_an_artifact() -> None:
    assert artifact_ref("a") == {"$artifact": "a"}
    assert is_artifact_ref({"$artifact": "a"})
    assert get_artifact_id({"$artifact": "a"}) == "a"


@pytest.mark.parametrize(
    "other", [None, "a", {}, {"artifact": "a"}, {"$artifact": 1}, ["$artifact"]]
)
def test_anything_else_is_no_reference(store: ArtifactStore, other: Any) -> None:
    assert not is_artifact_ref(other)
    assert resolve_artifact(other, store) is None
    with pytest.raises(ValueError, match="not an artifact reference"):
        get_artifact_id(other)


def test_a_reference_is_resolved_by_a_store(store: ArtifactStore) -> None:
    store.store(b"abc")
    found = resolve_artifact(artifact_ref(ABC), store)
    assert found is not None
    assert found.content == b"abc"
    assert resolve_artifact(artifact_ref("nobody"), store) is None


def test_metadata_goes_to_json_and_back() -> None:
    metadata = ArtifactMetadata("a", "text/plain", 3, "2026", "r", {"k": "v"})
    assert list(metadata.to_dict()) == (
        ["artifact_id", "content_type", "size_bytes", "created_at", "run_id", "tags"]
    )
    assert ArtifactMetadata.from_dict({**metadata.to_dict(), "colour": "red"}) == metadata
    assert ArtifactMetadata("a", "t", 3, "2026") == ArtifactMetadata("a", "t", 3, "2026", None, {})


def test_an_artifact_is_read_as_bytes_text_or_json() -> None:
    artifact = Artifact(ArtifactMetadata("a", "application/json", 9, "2026"), b'{"z":"\xc3\xa9"}')
    assert (artifact.artifact_id, artifact.content_type) == ("a", "application/json")
    assert artifact.as_text() == '{"z":"é"}'
    assert artifact.as_json() == {"z": "é"}
    assert dataclasses.replace(artifact, content=b"\xe9").as_text("latin-1") == "é"


# ---- every store


def test_content_is_kept_under_the_id_it_has_by_itself(store: ArtifactStore) -> None:
    metadata = store.store(b"abc", content_type="text/plain", run_id="r", tags={"k": "v"})
    assert metadata.artifact_id == ABC
    assert (metadata.content_type, metadata.size_bytes) == ("text/plain", 3)
    assert (metadata.run_id, metadata.tags) == ("r", {"k": "v"})
    loaded = store.load(ABC)
    assert loaded == Artifact(metadata, b"abc")
    assert store.get_metadata(ABC) == metadata
    assert store.exists(ABC)


def test_the_defaults_are_those_of_the_api(store: ArtifactStore) -> None:
    metadata = store.store(b"")
    assert metadata.content_type == "application/octet-stream"
    assert (metadata.run_id, metadata.tags, metadata.size_bytes) == (None, {}, 0)


def test_an_unknown_artifact_is_none(store: ArtifactStore) -> None:
    assert store.load("nobody") is None
    assert store.get_metadata("nobody") is None
    assert not store.exists("nobody")
    assert store.delete("nobody") is False
    assert store.load_text("nobody") is None
    assert store.load_json("nobody") is None


def test_an_id_may_be_chosen_and_its_content_replaced(store: ArtifactStore) -> None:
    assert store.store(b"one", artifact_id="report").artifact_id == "report"
    store.store(b"three", artifact_id="report", content_type="text/plain")
    loaded = store.load("report")
    assert loaded is not None
    assert (loaded.content, loaded.metadata.size_bytes) == (b"three", 5)
    assert loaded.content_type == "text/plain"


@pytest.mark.parametrize("bad", ["", "../x", "a/b", "a.b"])
def test_a_bad_id_is_refused_by_every_verb(store: ArtifactStore, bad: str) -> None:
    for call in (
        lambda: store.store(b"", artifact_id=bad),
        lambda: store.load(bad),
        lambda: store.get_metadata(bad),
        lambda: store.exists(bad),
        lambda: store.delete(bad),
    ):
        with pytest.raises(ValueError, match="artifact_id"):
            call()


def test_ids_of_256_characters_have_content_of_their_own(store: ArtifactStore) -> None:
    store.store(b"one", artifact_id="x" * 256)
    store.store(b"two", artifact_id="x" * 255)
    assert store.load_text("x" * 256) == "one"
    assert store.load_text("x" * 255) == "two"
    assert sorted(map(len, ids(store.list_all()))) == [255, 256]


def test_buffers_are_stored_as_bytes_and_text_is_refused(store: ArtifactStore) -> None:
    buffer = bytearray(b"abc")
    metadata = store.store(buffer)
    buffer[0] = 0
    assert store.load_text(metadata.artifact_id) == "abc"
    assert store.store(memoryview(b"abc")).artifact_id == ABC
    with pytest.raises(TypeError):
        store.store("abc")  # type: ignore[arg-type]


def test_texts_and_json_values_come_back(store: ArtifactStore) -> None:
    text = store.store_text("Zoë", run_id="r", tags={"k": "v"})
    assert (text.content_type, text.size_bytes, text.run_id) == ("text/plain", 4, "r")
    assert store.load_text(text.artifact_id) == "Zoë"
    latin = store.store_text("é", encoding="latin-1")
    assert store.load_text(latin.artifact_id, encoding="latin-1") == "é"
    value = {"n": 2**70, "list": [None, 1.5], "é": "\u0000"}
    kept = store.store_json(value, artifact_id="chosen")
    assert (kept.content_type, kept.artifact_id) == ("application/json", "chosen")
    assert store.load_json("chosen") == value


def test_what_json_cannot_hold_is_refused_with_its_path(store: ArtifactStore) -> None:
    with pytest.raises(NotJson) as caught:
        store.store_json({"when": [object()]})
    assert caught.value.where["path"] == "$.when[0]"
    assert store.list_all() == []


def test_metadata_handed_out_cannot_change_what_is_stored(store: ArtifactStore) -> None:
    tags = {"k": "v"}
    given = store.store(b"abc", run_id="r", tags=tags)
    tags["k"] = given.tags["k"] = "changed"
    for found in (store.get_metadata(ABC), store.list_all()[0], store.list_by_run("r")[0]):
        assert found is not None
        assert found.tags == {"k": "v"}
        found.tags["k"] = "changed"
    loaded = store.load(ABC)
    assert loaded is not None
    assert loaded.metadata.tags == {"k": "v"}


def test_artifacts_are_listed_newest_first_all_or_by_run(store: ArtifactStore) -> None:
    for name, run_id in (("a", "r"), ("b", "s"), ("c", "r"), ("d", None)):
        store.store(name.encode(), artifact_id=name, run_id=run_id)
    assert ids(store.list_all()) == ["d", "c", "b", "a"]
    assert ids(store.list_all(limit=2)) == ["d", "c"]
    assert ids(store.list_by_run("r")) == ["c", "a"]
    assert store.list_by_run("nobody") == []


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["c", "b", "a"]),
        ({"run_id": "r"}, ["b", "a"]),
        ({"content_type": "text/plain"}, ["c", "a"]),
        ({"tags": {"k": "v"}}, ["c", "b"]),
        ({"tags": {"k": "v", "l": "w"}}, ["b"]),
        ({"tags": {"k": "other"}}, []),
        ({"tags": {}}, ["c", "b", "a"]),
        ({"run_id": "r", "content_type": "text/plain", "tags": None}, ["a"]),
        ({"limit": 1}, ["c"]),
        ({"limit": 0}, []),
    ],
)
def test_a_search_finds_what_matches_all_that_is_asked(
    store: ArtifactStore, asked: dict[str, Any], expected: list[str]
) -> None:
    store.store_text("a", artifact_id="a", run_id="r")
    store.store(b"b", artifact_id="b", run_id="r", tags={"k": "v", "l": "w"})
    store.store_text("c", artifact_id="c", run_id="s", tags={"k": "v"})
    assert ids(store.search(**asked)) == expected


def test_a_deleted_artifact_is_gone(store: ArtifactStore) -> None:
    store.store(b"abc", run_id="r")
    assert store.delete(ABC) is True
    assert not store.exists(ABC)
    assert store.list_by_run("r") == []
    assert store.delete(ABC) is False


# ---- owners


def test_deleting_a_runs_artifacts_takes_all_of_them_and_says_how_many(
    store: ArtifactStore,
) -> None:
    store.store(b"one", run_id="r")
    store.store(b"two", run_id="r")
    store.store(b"three", run_id="s")
    store.store(b"four")
    assert store.delete_by_run("r") == 2
    assert len(store.list_all()) == 2
    assert store.delete_by_run("r") == 0
    assert store.delete_by_run("nobody") == 0


@pytest.mark.parametrize("first", ["r", "s"])
def test_content_that_two_runs_stored_survives_when_one_of_them_goes(
    store: ArtifactStore, first: str
) -> None:
    store.store(b"abc", run_id="r", tags={"of": "r"}, content_type="text/plain")
    store.store(b"abc", run_id="s", tags={"of": "s"})
    other = "s" if first == "r" else "r"
    assert store.delete_by_run(first) == 1
    assert store.load_text(ABC) == "abc"
    assert store.list_by_run(first) == []
    (left,) = store.list_by_run(other)
    assert (left.run_id, left.tags) == (other, {"of": other})
    assert store.get_metadata(ABC) == left
    assert store.delete_by_run(other) == 1
    assert not store.exists(ABC)


def test_content_that_was_stored_for_nobody_survives_the_run_that_stored_it_too(
    store: ArtifactStore,
) -> None:
    store.store(b"abc", tags={"of": "nobody"})
    store.store(b"abc", run_id="r")
    assert store.delete_by_run("r") == 1
    left = store.get_metadata(ABC)
    assert left is not None
    assert (left.run_id, left.tags) == (None, {"of": "nobody"})


def test_each_owner_is_told_what_it_said_itself(store: ArtifactStore) -> None:
    store.store(b"abc", run_id="r", tags={"of": "r"}, content_type="text/plain")
    store.store(b"abc", run_id="s", tags={"of": "s"})
    assert [each.run_id for each in store.list_all()] == ["s"]
    assert store.search(run_id="r", tags={"of": "r"}, content_type="text/plain") != []
    assert store.search(run_id="r", tags={"of": "s"}) == []


def test_a_run_that_stores_the_same_content_again_owns_it_once(store: ArtifactStore) -> None:
    store.store(b"abc", run_id="r", tags={"try": "1"})
    store.store(b"abc", run_id="r", tags={"try": "2"})
    (mine,) = store.list_by_run("r")
    assert mine.tags == {"try": "2"}
    assert store.delete_by_run("r") == 1
    assert not store.exists(ABC)


def test_a_chosen_id_that_another_run_wrote_over_stays_for_both(store: ArtifactStore) -> None:
    store.store(b"one", artifact_id="report", run_id="r")
    store.store(b"three", artifact_id="report", run_id="s")
    assert store.list_by_run("r")[0].size_bytes == 5
    store.delete_by_run("s")
    assert store.load_text("report") == "three"


def test_threads_that_store_the_same_content_all_become_owners(store: ArtifactStore) -> None:
    def keep(name: str) -> None:
        for number in range(10):
            store.store(b"abc", run_id=f"{name}{number}")

    threads = [threading.Thread(target=keep, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in "ab":
        for number in range(10):
            assert ids(store.list_by_run(f"{name}{number}")) == [ABC]
