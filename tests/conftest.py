"""One JupyterLab and one of each browser for all tests marked `browser`; they start when a test first asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import lab as harness


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Server]:
    """A JupyterLab that serves an empty folder."""
    with harness.jupyterlab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="session")
def browsers() -> Iterator[harness.Browsers]:
    """Chromium, with and without WebGL."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = harness.Browsers(playwright)
        yield started
        started.close()
