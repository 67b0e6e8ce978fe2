"""Left is left in the canvases that a browser draws: a ball to the patient's right, front and head, found by its pixels.

The scan is stored with its axes to the left, back and head, so that every viewer has to turn it.
"""

from __future__ import annotations

import io
import time

import nbformat
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import lab as harness

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

SHAPE, SPACING = (48, 40, 44), (2.0, 2.5, 1.5)
HALF = (40.0, 34.0, 26.0)  # of the body, an ellipsoid, in mm to the right, to the front and to the head
BALL, RADIUS = (16.0, 10.0, 6.0), 9.0  # likewise, from the middle of the body
SET_UP = f"""
import torch
import voco_lite as vl
from voco_lite import viewers
left, back, head = torch.meshgrid(*((torch.arange(n) - (n - 1) / 2) * mm for n, mm in zip({SHAPE}, {SPACING})), indexing="ij")
place = torch.stack([-left, -back, head], -1)
body = (place / torch.tensor({HALF})).norm(dim=-1) < 1
ball = (place - torch.tensor({BALL})).norm(dim=-1) < {RADIUS}
affine = torch.diag(torch.tensor([-{SPACING[0]}, -{SPACING[1]}, {SPACING[2]}, 1.0]).double())
volume = vl.Volume(torch.where(ball, 1.0, torch.where(body, 0.4, 0.0))[None], affine, "a ball", "prepared")
inside = ball.nonzero()
box = (tuple(inside.amin(0).tolist()), tuple((inside.amax(0) - inside.amin(0) + 1).tolist()))
"""
SHOWN = [f'viewers.view(volume, ball.long(), boxes=[box], window=(0, 1), backend="{name}")' for name in ("plotly",)]
SHOWN += [f'viewers.view(volume, boxes=[box], window=(0, 1), backend="{name}")' for name in ("niivue", "slices")]
CELLS = (SET_UP, *SHOWN)
EYE, CENTRE, FIELD_OF_VIEW = np.array([0.5, 2.2, 0.7]), np.array([0.0, 0.0, -0.1]), np.pi / 4  # plotly's own angle
# Right, front and head are to the left, up and up; the sagittal slice has the nose on its left.
PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
_SCENE = """box => {
    const scene = box.querySelector(".js-plotly-plot")?._fullLayout?.scene;
    return scene && {aspect: scene.aspectratio, ranges: ["x", "y", "z"].map(axis => scene[axis + "axis"].range)};
}"""


@pytest.fixture(scope="module")
def opened(lab, browsers):
    """The notebook in a browser with WebGL, with all of its cells run."""
    book = nbformat.v4.new_notebook()
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    (lab.work / "orientation").mkdir()
    nbformat.write(book, lab.work / "orientation" / "orientation.ipynb")
    seen = browsers.page(True, lab)
    seen.open_notebook("orientation/orientation.ipynb")
    seen.run_all()
    yield seen
    seen.shut_down()


def widget(seen, number):
    return seen.page.locator(".jp-Notebook .jp-CodeCell").nth(number).locator(harness.WIDGET)


def colours(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def slices_with_a_ball(png):
    """(left, up) of the ball's middle from the body's, in halves of the body; of each slice, in reading order."""
    picture = colours(png)
    plain = np.ptp(picture, axis=-1) < 16
    grey = plain & (picture[..., 0] > 60) & (picture[..., 0] < 160)
    bodies, count = ndimage.label(ndimage.binary_closing(grey, iterations=4))
    found = []
    for number in range(1, count + 1):
        body = ndimage.binary_fill_holes(bodies == number)
        ball = body & plain & (picture[..., 0] > 200)
        if ball.sum() < 100:
            continue  # the render, which shows the ball through the body
        rows, columns = body.any(1).nonzero()[0][[0, -1]], body.any(0).nonzero()[0][[0, -1]]
        row, column = ndimage.center_of_mass(ball)
        offset = [2 * (ends.mean() - at) / np.ptp(ends) for ends, at in ((columns, column), (rows, row))]
        found.append(((rows[0] // 200, columns[0]), offset))
    return [offset for _, offset in sorted(found)]


def expected_offset(plane):
    """The same by the phantom's numbers: a slice through the ball, where the body is somewhat smaller than at its middle."""
    (across,) = {0, 1, 2} - set(PLANES[plane])
    shrunk = (1 - (BALL[across] / HALF[across]) ** 2) ** 0.5
    return [BALL[axis] / (HALF[axis] * shrunk) for axis in PLANES[plane]]


def projected(scene, width, height):
    """The pixel of the ball's middle by plotly's camera: a perspective from the eye to the centre, head up."""
    middle = np.array([(1 - n) / 2 * mm for n, mm in zip(SHAPE, SPACING, strict=True)]) * (1, 1, -1) + BALL
    low, high = np.array(scene["ranges"]).T
    place = (middle - (low + high) / 2) / (high - low) * [scene["aspect"][axis] for axis in "xyz"]
    forward = (CENTRE - EYE) / np.linalg.norm(CENTRE - EYE)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    seen = place - EYE
    reach = seen @ forward * np.tan(FIELD_OF_VIEW / 2) / (height / 2)
    return width / 2 + seen @ right / reach, height / 2 - seen @ np.cross(right, forward) / reach


def green_middle(png):
    """The middle of the largest green thing, in pixels: column and row."""
    picture = colours(png)
    things, count = ndimage.label(picture[..., 1] - picture[..., 0] > 40)
    largest = 1 + int(np.argmax(ndimage.sum_labels(things > 0, things, range(1, count + 1))))
    row, column = ndimage.center_of_mass(things == largest)
    return column, row


def polled(look, right, seconds=harness.MOVE_S):
    """What is seen once it is right, or at the end: software draws late, and in steps."""
    deadline = time.monotonic() + seconds
    while not right(found := look()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def canvas(seen, number):
    assert harness.drawn(widget(seen, number)) is not None, seen.server.tail()
    return bytes(widget(seen, number).locator("canvas").first.screenshot())


def test_the_ball_of_plotly_is_where_the_camera_must_see_it(opened):
    canvas(opened, 1)
    scene = widget(opened, 1).evaluate(_SCENE)
    wanted = projected(scene, 760, 560)

    def near(found):
        return found == pytest.approx(wanted, abs=15)

    found = polled(lambda: green_middle(canvas(opened, 1)), near)
    assert near(found), (found, wanted)


@pytest.mark.parametrize(
    ("number", "order"),
    [(2, ("coronal", "sagittal", "axial")), (3, ("axial", "coronal", "sagittal"))],
    ids=["niivue", "slices"],
)
def test_right_front_and_head_are_left_up_and_up_in_every_slice(opened, number, order):
    def look():
        picture = widget(opened, number).locator("img").first
        return slices_with_a_ball(canvas(opened, number) if number == 2 else harness.pixels(picture))

    found = polled(look, lambda offsets: len(offsets) == 3)
    assert np.array(found) == pytest.approx(np.array([expected_offset(plane) for plane in order]), abs=0.08)


def test_nothing_went_wrong(opened):
    assert opened.said() == "" and opened.errors == [] and opened.outside == []
