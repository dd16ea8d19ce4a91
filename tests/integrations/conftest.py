"""A model that answers by a script, new for each test."""

from collections.abc import Iterator

import pytest

from tests.integrations.stub import Stub, serving


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as model:
        yield model
