"""`viewers.view`: one side and one scale in every backend, what is sent, and what a saved notebook keeps."""

import base64
import io
import math
import struct
import sys

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

import voco_lite as vl
from voco_lite import viewers
from voco_lite.viewers import boxes3d, niivue, scene, webgl
from voco_lite.viewers.view import BACKENDS, chosen_backend, view

PNG = b"\x89PNG\r\n\x1a\n"
OWN = ["niivue", "slices", "plotly", "static"]
SHAPE, SPACING = (24, 20, 16), (2.0, 1.5, 3.0)
BOX = scene.Box((15, 4, 2), (6, 8, 10), 0.5)


def made_volume(data=None, units="HU", flipped=False):
    """An empty body whose right side is bright: +x is the patient's right."""
    if data is None:
        data = torch.full((1, *SHAPE), -1000.0)
        data[:, 14:22, 4:16, 3:13] = 60.0
    affine = torch.diag(torch.tensor([*SPACING, 1.0], dtype=torch.float64))
    affine[:3, 3] = -torch.tensor(SPACING) * (torch.tensor(SHAPE) - 1) / 2
    if flipped:  # the same body, stored from right to left
        data = data.flip(1)
        affine[0] *= -1
    return vl.Volume(data, affine, "made here", units)


def right_half():
    labels = torch.zeros(SHAPE, dtype=torch.long)
    labels[12:] = 3
    return labels


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def read(sent):
    return nibabel.Nifti1Image.from_bytes(sent["data"])


def axial(picture):
    """The first of the three slices of a picture."""
    width, height = (round(260 / 48 * n * mm) for n, mm in zip(SHAPE[:2], SPACING[:2], strict=True))
    return pixels(picture)[:height, :width]


# Sides


@pytest.mark.parametrize("backend", OWN)
@pytest.mark.parametrize("flipped", [False, True], ids=["RAS", "LAS"])
def test_the_picture_of_every_backend_has_the_patients_right_on_the_left(backend, flipped):
    shown = view(made_volume(flipped=flipped), backend=backend)
    slice_ = axial(shown.png if backend == "static" else shown.picture.png)
    half = slice_.shape[1] // 2
    assert slice_[:, :half].mean() > 2 * slice_[:, half:].mean()


@pytest.mark.parametrize("flipped", [False, True], ids=["RAS", "LAS"])
def test_niivue_gets_millimetres_in_which_the_bright_side_is_the_right(flipped):
    shown = view(made_volume(flipped=flipped), backend="niivue").viewer
    image = nibabel.Nifti1Image.from_bytes(shown.volumes[0].data)
    bright = nibabel.affines.apply_affine(image.affine, np.argwhere(image.get_fdata() > 0))
    assert bright[:, 0].min() > 0 and image.header.get_zooms() == pytest.approx(SPACING)
    assert image.header.get_xyzt_units()[0] == "mm" and nibabel.aff2axcodes(image.affine) == ("R", "A", "S")


def test_niivue_is_told_the_radiological_convention():
    shown = view(made_volume(), backend="niivue").viewer
    assert shown.opts.is_radiological_convention and shown.opts.sagittal_nose_left


@pytest.mark.parametrize("flipped", [False, True], ids=["RAS", "LAS"])
def test_plotly_shows_the_right_at_positive_x_seen_from_the_front(flipped):
    made = view(made_volume(flipped=flipped), backend="plotly").viewer
    body = made.data[0]
    assert np.asarray(body.x)[np.asarray(body.value) > body.isomin].min() > 0
    # Looking along -y with the head up, +x is on the left.
    eye = made.layout.scene.camera.eye
    assert eye.y > abs(eye.x) and made.layout.scene.aspectmode == "data"


@pytest.mark.parametrize("flipped", [False, True], ids=["RAS", "LAS"])
def test_a_box_lies_at_the_same_millimetres_in_niivue_and_plotly(flipped):
    volume = made_volume(flipped=flipped)
    box = BOX._replace(first=(SHAPE[0] - 15 - 6, 4, 2)) if flipped else BOX
    low, high = np.array(BOX.first) - 0.5, np.array(BOX.first) + BOX.size - 0.5
    expected = [made_volume().affine[:3, 3].numpy() + end * SPACING for end in (low, high)]
    made = scene.make_scene(volume, boxes=[box])
    places, _, _ = niivue.bars(made.boxes, made.volume)
    line = boxes3d.figure(made).data[-1]
    drawn = np.stack([line.x, line.y, line.z], axis=1)
    thickness = niivue._BAR * 48
    np.testing.assert_allclose([drawn.min(0), drawn.max(0)], expected)
    np.testing.assert_allclose([places.min(0) + thickness / 2, places.max(0) - thickness / 2], expected)


def test_a_box_frames_its_voxels_in_the_slices():
    white = torch.zeros(1, *SHAPE)
    x, y, z = (slice(a, a + n) for a, n in zip(BOX.first, BOX.size, strict=True))
    white[:, x, y, z] = 1
    volume = made_volume(white, units="prepared")
    plain, framed = (axial(view(volume, boxes=boxes, backend="static").png) for boxes in ([], [BOX]))
    changed = np.argwhere((plain != framed).any(-1) & (np.arange(plain.shape[1]) < 90))  # left of the letters and cross
    rows, columns = np.nonzero((framed == BOX.colour).all(-1))
    scale = 260 / 48 * np.array(SPACING)
    left, top = scale[0] * (SHAPE[0] - 15 - 6), scale[1] * (SHAPE[1] - 4 - 8)
    assert len(changed) and columns.min() == pytest.approx(left, abs=2) and rows.min() == pytest.approx(top, abs=2)
    assert columns.max() == pytest.approx(left + 6 * scale[0], abs=3)
    assert rows.max() == pytest.approx(top + 8 * scale[1], abs=3)


def test_a_box_is_left_out_of_slices_that_do_not_cut_it():
    browser = view(made_volume(), boxes=[BOX], backend="slices")
    on = (axial(browser.picture.png) == BOX.colour).all(-1).sum()
    browser.move(z=15)
    assert on > 50 and (axial(browser.picture.png) == BOX.colour).all(-1).sum() == 0


# What is drawn


@pytest.mark.parametrize("backend", OWN)
@pytest.mark.parametrize("more", ["labels", "boxes", "heat"])
def test_labels_boxes_and_heat_change_the_picture(backend, more):
    heat = torch.zeros(SHAPE)
    heat[14:20, 6:12, 4:12] = 1.0
    given = {"labels": right_half(), "boxes": [BOX], "heat": heat}[more]
    shown, plain = (view(made_volume(), **extra, backend=backend) for extra in ({more: given}, {}))
    both = [pixels(some.png if backend == "static" else some.picture.png) for some in (shown, plain)]
    assert (both[0] != both[1]).any(-1).sum() > 200


def test_plotly_has_a_surface_each_and_a_line_for_each_box():
    heat = torch.zeros(SHAPE)
    heat[5:15, 5:15, 5:12] = 0.6
    made = view(made_volume(), right_half(), [BOX, BOX], heat, "plotly").viewer
    assert [trace.type for trace in made.data] == ["isosurface"] * 3 + ["scatter3d"] * 2
    assert "value 0.50" in made.data[-1].text


def test_plotly_gets_at_most_32_points_along_an_axis_and_a_rim():
    means, middles = boxes3d.coarse(torch.arange(70.0)[:, None, None].expand(70, 33, 9))
    assert tuple(means.shape) == (32, 32, 9)
    np.testing.assert_allclose(means[:, 0, 0], middles[0], atol=1e-4)  # the mean index of a block is its middle
    ramp = torch.linspace(0, 1, 70)[:, None, None].expand(70, 33, 9)
    assert view(ramp, backend="plotly").viewer.data[0].x.size == 34 * 34 * 11


def test_a_volume_without_a_surface_is_shown_by_its_boxes():
    made = view(torch.zeros(8, 8, 8), boxes=[((1, 1, 1), (4, 4, 4))], backend="plotly").viewer
    assert [trace.type for trace in made.data] == ["scatter3d"]


def test_no_label_has_the_colour_of_a_box_or_of_another_label():
    labels = viewers.rows.LABEL_COLOURS
    shares = [None, *torch.linspace(0, 1, 21).tolist()]
    boxes = torch.tensor([scene.Box((0, 0, 0), (1, 1, 1), share).colour for share in shares]).float()
    among = torch.cdist(labels, labels) + 1000 * torch.eye(len(labels))
    assert float(torch.cdist(labels, boxes).min()) > 60 and float(among.min()) > 60


def test_the_larger_the_share_of_a_box_the_brighter_its_colour():
    shades = [sum(scene.Box((0, 0, 0), (1, 1, 1), share).colour) for share in (0.0, 0.5, 1.0)]
    assert shades[0] < shades[1] < shades[2]
    assert scene.Box((0, 0, 0), (1, 1, 1)).colour == (230, 159, 0)


def test_base_crops_of_a_grid_become_boxes_with_their_shares():
    grid = vl.CropGrid(cells=(2, 1, 2), crop_size=(4, 5, 6))
    boxes = viewers.base_crop_boxes(grid, torch.tensor([0.0, 0.25, 0.5, 0.25]), first=(1, 2, 3))
    assert [box.first for box in boxes] == [(1, 2, 3), (1, 2, 9), (5, 2, 3), (5, 2, 9)]
    assert {box.size for box in boxes} == {(4, 5, 6)} and [box.value for box in boxes] == [0.0, 0.25, 0.5, 0.25]
    with pytest.raises(ValueError, match="one number for each of 4"):
        viewers.base_crop_boxes(grid, torch.rand(3))


def test_heat_of_slid_crops_lies_at_their_middles():
    from voco_lite.viewers.sliding import Lattice

    lattice = Lattice((12, 12, 12), (4, 4, 4), stride=4)
    values = torch.zeros(lattice.counts)
    values[1, 2, 0] = 1.0
    heat = viewers.heat_over(lattice, values)
    assert tuple(heat.shape) == (12, 12, 12) and torch.unravel_index(heat.argmax(), heat.shape) == (6, 10, 2)
    assert heat[4, 10, 2] == pytest.approx(0.5) and heat[:2].abs().max() == 0


def test_the_first_look_goes_to_the_heat_then_to_the_boxes_then_to_the_middle():
    heat = torch.zeros(SHAPE)
    heat[3, 4, 5] = 1
    points = [
        scene.make_scene(made_volume(), boxes=b, heat=h).point for b, h in (((BOX,), heat), ((BOX,), None), ((), None))
    ]
    assert points == [(3, 4, 5), (18, 8, 7), (12, 10, 8)]
    assert view(made_volume(), boxes=[BOX], backend="slices").point == (18, 8, 7)


# What is sent


@pytest.mark.parametrize("units", ["HU", "prepared"])
def test_niivue_gets_two_bytes_a_voxel_of_the_image_and_its_values(units):
    data = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    data = data * 4000 - 1000 if units == "HU" else data
    [sent] = niivue.volumes_to_send(scene.make_scene(made_volume(data, units)))
    image = read(sent)
    assert image.get_data_dtype() == np.int16 and len(sent["data"]) <= 2 * data.numel() + 400
    np.testing.assert_allclose(image.get_fdata(), data[0], atol=float(data.max() - data.min()) / 2**16)


@pytest.mark.parametrize(("largest", "kind"), [(3, np.uint8), (255, np.uint8), (256, np.int16)])
def test_labels_travel_in_the_smallest_type_that_holds_them(largest, kind):
    labels = right_half()
    labels[0, 0, 0] = largest
    sent = niivue.volumes_to_send(scene.make_scene(made_volume(), labels))[1]
    image = read(sent)
    assert image.get_data_dtype() == kind and len(sent["data"]) <= np.dtype(kind).itemsize * labels.numel() + 400
    np.testing.assert_array_equal(image.get_fdata(), labels)
    assert image.header.get_intent()[0] == "label"  # only then niivue leaves 0 uncoloured


def test_heat_travels_as_one_byte_a_voxel():
    heat = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    sent = niivue.volumes_to_send(scene.make_scene(made_volume(), heat=heat))[1]
    assert read(sent).get_data_dtype() == np.uint8 and len(sent["data"]) <= heat.numel() + 400
    np.testing.assert_allclose(read(sent).get_fdata(), heat, atol=0.5 / 255 + 1e-6)


def test_a_label_has_the_same_colour_in_niivue_and_in_the_slices():
    colours = niivue.label_colours(9, {3: "liver"})
    expected = viewers.rows.LABEL_COLOURS
    assert [colours["R"][9], colours["G"][9], colours["B"][9]] == expected[1].tolist()  # eight comes round to the first
    assert colours["A"][0] == 0 and colours["labels"][3] == "liver" and colours["labels"][9] == "label 9"


def test_the_mesh_of_boxes_is_an_mz3_file_of_twelve_closed_bars_each():
    made = scene.make_scene(made_volume(), boxes=[BOX, BOX._replace(value=None)])
    places, triangles, colours = niivue.bars(made.boxes, made.volume)
    data = niivue.mz3(places, triangles, colours)
    assert struct.unpack("<HHIII", data[:16]) == (0x5A4D, 7, 2 * 12 * 12, 2 * 12 * 36, 0)
    assert len(data) == 16 + 12 * 288 + (12 + 4) * 864
    np.testing.assert_array_equal(np.frombuffer(data[-4 * 864 :], np.uint8).reshape(-1, 4), colours)
    lit = colours[[0, -1], :3] * 1.4  # what niivue's light makes of them
    np.testing.assert_allclose(lit, [BOX.colour, (230, 159, 0)], atol=0.7)


def test_bars_are_closed_and_seen_from_outside():
    made = scene.make_scene(made_volume(), boxes=[BOX])
    places, triangles, _ = niivue.bars(made.boxes, made.volume)
    a, b, c = bar = places[triangles[:12]].transpose(1, 0, 2)
    ends = [(tuple(p), tuple(q)) for some, other in ((a, b), (b, c), (c, a)) for p, q in zip(some, other, strict=True)]
    assert {(q, p) for p, q in ends} == set(ends)  # every edge of a triangle is met by another triangle
    outward = (np.cross(b - a, c - a) * (bar.mean(0) - bar.mean((0, 1)))).sum(-1)
    assert (outward > 0).all()


# Saved notebooks and browsers without WebGL


@pytest.mark.parametrize("backend", OWN)
def test_every_backend_carries_a_picture_and_words_into_a_saved_notebook(backend):
    bundle = view(made_volume(), boxes=[BOX], backend=backend)._repr_mimebundle_()
    data, metadata = bundle
    assert base64.b64decode(data["image/png"]).startswith(PNG)
    assert "the patient's right is on the left" in data["text/plain"] == metadata["image/png"]["alt"]
    assert backend == "static" or "application/vnd.jupyter.widget-view+json" in data


@pytest.mark.parametrize("backend", ["niivue", "plotly"])
def test_the_viewer_takes_the_place_of_the_still_picture_once_there_is_webgl(backend):
    shown = view(made_volume(), backend=backend)
    assert shown.image in shown.children and shown.viewer not in shown.children
    shown.probe.can_draw = True
    assert shown.viewer in shown.children and shown.image not in shown.children
    assert "rag" in shown.caption.value  # drag, or Drag


@pytest.mark.parametrize("backend", ["niivue", "plotly"])
def test_without_webgl_the_still_picture_stays(backend):
    shown = view(made_volume(), backend=backend)
    shown.probe.can_draw = False
    assert shown.image in shown.children and shown.viewer not in shown.children
    assert "no WebGL" in shown.caption.value


def test_the_still_picture_comes_back_for_a_browser_without_webgl():
    shown = view(made_volume(), backend="niivue")
    shown.probe.can_draw = True
    shown.probe.can_draw = False
    assert shown.image in shown.children and shown.viewer not in shown.children


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_volume_that_is_not_finite_is_refused(bad):
    data = torch.zeros(1, *SHAPE)
    data[0, 1, 2, 3] = bad
    with pytest.raises(ValueError, match="volume must be finite"):
        view(data, backend="static")


def test_the_report_says_what_the_browser_answered():
    report = viewers.webgl_report()
    assert "not asked yet: no browser" in report.line.value
    report.probe.set_state({"renderer": "ANGLE (NVIDIA)", "can_draw": True})
    assert "yes, drawn by ANGLE (NVIDIA)." in report.line.value
    report.probe.renderer = "SwiftShader"
    assert "but slowly" in report.line.value
    report.probe.can_draw = False
    assert "no, this browser has no WebGL 2" in report.line.value
    assert report._repr_mimebundle_()["text/plain"] == report.probe.words


# The choice of a backend


def test_auto_is_slices_where_nobody_looks(monkeypatch):
    monkeypatch.delenv("VOCO_VIEWER", raising=False)
    assert chosen_backend() == "slices"


def test_auto_is_niivue_in_a_notebook_that_has_it(monkeypatch):
    monkeypatch.delenv("VOCO_VIEWER", raising=False)
    module = sys.modules[chosen_backend.__module__]
    monkeypatch.setattr(module, "has_front_end", lambda: True)
    assert chosen_backend() == "niivue"
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert chosen_backend() == "slices"


def test_a_kernel_counts_as_a_front_end_unless_it_is_headless(monkeypatch):
    import IPython

    class Shell:
        kernel = object()

    monkeypatch.delenv("VOCO_HEADLESS", raising=False)
    monkeypatch.setattr(IPython, "get_ipython", Shell)
    assert webgl.has_front_end()
    monkeypatch.setenv("VOCO_HEADLESS", "1")
    assert not webgl.has_front_end()


def test_the_environment_chooses_for_auto_only(monkeypatch):
    monkeypatch.setenv("VOCO_VIEWER", "static")
    assert chosen_backend("auto") == "static" and chosen_backend("plotly") == "plotly"
    monkeypatch.setenv("VOCO_VIEWER", "magic")
    with pytest.raises(ValueError, match="got 'magic' from VOCO_VIEWER"):
        view(made_volume())


def test_an_unknown_backend_is_refused_with_the_names():
    with pytest.raises(ValueError, match=", ".join(BACKENDS)):
        view(made_volume(), backend="vtk")


def test_a_missing_package_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with pytest.raises(ValueError, match="pip install"):
        view(made_volume(), backend="niivue")


# Wrong input


@pytest.mark.parametrize("backend", OWN)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": torch.zeros(4, 4, 4, dtype=torch.long)}, "labels must have the volume's shape"),
        ({"labels": torch.zeros(SHAPE)}, "labels must be whole numbers"),
        ({"labels": -torch.ones(SHAPE, dtype=torch.long)}, "labels must be whole numbers"),
        ({"heat": torch.zeros(1, *SHAPE)}, "heat must have the volume's shape"),
        ({"heat": torch.full(SHAPE, torch.nan)}, "heat must be finite"),
        ({"boxes": [((0, 0, 0), (4, 4, 4), math.nan)]}, "finite values"),
        ({"boxes": [((0, 0, 0), (25, 4, 4))]}, "got box 0 of"),
        ({"boxes": [((-1, 0, 0), (4, 4, 4))]}, "must lie inside"),
        ({"boxes": [((0, 0, 0), (0, 4, 4))]}, "must lie inside"),
        ({"boxes": [(0, 0, 0, 4, 4, 4)]}, "base_crop_boxes"),
        ({"window": (5.0, 5.0)}, "low < high"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_alike_by_every_backend(backend, wrong, message):
    with pytest.raises(ValueError, match=message):
        view(made_volume(), backend=backend, **wrong)


def test_a_bare_tensor_is_shown_with_voxels_of_one_millimetre():
    made = scene.make_scene(torch.rand(9, 10, 11))
    assert made.volume.spacing == (1.0, 1.0, 1.0) and made.volume.shape == (9, 10, 11)
