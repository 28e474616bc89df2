"""Fixtures of the handle tests: a server on loopback and a cache of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from handles.server import Reply, Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({"/module": Reply()}) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("THAW_CACHE_DIR", str(folder))
    return folder
