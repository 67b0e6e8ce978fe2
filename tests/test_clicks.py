"""Clicking and keys: which voxel a pixel shows, by closed form, and what every explorer does with it."""

import io
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from PIL import Image

import voco_lite as vl
from test_explorers import GRID, coded, position_code
from voco_lite import viewers
from voco_lite.viewers.clickable import ClickablePicture
from voco_lite.viewers.planes import PLANES, Panel
from voco_lite.viewers.rows import plane_panels

SHAPE = (20, 24, 28)
CUBE = vl.CropGrid(cells=(2, 2, 2), crop_size=(8, 8, 8))


def made_volume(spacing=(1.0, 1.0, 1.0), shape=SHAPE):
    data = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    return vl.Volume(data, torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64)), "made here", "prepared")


def middle_of(panel, voxel):
    """The pixel in the middle of a voxel, from the convention alone: x, y and z grow to the left, left and top."""
    left, top, width, height = panel.box
    columns, rows = panel.plane.columns, panel.plane.rows
    return (
        left + (panel.shape[columns] - voxel[columns] - 0.5) / panel.shape[columns] * width,
        top + (panel.shape[rows] - voxel[rows] - 0.5) / panel.shape[rows] * height,
    )


# From pixels to voxels


@pytest.mark.parametrize("name", PLANES)
def test_every_pixel_of_a_slice_shows_the_voxel_under_it(name):
    plane = PLANES[name]
    panel = Panel(plane, 7, SHAPE, (30.5, 10.25, 100.0, 200.0))
    for voxel in product(*(range(1 if axis == plane.across else n) for axis, n in enumerate(SHAPE))):
        expected = tuple(7 if axis == plane.across else index for axis, index in enumerate(voxel))
        assert panel.voxel(*middle_of(panel, voxel)) == expected


def test_the_right_of_the_patient_is_found_on_the_left():
    panel = Panel(PLANES["axial"], 0, SHAPE, (0, 0, 200, 240))
    assert panel.voxel(1, 120)[0] == 19 and panel.voxel(199, 120)[0] == 0
    assert panel.voxel(100, 1)[1] == 23 and panel.voxel(100, 239)[1] == 0


@pytest.mark.parametrize("pixel", [(-0.1, 5), (200, 5), (5, -0.1), (5, 240)], ids=str)
def test_outside_a_slice_there_is_no_voxel(pixel):
    assert Panel(PLANES["axial"], 0, SHAPE, (0, 0, 200, 240)).voxel(*pixel) is None


@pytest.mark.parametrize("name", PLANES)
def test_the_slices_lie_where_the_picture_shows_them(name):
    # One bright voxel, away from the cross and the letters, must be found under its own bright pixels.
    plane, place = PLANES[name], [5, 6, 21]
    data = torch.zeros(1, *SHAPE)
    data[(0, *place)] = 1
    volume = vl.Volume(data, torch.diag(torch.tensor([2.0, 1.0, 1.5, 1.0]).double()), "one voxel", "prepared")
    point = [0, 0, 0]
    point[plane.across] = place[plane.across]
    browser = viewers.slices(volume)
    browser.move(*point)
    pixels = np.asarray(Image.open(io.BytesIO(browser.image.value)).convert("RGB")).astype(int)
    [panel] = [panel for panel in browser.panels if panel.plane is plane]
    grey = (np.ptp(pixels, axis=-1) == 0) * pixels[..., 0]
    left, _, width, _ = panel.box
    outside = np.ones(grey.shape[1], bool)
    outside[int(left) : int(left + width)] = False
    grey[:, outside] = 0
    grey[int(panel.box[3]) :] = 0  # white below the shorter slices
    row, column = np.unravel_index(int(grey.argmax()), grey.shape)
    assert panel.voxel(column + 0.5, row + 0.5) == tuple(place)


def test_the_panels_of_a_row_do_not_meet():
    panels = plane_panels(made_volume(spacing=(2.0, 1.0, 1.0)), (1, 2, 3))
    assert [panel.level for panel in panels] == [3, 2, 1]
    assert all(a.box[0] + a.box[2] < b.box[0] for a, b in pairwise(panels))


def test_axes_of_a_figure_lie_where_the_picture_shows_them():
    data = torch.zeros(1, 24, 24, 8)
    data[0, 5, 18] = 1
    explorer = viewers.explore_positions(None, data, vl.CropGrid(cells=(3, 3, 1), crop_size=(8, 8, 8)))
    pixels = np.asarray(Image.open(io.BytesIO(explorer.image.value)).convert("RGB")).astype(int)
    [panel] = explorer.panels
    left, top, width, height = (round(value) for value in panel.box)
    inside = pixels[top + 2 : top + height - 2, left + 2 : left + width - 2].min(-1)
    # White lines and numbers are thinner than the bright voxel: what stays bright after erosion is its middle.
    eroded = np.min([np.roll(inside, shift, axis) for shift in (-3, 0, 3) for axis in (0, 1)], axis=0)
    row, column = np.unravel_index(int(eroded.argmax()), eroded.shape)
    assert panel.voxel(left + 2 + column + 0.5, top + 2 + row + 0.5) == (5, 18, 4)


# What the explorers do


@pytest.mark.parametrize("number", range(3))
def test_a_click_moves_the_other_slices_to_the_place(number):
    browser = viewers.slices(made_volume())
    panel = browser.panels[number]
    aim = [3, 4, 5]
    aim[panel.plane.across] = browser.point[panel.plane.across]
    browser.click(*middle_of(panel, aim))
    assert browser.point == tuple(aim)


@pytest.mark.parametrize("number", range(2))
def test_a_click_puts_the_middle_of_the_crop_there(number):
    explorer = viewers.explore_positions(None, made_volume(shape=(16, 16, 16)), CUBE)
    panel = explorer.panels[number]
    explorer.click(*middle_of(panel, (6, 7, 9) if number == 0 else (6, 0, 9)))
    assert explorer.point == ((2, 3, 4) if number == 0 else (2, 4, 5))
    assert torch.equal(explorer.labels, vl.position_labels(explorer.start[None], CUBE)[0])


def test_a_crop_stays_in_the_block_when_its_border_is_clicked():
    explorer = viewers.explore_positions(None, made_volume(shape=(16, 16, 16)), CUBE)
    explorer.click(*middle_of(explorer.panels[0], (15, 0, 0)))
    assert explorer.point == (8, 0, 4)


def test_a_click_beside_the_slices_changes_nothing():
    explorer = viewers.explore_positions(None, made_volume(shape=(16, 16, 16)), CUBE)
    png, point = explorer.image.value, explorer.point
    explorer.click(1, 1)
    assert explorer.point == point and explorer.image.value == png


def test_a_click_draws_one_picture():
    browser = viewers.slices(made_volume())
    drawn = []
    browser.image.observe(lambda change: drawn.append(change.new), names="value")
    browser.click(*middle_of(browser.panels[0], (3, 4, 0)))
    assert len(drawn) == 1


def test_a_place_clicked_in_one_subject_is_found_in_the_other():
    pointer = viewers.point_across(position_code, coded((6.0, 0, 0)), coded((0, 4.0, 0)), GRID, stride=2)
    before = pointer.found
    pointer.click(*middle_of(pointer.panels[0], (8, 14, 0)))
    assert pointer.point[:2] == (8, 14) and pointer.truth.tolist()[:2] == pytest.approx([11, 12])
    assert not torch.equal(pointer.found, before) and float((pointer.found - pointer.truth).abs().max()) <= 2


def test_a_click_into_the_other_subject_changes_nothing():
    pointer = viewers.point_across(position_code, coded(), coded(), GRID, stride=4)
    left, top, width, height = pointer.panels[1].box
    point = pointer.point
    pointer.click(left + 1.6 * width, top + height / 3)
    assert pointer.point == point and len(pointer.panels) == 2


@pytest.mark.parametrize(("place", "base"), [((2, 2, 0), 0), ((2, 20, 0), 2), ((21, 12, 0), 7)], ids=str)
def test_a_click_chooses_the_base_crop_that_lies_there(place, base):
    shown = viewers.similarity_map({"a": position_code, "b": position_code}, coded(), base=4, grid=GRID, stride=4)
    for panel in shown.panels:
        shown.base.value = 4
        shown.click(*middle_of(panel, place))
        assert shown.base.value == base


def test_in_another_subject_a_click_chooses_by_the_true_places():
    # The other shows 16 mm, one base crop, further along x: what lies at x = 4 there is at x = 12 in the first.
    shown = viewers.similarity_map(position_code, coded(), base=0, slid_over=coded((16.0, 0, 0)), grid=GRID, stride=4)
    shown.click(*middle_of(shown.panels[0], (4, 12, 0)))
    assert shown.base.value == 4


def test_a_click_or_a_resting_mouse_shows_the_crop_of_a_point():
    volumes = [coded(), coded()]
    for volume in volumes:
        object.__setattr__(volume, "to_source", None)
    atlas = viewers.embedding_map(position_code, volumes, crops=10, grid=GRID)
    axes, height = atlas._stage.axes[0], atlas._stage.figure.bbox.height
    for answer, number in ((atlas.click, 7), (atlas.hover, 13)):
        x, y = axes.transData.transform(atlas.points[number].tolist())
        answer(x + 3, height - y)
        assert torch.allclose(atlas.points[atlas.chosen.value], atlas.points[number], atol=0.02)
    chosen = atlas.chosen.value
    atlas.click(1, 1)
    assert atlas.chosen.value == chosen


# Keys


@pytest.mark.parametrize(
    ("key", "moved"),
    [
        ("ArrowLeft", (1, 0, 0)),  # the patient's right is on the left
        ("ArrowRight", (-1, 0, 0)),
        ("ArrowUp", (0, 1, 0)),
        ("ArrowDown", (0, -1, 0)),
        ("PageUp", (0, 0, 1)),
        ("PageDown", (0, 0, -1)),
        ("Escape", (0, 0, 0)),
    ],
)
def test_keys_move_by_one_voxel_as_seen(key, moved):
    browser = viewers.slices(made_volume())
    before = browser.point
    browser.press(key)
    assert tuple(after - old for after, old in zip(browser.point, before, strict=True)) == moved


def test_keys_move_in_the_slice_that_was_clicked_last():
    browser = viewers.slices(made_volume())
    browser.click(*middle_of(browser.panels[2], (10, 12, 14)))
    before = browser.point
    browser.press("ArrowUp")
    assert browser.point == (before[0], before[1], before[2] + 1)


def test_keys_step_through_base_crops_slices_and_crops_of_a_map():
    shown = viewers.similarity_map(position_code, coded(), base=4, grid=GRID, stride=4)
    level = shown.level.value
    shown.press("ArrowUp")
    shown.press("PageDown")
    assert (shown.base.value, shown.level.value) == (5, level - 1)


# Between the browser and the kernel


def test_messages_of_the_browser_reach_the_explorer():
    browser = viewers.slices(made_volume())
    x, y = middle_of(browser.panels[0], (3, 4, 0))
    browser.image._handle_custom_msg({"kind": "click", "x": x, "y": y}, [])
    browser.image._handle_custom_msg({"kind": "key", "key": "ArrowLeft"}, [])
    assert browser.point[:2] == (4, 4)


def test_a_picture_that_answers_to_nothing_says_so():
    theatre = viewers.TrainingTheatre(torch.rand(1, 8, 8, 8))
    assert theatre.image.hint == "" and not theatre.image.hovers
    assert "Click" in viewers.slices(made_volume()).image.hint


def test_the_words_reach_the_picture():
    browser = viewers.slices(made_volume())
    assert browser.image.alt == browser.alt != "" and bytes(browser.image.value).startswith(b"\x89PNG")


def test_the_script_is_small_and_asks_nothing_of_a_network():
    script = str(ClickablePicture._esm)
    assert len(script.splitlines()) <= 30 and len(script) < 2000
    assert "http" not in script and "import" not in script


def test_words_from_a_file_are_no_markup():
    browser = viewers.slices(made_volume())
    browser.show(browser.picture, "<img src=x>")
    assert "&lt;img" in browser.caption.value


@pytest.mark.parametrize(
    "changes", [{}, {"cells": (2, 2, 2), "crop_size": (16, 16, 8), "network_size": (16, 16, 16)}], ids=["2-D", "3-D"]
)
def test_predictions_follow_a_model_while_it_is_trained(changes):
    from tiny_run import tiny_config, tiny_volumes

    config, seen = tiny_config(steps=3, **changes), []
    model = vl.VoCo(config)
    explorer = viewers.explore_positions(model, tiny_volumes(1, first=9)[0])
    explorer.move(x=3)
    untrained = explorer.predicted.clone()

    def watch(record, model):
        explorer.refresh()
        seen.append(explorer.predicted.clone())

    vl.pretrain(model, vl.VoCoDataset(tiny_volumes(4), config.crops), config.train, callbacks=[watch])
    assert seen and not torch.equal(seen[-1], untrained)
    assert untrained.shape == (explorer.grid.bases,) == (4 * config.crops.cells[2],)
    fresh = viewers.explore_positions(model, explorer.volume)
    fresh.move(x=3)
    torch.testing.assert_close(explorer.predicted, fresh.predicted)


def test_a_slider_moved_after_more_training_predicts_by_the_new_weights():
    model = vl.VoCo(vl.PretrainConfig.preset("ci"))
    volume = torch.rand(1, 48, 48, 16, generator=torch.Generator().manual_seed(0))
    explorer = viewers.explore_positions(model, volume)
    with torch.no_grad():
        for weights in model.encoder.parameters():
            weights.mul_(1.1).add_(0.01)
    explorer.move(x=3)
    grid = vl.CropGrid.from_config(model.config.crops)
    torch.testing.assert_close(explorer.predicted, viewers.predict_overlaps(model, volume, explorer.start, grid))


def test_the_window_of_a_ct_decides_what_the_network_gets():
    hu = torch.linspace(-400, 600, 16).reshape(16, 1, 1).expand(16, 16, 16)[None].clone()
    volume = vl.Volume(hu, torch.eye(4, dtype=torch.float64), "ramp", "HU")
    crops = vl.CropConfig((2, 2, 1), (8, 8, 8), flip_probability=0, rotate_probability=0, shift_probability=0)
    player = viewers.augmentation_player(volume, crops)
    prepared = vl.prepare(volume, vl.VolumeConfig(intensity="ct-abdomen", spacing=None, size=None, foreground=None))
    assert torch.allclose(player.seen, viewers.augmentation_player(prepared, crops).seen)
    player.window.value = (-400, 600)
    first_base = player.titles.index("base crop 0")
    assert "-400 to 600 HU" in player.alt
    torch.testing.assert_close(player.cut[first_base, 0, :, 0, 0], torch.linspace(0, 1, 16)[:8])


def test_a_kept_figure_shows_what_a_new_one_shows():
    volume = made_volume(shape=(24, 24, 24))
    kept = viewers.explore_positions(None, volume, vl.CropGrid(cells=(3, 3, 1), crop_size=(8, 8, 8)))
    kept.move(1, 2, 0)
    new = viewers.explore_positions(None, volume, kept.grid)
    kept.move(5, 9, 0)
    new.move(5, 9, 0)
    assert kept.image.value == new.image.value
