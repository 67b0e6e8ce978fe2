"""Viewers: what sliders do, which side is which, what bars and words say, and that pictures survive being saved."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import voco_lite as vl
from voco_lite import viewers
from voco_lite.viewers import planes
from voco_lite.viewers.curves import TERMS, draw_terms
from voco_lite.viewers.pictures import mimebundle, new_figure

PNG = b"\x89PNG\r\n\x1a\n"
FLAT = vl.CropGrid(cells=(3, 3, 1), crop_size=(8, 8, 8))
CUBE = vl.CropGrid(cells=(2, 2, 2), crop_size=(8, 8, 8))


def made_volume(data=None, labels=None, spacing=(1.0, 1.0, 1.0), units="prepared"):
    data = torch.rand(1, 24, 24, 24, generator=torch.Generator().manual_seed(0)) if data is None else data
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    return vl.Volume(data, affine, "made here", units, labels, {1: "left_thing", 2: "right_thing"})


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.fixture
def tiny_model():
    """An untrained model for the 2 x 2 x 2 and 3 x 3 grids of 16 voxels."""
    return vl.VoCo(vl.PretrainConfig.preset("ci"))


# Slices


@pytest.mark.parametrize("axis", range(3))
def test_moving_a_slider_changes_picture_and_words(axis):
    browser = viewers.slices(made_volume())
    png, words = browser.image.value, browser.caption.value
    browser.sliders[axis].value += 3
    assert browser.image.value != png and browser.caption.value != words


def test_the_words_tell_index_place_value_and_organ():
    labels = torch.zeros(24, 24, 24, dtype=torch.long)
    labels[5, 6, 7] = 2
    volume = made_volume(torch.full((1, 24, 24, 24), 40.0), labels, spacing=(2.0, 1.0, 1.0), units="HU")
    words = viewers.describe_voxel(volume, (5, 6, 7))
    assert words == "voxel (5, 6, 7) · R 10, A 6, S 7 mm · 40 HU · right thing"


def test_places_at_negative_millimetres_are_left_behind_below():
    volume = made_volume()
    volume.affine[:3, 3] = -30.0
    assert "L 30, P 30, I 30 mm" in viewers.describe_voxel(volume, (0, 0, 0))


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_the_right_of_the_patient_is_on_the_left_of_the_picture(plane):
    data = torch.zeros(20, 20, 20)
    data[15:] = 1  # high x, the patient's right
    piece = planes.take_slice(data, planes.plane_named(plane), 10)
    assert piece[:, :5].min() == 1 and piece[:, 5:].max() == 0


@pytest.mark.parametrize(("plane", "axis"), [("axial", 1), ("coronal", 2), ("sagittal", 2)])
def test_front_and_head_are_at_the_top(plane, axis):
    data = torch.zeros(20, 20, 20)
    data.narrow(axis, 15, 5).fill_(1)
    piece = planes.take_slice(data, planes.plane_named(plane), 10)
    assert piece[:5].min() == 1 and piece[5:].max() == 0


def test_the_front_is_on_the_left_of_sagittal_slices():
    data = torch.zeros(20, 20, 20)
    data[:, 15:] = 1
    assert planes.take_slice(data, planes.plane_named("sagittal"), 10)[:, :5].min() == 1


def test_an_asymmetric_body_is_bright_on_its_own_side_of_the_finished_picture():
    data = torch.zeros(1, 24, 24, 24)
    data[:, 16:] = 1
    picture = pixels(viewers.side_by_side([made_volume(data)]).png)
    half = picture.shape[1] // 2
    assert picture[:, :half].mean() > 2 * picture[:, half:].mean()


def test_slices_are_drawn_in_true_proportions():
    picture = pixels(viewers.side_by_side([made_volume(spacing=(3.0, 1.0, 1.0))]).png)
    assert picture.shape[1] == pytest.approx(3 * picture.shape[0], rel=0.05)


def test_volumes_side_by_side_share_one_scale():
    small = made_volume(torch.rand(1, 12, 12, 12))
    whole, alone = (pixels(viewers.side_by_side(some).png) for some in ([made_volume(), small], [small]))
    assert alone.shape[1] == pytest.approx(whole.shape[1] * 2 / 3, rel=0.06)


def test_labels_are_laid_over_in_colour():
    labels = torch.zeros(24, 24, 24, dtype=torch.long)
    labels[4:20, 4:20, 4:20] = 1
    volume = made_volume(labels=labels)
    spread = [
        np.ptp(pixels(viewers.side_by_side([volume], opacity=o).png)[40:80, 40:80], axis=-1).max() for o in (0.0, 0.5)
    ]
    assert spread[0] == 0 and spread[1] > 30


def test_the_window_slider_changes_the_picture():
    browser = viewers.slices(made_volume())
    before = browser.image.value
    browser.window.value = (0.4, 0.6)
    assert browser.image.value != before


def test_a_bare_tensor_can_be_browsed():
    assert viewers.slices(torch.rand(9, 10, 11)).point == (4, 5, 5)


def test_a_batch_is_refused_with_advice():
    with pytest.raises(ValueError, match="Take one volume of a batch"):
        viewers.slices(torch.rand(2, 1, 8, 8, 8))


def test_a_window_without_width_is_refused():
    with pytest.raises(ValueError, match="low < high"):
        planes.grey(torch.rand(3), (1.0, 1.0))


@pytest.mark.parametrize("wrong", [{"volumes": []}, {"position": 2}, {"plane": "oblique"}], ids=str)
def test_wrong_requests_for_a_row_of_slices_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        viewers.side_by_side(**{"volumes": [made_volume()], **wrong})


def test_a_constant_volume_is_shown():
    assert viewers.slices(torch.full((8, 8, 8), 7.0)).picture.png.startswith(PNG)


# Saved notebooks


@pytest.mark.parametrize(
    "shown",
    [lambda v: viewers.slices(v), lambda v: viewers.explore_positions(None, v, FLAT)],
    ids=["slices", "explorer"],
)
def test_a_widget_carries_its_picture_and_its_words_into_a_saved_notebook(shown):
    box = shown(made_volume())
    data, metadata = box._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert base64.b64decode(data["image/png"]) == bytes(box.image.value)
    assert data["text/plain"] == metadata["image/png"]["alt"] == box.alt != ""


def test_a_mimebundle_holds_text_that_a_browser_reads_aloud():
    assert mimebundle(b"x", "words")[1] == {"image/png": {"alt": "words"}}


def test_a_picture_is_saved_into_a_new_folder(tmp_path):
    path = viewers.side_by_side([made_volume()]).save(tmp_path / "new" / "side.png")
    assert path.read_bytes().startswith(PNG)


def test_no_figure_is_left_in_pyplot():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    viewers.show_position_labels(made_volume(), torch.tensor([[1, 2, 0]]), FLAT)
    assert plt.get_fignums() == before


FIGURES = Path(__file__).parents[1] / "notebooks" / "figures"


@pytest.mark.parametrize("name", ["benefit.png", "position_labels.gif", "training.png", "voco.png"])
def test_the_figures_of_the_readme_are_small_and_opaque(name):
    path, most = FIGURES / name, 400_000 if name.endswith(".gif") else 60_000
    picture = Image.open(path)
    assert path.stat().st_size <= most and picture.width <= 1400
    assert picture.convert("RGBA").getextrema()[3] == (255, 255)  # dark pages show no text on a dark ground
    assert getattr(picture, "n_frames", 1) == 1 or picture.n_frames > 16


def test_every_figure_is_looked_at_by_a_test():
    drawn = {path.name for path in FIGURES.iterdir() if path.suffix in (".png", ".gif")}
    assert drawn == {"benefit.png", "position_labels.gif", "training.png", "voco.png"}


# Position labels


@pytest.mark.parametrize(("grid", "place"), [(FLAT, (3, 9, 0)), (CUBE, (1, 2, 3))], ids=["2-D", "3-D"])
def test_the_explorer_shows_the_labels_of_the_place(grid, place):
    explorer = viewers.explore_positions(None, made_volume(), grid)
    explorer.move(*place)
    expected = vl.position_labels(torch.tensor([place]), grid)[0]
    assert torch.equal(explorer.labels, expected) and float(explorer.labels.sum()) == pytest.approx(1)


@pytest.mark.parametrize("axis", range(3))
def test_moving_a_slider_of_the_explorer_changes_picture_and_words(axis):
    explorer = viewers.explore_positions(None, made_volume(), CUBE)
    png, words = explorer.image.value, explorer.caption.value
    explorer.sliders[axis].value = 1
    assert explorer.image.value != png and explorer.caption.value != words


def test_an_axis_without_choice_cannot_be_dragged():
    explorer = viewers.explore_positions(None, made_volume(), FLAT)
    assert [slider.disabled for slider in explorer.sliders] == [False, False, True]


def test_the_depth_of_the_block_changes_the_picture_but_not_the_label():
    explorer = viewers.explore_positions(None, made_volume(), FLAT)
    png, labels = explorer.image.value, explorer.labels
    explorer.depth.value = 16
    assert explorer.image.value != png and torch.equal(explorer.labels, labels)


def test_a_prediction_follows_the_depth_of_the_block(tiny_model):
    explorer = viewers.explore_positions(tiny_model, torch.rand(1, 48, 48, 48))
    before = explorer.predicted.clone()
    explorer.depth.value = 20
    assert not torch.equal(explorer.predicted, before)


def test_a_block_that_leaves_the_volume_is_refused():
    with pytest.raises(ValueError, match=r"from \(0, 0, 17\) on"):
        viewers.show_position_labels(made_volume(), torch.tensor([[1, 2, 0]]), FLAT, first=(0, 0, 17))


def test_bars_have_the_heights_of_the_labels():
    from voco_lite.viewers.pictures import new_figure
    from voco_lite.viewers.positions import draw_bars

    axes = new_figure(3, 2).subplots()
    label = vl.position_labels(torch.tensor([[3, 9, 0]]), FLAT)[0]
    draw_bars(axes, label, FLAT)
    assert [bar.get_height() for bar in axes.patches] == pytest.approx(label.tolist())


def test_the_random_crop_is_drawn_where_it_lies():
    from voco_lite.viewers.pictures import new_figure
    from voco_lite.viewers.positions import draw_grid

    axes = new_figure(3, 3).subplots()
    draw_grid(axes, torch.rand(24, 24, 8), torch.tensor([3, 9, 0]), FLAT, (0, 1))
    box = axes.patches[-1]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (3, 9, 8, 8)
    assert axes.get_xlim() == (24, 0)  # x grows to the left, toward the patient's right


def test_the_words_name_every_overlapped_base_crop():
    picture = viewers.show_position_labels(made_volume(), torch.tensor([[4, 4, 0]]), FLAT)
    assert picture.alt == (
        "Random crop at voxel (4, 4, 0): 25% in base crop 0, 25% in base crop 1, 25% in base crop 3, 25% in base crop 4."
    )


def test_a_volume_smaller_than_the_grid_is_refused():
    with pytest.raises(ValueError, match="Take smaller crops"):
        viewers.explore_positions(None, torch.rand(1, 20, 24, 24), FLAT)


def test_an_explorer_without_model_and_grid_is_refused():
    with pytest.raises(ValueError, match="a model or a grid"):
        viewers.explore_positions(None, made_volume())


def test_the_explorer_of_a_model_predicts_with_its_own_grid(tiny_model):
    explorer = viewers.explore_positions(tiny_model, torch.rand(1, 48, 48, 48))
    before = explorer.predicted.clone()
    explorer.move(x=1)
    assert explorer.grid.crop_size == (16, 16, 16) and explorer.predicted.shape == (9,)
    assert not torch.equal(explorer.predicted, before)


@pytest.mark.parametrize("cells", [(3, 3, 1), (2, 2, 2)], ids=["2-D", "3-D"])
def test_a_crop_on_a_base_crop_is_predicted_with_similarity_one(tiny_model, cells):
    grid = vl.CropGrid(cells=cells, crop_size=(16, 16, 16))
    block = torch.rand(1, *grid.block_size, generator=torch.Generator().manual_seed(1))
    explorer = viewers.explore_positions(tiny_model, block, grid)
    explorer.move(*vl.grid_starts(grid)[3].tolist())
    assert int(explorer.predicted.argmax()) == 3 and float(explorer.predicted[3]) == pytest.approx(1, abs=1e-3)
    assert float(explorer.labels[3]) == 1


def test_predicting_leaves_the_model_in_its_mode(tiny_model):
    tiny_model.train()
    viewers.explore_positions(tiny_model, torch.rand(1, 48, 48, 48))
    assert tiny_model.training


# Curves


def history():
    gauges = {
        "intra_loss": 0.8,
        "top1": 0.6,
        "top1_across": 0.5,
        "chance": 0.1,
        "fixed_cell": 0.2,
        "effective_rank": 9.0,
        "spread": 0.9,
    }
    first = {"step": 0, **{f"held_out/{name}": value for name, value in gauges.items()}}
    rest = [{"step": step, "intra": 0.8 - 0.05 * step, "regularization": 0.2} for step in range(1, 9)]
    last = {f"held_out/{name}": value for name, value in (gauges | {"top1": 0.9, "intra_loss": 0.3}).items()}
    return vl.History([first, *rest[:-1], rest[-1] | last])  # fmt: skip


def test_the_words_of_a_history_tell_first_and_last_values():
    alt = viewers.plot_history(history()).alt
    assert "intra-volume from 0.75 to 0.40" in alt and "position top-1 from 0.60 to 0.90" in alt


def test_a_history_without_losses_is_refused():
    with pytest.raises(ValueError, match="Train a few steps"):
        viewers.plot_history(vl.History())


def test_a_history_without_gauges_is_drawn():
    records = [{"step": 1, "intra": 0.7}, {"step": 2, "intra": 0.6}]
    assert viewers.plot_history(vl.History(records)).png.startswith(PNG)


@pytest.mark.parametrize("intra", [0.3, 9.0])
def test_no_curve_runs_through_the_word_perfect(intra):
    flat = vl.History([{"step": step, "intra": intra, "regularization": 0.0} for step in range(9)])
    figure = new_figure(6, 2.5, quick=True)
    axes = figure.subplots()
    draw_terms(axes, flat, [entry for entry in TERMS if entry[0] in flat.names], vl.levels(vl.CropConfig()))
    figure.canvas.draw()
    word = next(text for text in axes.texts if text.get_text().startswith("perfect"))
    lowest = axes.transData.transform((0, 0))[1]
    assert axes.get_window_extent().y0 <= word.get_window_extent().y0 < word.get_window_extent().y1 <= lowest


def test_levels_come_from_the_run_folder(tmp_path):
    from voco_lite.viewers.curves import _levels_of_run

    config = vl.PretrainConfig.preset("ci", objective__name="cvpr24", cells=(4, 4, 1))
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert _levels_of_run(vl.History([], tmp_path)) == vl.levels(config.crops, vl.objective("cvpr24"))


def test_the_words_of_a_similarity_tell_how_far_it_is_off():
    alt = viewers.plot_similarity(torch.full((2, 3), 0.5), torch.full((2, 3), 0.25)).alt
    assert "2 random crop rows, 3 base crop columns" in alt and "mean absolute difference 0.25" in alt


def test_a_spectrum_tells_the_effective_rank():
    line = torch.linspace(-1, 1, 20)[:, None] * torch.ones(8)
    assert "flat: effective rank 1.0" in viewers.plot_spectrum({"flat": line}).alt


def test_named_curves_are_told_by_their_ends():
    picture = viewers.plot_curves({"a": ([0, 1], [-0.001, 2.0])}, "step", "loss", {"level": 1.0})
    assert picture.alt == "loss over step: a from 0.00 at 0 to 2.00 at 1."


def test_no_curve_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        viewers.plot_curves({}, "x", "y")
