"""The training theatre live in a real JupyterLab: its picture changes while the cell that trains still runs."""

from __future__ import annotations

import nbformat
import pytest

import lab as harness

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

STEPS = 2  # the theatre draws the first and the last, however long they take
SET_UP = f"""
import time
from pathlib import Path
import voco_lite as vl
from voco_lite import viewers
config = vl.PretrainConfig.preset("ci", steps={STEPS}, log_every=1, progress=False)
volumes = vl.samples.population(config.train.batch_size, config.volume, source="phantom")

def wait(record, model):
    # The training goes on when the browser has seen this step.
    deadline = time.monotonic() + {harness.MOVE_S}
    while not Path(f"seen-{{record['step']}}").exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"step {{record['step']}} was not seen")
        time.sleep(0.1)
"""
SHOW = """theatre = viewers.TrainingTheatre(volumes)
theatre"""
TRAIN = """history = vl.pretrain(vl.VoCo(config), vl.VoCoDataset(volumes, config.crops), config.train,
                      callbacks=[theatre, wait])"""


@pytest.fixture(scope="module")
def opened(lab, browsers):
    """The notebook in the browser, not yet run."""
    book = nbformat.v4.new_notebook()
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in (SET_UP, SHOW, TRAIN)]
    (lab.work / "theatre").mkdir()
    nbformat.write(book, lab.work / "theatre" / "theatre.ipynb")
    seen = browsers.page(False, lab)
    seen.open_notebook("theatre/theatre.ipynb")
    yield seen
    seen.shut_down()


def test_the_picture_changes_at_every_step_of_a_running_training(opened):
    opened.start_all()
    picture = opened.page.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(harness.WIDGET).locator("img").first
    picture.wait_for(state="attached", timeout=harness.CELLS_S * 1000)
    before = harness.pixels(picture)
    for step in range(1, STEPS + 1):
        moved = harness.pixels(picture, changed_from=before)
        assert moved is not None and not harness.is_blank(moved), opened.said()
        assert opened.page.evaluate("() => window.ranAll") is None, "the training had ended"
        before = moved
        (opened.server.work / "theatre" / f"seen-{step}").touch()
    opened.wait_for_cells()
    assert opened.said() == "" and opened.page.evaluate("() => window.ranAll") is True


def test_nothing_went_wrong(opened):
    assert opened.errors == [] and opened.outside == []
