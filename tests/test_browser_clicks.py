"""Clicks, keys and the resting mouse in a real JupyterLab: the browser tells the kernel the right pixel."""

from __future__ import annotations

import time

import nbformat
import pytest

import lab as harness

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

SET_UP = """
import torch
import voco_lite as vl
from voco_lite import viewers
affine = torch.eye(4, dtype=torch.float64)
volumes = [vl.Volume(torch.rand(1, 20, 24, 28), affine, "noise", "prepared") for _ in range(2)]
grid = vl.CropGrid(cells=(2, 2, 1), crop_size=(8, 8, 8))
"""
MAP = """atlas = viewers.embedding_map(lambda crops: crops.flatten(1)[:, :8], volumes, crops=8, grid=grid)
atlas"""
SPOT = """height = atlas._stage.figure.bbox.height
x, y = atlas._stage.axes[0].transData.transform(atlas.points[11].tolist())
print(x, height - y)"""
CELLS = (SET_UP, "browser = viewers.slices(volumes[0])\nbrowser", MAP, SPOT)
# Left, top, width and height of the coronal slice, in the picture of three slices through 20 x 24 x 28 voxels.
CORONAL = (186 + 8, 0, 186, 260)


@pytest.fixture(scope="module")
def opened(lab, browsers):
    """The notebook in the browser, with all of its cells run."""
    book = nbformat.v4.new_notebook()
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    (lab.work / "clicks").mkdir()
    nbformat.write(book, lab.work / "clicks" / "clicks.ipynb")
    seen = browsers.page(False, lab)
    seen.open_notebook("clicks/clicks.ipynb")
    seen.run_all()
    yield seen
    seen.shut_down()


def cell(seen, number):
    return seen.page.locator(".jp-Notebook .jp-CodeCell").nth(number)


def words(seen, number, wanted):
    """The words below a picture, once they hold what is wanted."""
    shown, deadline = cell(seen, number).locator('[role="status"]'), time.monotonic() + harness.MOVE_S
    while wanted not in shown.inner_text() and time.monotonic() < deadline:
        seen.page.wait_for_timeout(100)
    return shown.inner_text()


def spot(seen, number, x, y):
    """A pixel of the PNG as a position on the picture's element, which may be shown smaller."""
    picture = cell(seen, number).locator("img")
    assert harness.pixels(picture) is not None
    scale = picture.bounding_box()["width"] / picture.evaluate("image => image.naturalWidth")
    return picture, {"x": x * scale, "y": y * scale}


def test_a_click_and_then_keys_move_the_cross(opened):
    left, top, width, height = CORONAL
    picture, place = spot(opened, 1, left + width * (20 - 4.5) / 20, top + height * (28 - 20.5) / 28)
    picture.click(position=place)
    assert "voxel (4, 12, 20)" in words(opened, 1, "voxel (4, 12, 20)")
    # In the slice that was clicked: up is toward the head. Lab, which has these keys too, stays where it is.
    for key, wanted in (("ArrowUp", "(4, 12, 21)"), ("ArrowLeft", "(5, 12, 21)"), ("PageUp", "(5, 13, 21)")):
        opened.page.keyboard.press(key)
        assert wanted in words(opened, 1, wanted)
    assert picture.evaluate("image => image === document.activeElement")


def test_the_resting_mouse_shows_the_crop_of_a_point(opened):
    x, y = (float(part) for part in cell(opened, 3).locator(".jp-OutputArea-output").inner_text().split())
    picture, place = spot(opened, 2, x, y)
    picture.hover(position=place)
    assert "Crop 11: " in words(opened, 2, "Crop 11: ")


def test_the_picture_has_words_and_tells_what_it_answers_to(opened):
    picture = cell(opened, 1).locator("img.widget-image")
    assert picture.get_attribute("alt").startswith("Axial, coronal and sagittal slice")
    assert "arrow keys" in picture.get_attribute("title")


def test_nothing_went_wrong(opened):
    assert opened.said() == "" and opened.errors == [] and opened.outside == []
