"""File tools stay in their folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.errors import InvalidInput
from abstractruntime.integrations.abstractcore import MappingToolExecutor, workspace_tools

SECRET = "outside-secret"


class Files:
    """The tools of a workspace, called as a model calls them."""

    def __init__(self, folder: Path) -> None:
        self._executor = MappingToolExecutor.from_tools(workspace_tools(folder))

    def __call__(self, name: str, **arguments: Any) -> dict[str, Any]:
        calls = [{"name": name, "arguments": arguments}]
        (result,) = self._executor.execute(tool_calls=calls)["results"]
        found: dict[str, Any] = result
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace beside a file that is none of its business."""
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other.txt").write_text(SECRET)
    inside = tmp_path / "workspace"
    inside.mkdir()
    (inside / "a.txt").write_text("héllo")
    (inside / "real").mkdir()
    (inside / "real" / "b.txt").write_text("b")
    (inside / "out").symlink_to(tmp_path / "elsewhere")
    (inside / "out.txt").symlink_to(tmp_path / "secret.txt")
    (inside / "back").symlink_to(inside / "real")
    (inside / "loop").symlink_to(inside / "loop")
    return inside


@pytest.fixture
def files(folder: Path) -> Files:
    return Files(folder)


def test_files_are_written_read_listed_and_deleted(files: Files) -> None:
    assert files("write_file", path="new/deep/c.txt", content="çc")["output"]["bytes"] == 3
    assert files("read_file", path="new/deep/c.txt")["output"]["content"] == "çc"
    assert files("read_file", path="./new//deep/./c.txt", start=1, length=1)["output"] == {
        "content": "c",
        "start": 1,
        "characters": 2,
    }
    assert [each["name"] for each in files("list_files", path="new")["output"]] == ["deep"]
    kinds = {each["name"]: each["kind"] for each in files("list_files")["output"]}
    assert (kinds["a.txt"], kinds["real"], kinds["out"]) == ("file", "folder", "link")
    assert files("delete_file", path="a.txt")["output"]["deleted"] is True
    assert files("delete_file", path="a.txt")["output"]["deleted"] is False


OUTSIDE = [
    "../secret.txt",
    "real/../../secret.txt",
    "real/..",
    "..",
    "/etc/passwd",
    "//etc/passwd",
    "~/x",
    "out/other.txt",
    "out.txt",
    "back/b.txt",
    "loop",
    "loop/x",
    "a\0b",
    "..\\secret.txt",
    "C:/x",
    "",
    ".",
]


@pytest.mark.parametrize("path", OUTSIDE, ids=repr)
@pytest.mark.parametrize("tool", ["read_file", "write_file", "delete_file", "list_files"])
def test_no_path_leads_out(tool: str, path: str, files: Files, folder: Path) -> None:
    if tool == "list_files" and path in ("", "."):
        return  # that is the workspace itself
    more = {"content": "x"} if tool == "write_file" else {}
    result = files(tool, path=path, **more)
    assert (result["success"], result["output"]) == (False, None)
    assert SECRET not in result["error"]
    assert (folder.parent / "secret.txt").read_text() == SECRET
    assert (folder.parent / "elsewhere" / "other.txt").read_text() == SECRET
    assert sorted(each.name for each in (folder.parent / "elsewhere").iterdir()) == ["other.txt"]


def test_an_absolute_path_to_a_file_inside_is_refused_too(files: Files, folder: Path) -> None:
    assert files("read_file", path=str(folder / "a.txt"))["success"] is False


def test_a_folder_that_becomes_a_link_between_two_calls_is_not_followed(
    files: Files, folder: Path
) -> None:
    assert files("read_file", path="real/b.txt")["success"] is True
    (folder / "real").rename(folder / "moved")
    (folder / "real").symlink_to(folder.parent / "elsewhere")
    assert files("read_file", path="real/other.txt")["success"] is False
    assert files("write_file", path="real/new.txt", content="x")["success"] is False


def test_a_pipe_is_no_file_and_holds_nobody_up(files: Files, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert "is no file" in files("read_file", path="pipe")["error"]


def test_a_file_that_is_not_there_is_told_by_the_path_that_was_given(files: Files) -> None:
    error = files("read_file", path="real/none.txt")["error"]
    assert "real/none.txt" in error
    assert "No such file" in error


def test_what_is_there_is_replaced_whole(files: Files, folder: Path) -> None:
    files("write_file", path="a.txt", content="new")
    assert (folder / "a.txt").read_text() == "new"
    assert [each.name for each in folder.iterdir() if each.name.endswith(".tmp")] == []
    assert files("write_file", path="real", content="x")["success"] is False
    assert [each.name for each in folder.iterdir() if each.name.endswith(".tmp")] == []


def test_a_workspace_is_a_folder_that_exists(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        workspace_tools(tmp_path / "none")
