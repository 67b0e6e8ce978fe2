"""A real JupyterLab, real browsers, and what a test asks a page: the harness of the tests marked `browser`.

Servers have folders of their own, so that no setting of the user's matters, and browsers can find no other machine.
Every wait polls, with a deadline for a slow machine.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from run_parts import BROWSERS, ROOT
from voco_lite.notebooks.run import checked_parameters, notebook_path

FLAGS = shlex.split(
    "--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'"
)
WEBGL = {
    True: ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
    False: ["--disable-gpu", "--disable-3d-apis"],
}
LABEXTENSION = Path(__file__).parents[1] / "voco_lite" / "viewers" / "labextension"
START_S, CELLS_S, MOVE_S = 180, 420, 120
# Of all renderers, only that of widgets is a panel; a progress bar, or a line of text, has no picture.
WIDGET = ".jp-OutputArea-output.lm-Panel:has(img, canvas)"
SLIDER = ".noUi-target:not([disabled]) .noUi-handle"
TEXT_BOX = ".widget-text input[type=text]:not([disabled])"
ERROR = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]'
# A cell outside the window is in the page too, and no question covers it.
SETTINGS: dict[str, dict[str, str]] = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false"},
}
_KERNEL_IS_READY = """() => {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
    return kernel?.connectionStatus === "connected" && kernel?.status === "idle";
}"""
_RUN_ALL = """() => {
    window.ranAll = undefined;
    window.jupyterapp.commands.execute("notebook:run-all-cells").then(done => { window.ranAll = done });
}"""
# The pixels that the browser shows; null while there are none.
_PIXELS = """image => {
    if (!image.complete || !image.naturalWidth) return null;
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/png");
}"""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """A running server.

    Attributes:
        address: Where it answers.
        work: The folder that it serves.
        log: What it wrote, and what its kernels did.
    """

    def __init__(self, address: str, home: Path) -> None:
        self.address, self.work, self.log = address, home / "work", home / "log"

    def tail(self) -> str:
        """The end of the log."""
        return "server's log:\n" + self.log.read_text(errors="replace")[-3000:]

    def put(self, name: str, folder: str) -> str:
        """Write a notebook of the project at CI size into a folder of its own; returns its place below `work`."""
        import nbformat
        from papermill.iorw import load_notebook_node
        from papermill.parameterize import parameterize_notebook

        path = notebook_path(name)
        values = checked_parameters(path, {"SIZE": "ci"})
        made = parameterize_notebook(load_notebook_node(str(path)), values, kernel_name="python3", language="python")
        place = self.work / folder / path.name
        place.parent.mkdir()
        nbformat.write(made, place)
        return str(place.relative_to(self.work))


@contextlib.contextmanager
def serve(home: Path, command: list[str], probe: str = "/") -> Iterator[Server]:
    """Run a Jupyter server with its folders below ``home`` until the block ends.

    Args:
        home: An empty folder.
        command: Starts it; "{port}" and "{work}" are filled in.
        probe: A path that answers once the server is up.
    """
    port = free_port()
    server = Server(f"http://127.0.0.1:{port}", home)
    server.work.mkdir(exist_ok=True)
    filled = [part.format(port=port, work=server.work) for part in command]
    with server.log.open("w") as log:
        process = subprocess.Popen(
            filled, cwd=ROOT, env=os.environ | own_folders(home), stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_for(server, process, probe)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def own_folders(home: Path) -> dict[str, str]:
    """The environment that keeps a server and its kernels away from the user's settings."""
    settings = home / "settings"
    for name, values in SETTINGS.items():
        file = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTERLAB_WORKSPACES_DIR")
    return {name: str(home / name.lower()) for name in names} | {
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }


def _wait_for(server: Server, process: subprocess.Popen[bytes], probe: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(server.address + probe, timeout=5):
                return
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"The server did not start. {server.tail()}")


def jupyterlab(home: Path) -> contextlib.AbstractContextManager[Server]:
    """A JupyterLab whose commands a page can call."""
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "lab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
    ]
    command += ["--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.root_dir={work}"]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url="]
    command += [f"--LabApp.extra_labextensions_path={LABEXTENSION}"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    return serve(home, command, "/api")


class Browsers:
    """Chromium with WebGL, by software, and without; each starts when it is first asked for."""

    def __init__(self, playwright: Any) -> None:
        self._playwright, self._started = playwright, dict[bool, Any]()

    def page(self, webgl: bool, server: Server | None = None) -> Seen:
        """A fresh page in a context of its own."""
        if webgl not in self._started:
            path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
            if path is None:
                pytest.skip("Chromium is absent")
            launch = self._playwright.chromium.launch
            self._started[webgl] = launch(executable_path=path, args=[*FLAGS, *WEBGL[webgl]], timeout=START_S * 1000)
        context = self._started[webgl].new_context(viewport={"width": 1400, "height": 1400})
        return Seen(context, server)

    def close(self) -> None:
        """End all of them."""
        for browser in self._started.values():
            browser.close()


class Seen:
    """A page, and what it did while it was open.

    Attributes:
        page: Playwright's page.
        errors: Exceptions that nobody caught.
        outside: Addresses asked for that are on another machine.
    """

    def __init__(self, context: Any, server: Server | None) -> None:
        self.context, self.server, self.page = context, server, context.new_page()
        self.errors, self.outside = list[str](), list[str]()
        self.page.on("pageerror", lambda error: self.errors.append(f"{error.message}\n{error.stack}"))
        context.on("request", lambda request: self._note(request.url))
        self.page.on("websocket", lambda opened: self._note(opened.url))

    def _note(self, url: str) -> None:
        inside = ["data:", "blob:", "about:", "file:"]
        if self.server is not None:
            inside += [self.server.address + "/", self.server.address.replace("http", "ws", 1) + "/"]
        if not url.startswith(tuple(inside)):
            self.outside.append(url)

    def open_notebook(self, place: str) -> None:
        """Open a notebook in Lab and wait for its kernel."""
        assert self.server is not None
        # Without "reset", Lab opens again what the page before had open, with its kernel.
        try:
            self.page.goto(f"{self.server.address}/lab/tree/{place}?reset", timeout=START_S * 1000)
            self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=START_S * 1000)
            # The status line says "idle" before there is a kernel, and cells that are run too early wait for ever.
            self.page.wait_for_function(_KERNEL_IS_READY, timeout=START_S * 1000)
        except Exception as error:
            pytest.fail(f"{place} did not open: {error}\n{self.server.tail()}")

    def run_all(self) -> None:
        """Run all cells and wait for the last one."""
        self.start_all()
        self.wait_for_cells()

    def start_all(self) -> None:
        """Run all cells; `window.ranAll` tells when, and whether without an error, the last one has ended."""
        self.page.evaluate(_RUN_ALL)

    def wait_for_cells(self) -> None:
        """Wait for the last cell."""
        assert self.server is not None
        try:
            self.page.wait_for_function("() => window.ranAll !== undefined", timeout=CELLS_S * 1000)
        except Exception as error:
            pytest.fail(f"The cells did not end: {error}\n{self.said()}\n{self.server.tail()}")

    def save(self) -> None:
        """Save the notebook, as its button does."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def said(self) -> str:
        """The outputs of the cells that ended in an error."""
        return "\n".join(self.page.locator(ERROR).all_inner_texts())

    def shut_down(self) -> None:
        """End the page, and its kernels before it."""
        if self.server is not None and self.page.url.startswith(f"{self.server.address}/lab"):
            self.page.evaluate("() => window.jupyterapp?.serviceManager.sessions.shutdownAll()")
        self.context.close()


def pixels(image: Any, changed_from: bytes | None = None, seconds: float = MOVE_S) -> bytes | None:
    """The PNG that an image element shows, once it shows one, and one other than ``changed_from``; None: it never did."""
    deadline = time.monotonic() + seconds
    while True:
        shown = image.evaluate(_PIXELS)
        png = base64.b64decode(shown.split(",")[1]) if shown else None
        if (png is not None and png != changed_from) or time.monotonic() > deadline:
            return png if png != changed_from else None
        image.page.wait_for_timeout(100)


def drawn(widget: Any) -> bytes | None:
    """What the first canvas of a widget shows once it is not blank, as PNG; None: it stayed blank."""
    deadline = time.monotonic() + CELLS_S
    while time.monotonic() < deadline:
        # Software takes many seconds for the first picture, and an element that is being replaced has none.
        with contextlib.suppress(Exception):
            png = bytes(widget.locator("canvas").first.screenshot(timeout=30_000))
            if not is_blank(png):
                return png
        widget.page.wait_for_timeout(500)
    return None


def is_blank(png: bytes) -> bool:
    """Whether a picture has hardly any colours, or hardly anything but its background."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    counts = [count for count, _ in picture.getcolors(picture.width * picture.height) or ()]
    return len(counts) < 8 or max(counts) > 0.995 * picture.width * picture.height


def moves_picture(widget: Any, number: int = 0) -> bool:
    """Press keys on one of a widget's sliders that are enabled; whether its picture became another one, not blank."""
    image, handle = widget.locator("img").first, widget.locator(SLIDER).nth(number)
    before, deadline = pixels(image), time.monotonic() + MOVE_S
    # A key that is pressed while the page still settles is lost, and a slider at its end moves one way only.
    for key in cycle(("ArrowRight", "ArrowLeft", "PageUp", "PageDown")):
        handle.focus()
        handle.press(key)
        moved = pixels(image, changed_from=before, seconds=5)
        if moved is not None:
            return not is_blank(moved)
        if time.monotonic() > deadline:
            return False
    return False


def answers_words(widget: Any, words: Sequence[str], number: int = 0) -> bool:
    """Write words into one of a widget's text boxes, one after another; whether its picture became another one."""
    image, box = widget.locator("img").first, widget.locator(TEXT_BOX).nth(number)
    before = pixels(image)
    for written in words:
        box.fill(written)
        box.press("Enter")
        moved = pixels(image, changed_from=before, seconds=MOVE_S / len(words))
        if moved is not None:
            return not is_blank(moved)
    return False


def execute(name: str, folder: Path, settings: Mapping[str, str] | None = None) -> Path:
    """Run a notebook at CI size by the project's own runner, in a process of its own; returns the executed file."""
    command = [sys.executable, "-m", "voco_lite", "notebooks", "run", name, "-p", "SIZE", "ci"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | dict(settings or {})
    done = subprocess.run(
        [*command, "--out-folder", str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder / f"{name}.ipynb"
