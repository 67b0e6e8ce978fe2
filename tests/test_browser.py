"""The viewers in a real JupyterLab and a real browser: sliders move pictures, and nothing leaves the machine.

Needs Chromium. JupyterLab runs in folders of its own, so that no setting of the user's matters.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from run_parts import BROWSERS

# Waits poll; their sum may exceed the time that other tests get.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

SET_UP = """
import sys
sys.path.insert(0, TESTS)
import voco_lite as vl
from tiny_run import tiny_config, tiny_volumes
config, volume = tiny_config(), tiny_volumes(1)[0]
"""
CELLS = (SET_UP, "vl.viewers.explore_positions(None, volume, config.crops)", "vl.viewers.slices(volume)")
FLAGS = shlex.split(
    "--no-sandbox --disable-gpu --disable-3d-apis --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
KERNEL_IS_READY = """() => {
    const kernel = window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel;
    return kernel?.connectionStatus === "connected" && kernel?.status === "idle";
}"""
# Cells outside the window are in the page too.
TRACKER = {"windowingMode": "none"}
_START_S, _CELLS_S, _MOVE_S = 120, 240, 60


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def write_notebook(path):
    import nbformat

    book = nbformat.v4.new_notebook()
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    tests = str(Path(__file__).parent)
    book.cells = [nbformat.v4.new_code_cell(cell.replace("TESTS", repr(tests))) for cell in CELLS]
    nbformat.write(book, path)


def settings_folder(home):
    folder = home / "settings"
    target = folder / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps(TRACKER))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a JupyterLab that holds one notebook."""
    home = tmp_path_factory.mktemp("lab")
    work = home / "work"
    work.mkdir()
    write_notebook(work / "viewers.ipynb")
    port = free_port()
    own = {
        name: str(home / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(settings_folder(home)), "JUPYTERLAB_WORKSPACES_DIR": str(home / "spaces")}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={work}"]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url=", "--LabApp.check_for_updates_class="]
    command[-1] += "jupyterlab.NeverCheckForUpdate"
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(address, process, home / "log")
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def wait_for(address, process, log):
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/api", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


class Seen:
    """What a page did while it was open."""

    def __init__(self, page, address):
        self.page, self.errors, self.outside = page, [], []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._note(request.url, address))

    def _note(self, url, address):
        inside = (address, address.replace("http", "ws", 1), "data:", "blob:", "about:")
        if not url.startswith(inside):
            self.outside.append(url)


@pytest.fixture(scope="module")
def opened(server):
    """The notebook in the browser, with all of its cells run."""
    from playwright.sync_api import sync_playwright

    browser_path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser_path is None:
        pytest.skip("Chromium is absent")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1400})
        seen = Seen(page, server)
        page.goto(f"{server}/lab/tree/viewers.ipynb")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=_START_S * 1000)
        # The status line says "idle" before there is a kernel, and cells that are run too early wait for ever.
        page.wait_for_function(KERNEL_IS_READY, timeout=_START_S * 1000)
        page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        page.wait_for_selector(".jp-OutputArea .widget-image >> nth=1", timeout=_CELLS_S * 1000)
        yield seen
        browser.close()


def output(seen, number):
    """The output of a cell, from 0."""
    return seen.page.locator(".jp-Notebook .jp-CodeCell").nth(number)


def picture(cell):
    return cell.locator(".widget-image").get_attribute("src")


def press_until_it_moves(seen, cell, slider):
    """Move a slider by the keyboard; returns the words below the picture before and after."""
    words, handle = cell.locator('[role="status"]'), cell.locator(".noUi-handle").nth(slider)
    before = words.inner_text()
    deadline = time.monotonic() + _MOVE_S
    # A key that is pressed while the page still settles is lost.
    while words.inner_text() == before and time.monotonic() < deadline:
        handle.focus()
        handle.press("ArrowLeft")
        seen.page.wait_for_timeout(1000)
    return before, words.inner_text()


def test_moving_a_crop_changes_picture_and_words(opened):
    cell = output(opened, 1)
    shown = picture(cell)
    before, after = press_until_it_moves(opened, cell, slider=0)
    assert "Sum 1.00" in before and "Sum 1.00" in after and before != after
    assert picture(cell) != shown


def test_moving_through_a_volume_changes_the_slices(opened):
    cell = output(opened, 2)
    shown = picture(cell)
    before, after = press_until_it_moves(opened, cell, slider=2)
    assert before != after and picture(cell) != shown


def test_pictures_are_not_blank(opened):
    for number in (1, 2):
        size = output(opened, number).locator(".widget-image").bounding_box()
        assert size["width"] > 100 and size["height"] > 100


def test_no_cell_ended_in_an_error(opened):
    errors = opened.page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]')
    assert errors.count() == 0, errors.first.inner_text()


def test_the_page_raised_no_error(opened):
    assert opened.errors == []


def test_nothing_was_asked_of_another_machine(opened):
    assert opened.outside == []
