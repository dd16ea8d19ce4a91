"""The page on AbstractCore asks a model: one that answers by a script, at `MODEL_URL`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.stub import Asked, serving, tool_call


def model(asked: Asked, _: int) -> str:
    """What the page expects its model to say."""
    if "JSON Schema" in asked.prompt:
        return '{"total": 14}'
    if "2 x lamp = 14 EUR" in asked.prompt:
        return "14 EUR."
    if "Price of 2 lamps?" in asked.prompt:
        return tool_call("price_of", thing="lamp", count=2)
    return "Hello."


@pytest.fixture(autouse=True)
def model_of_the_page(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    page = getattr(request.node, "callspec", None) and request.node.callspec.params.get("page")
    if not isinstance(page, Path) or page.name != "abstractcore.md":
        yield
        return
    with serving(model) as stub:
        monkeypatch.setenv("MODEL_URL", stub.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield
