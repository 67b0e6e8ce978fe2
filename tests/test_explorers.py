"""Explorers: sliders change pictures and numbers, a hand-made encoder finds places, a theatre disturbs no training."""

import sys
import types

import pytest
import torch

import voco_lite as vl
from voco_lite import viewers
from voco_lite.viewers.sliding import Lattice, true_place

PNG = b"\x89PNG\r\n\x1a\n"
GRID = vl.CropGrid(cells=(3, 3, 1), crop_size=(8, 8, 8))


class Shift:
    """A displacement that is the same everywhere, in mm."""

    def __init__(self, *mm):
        self.mm = torch.tensor(mm)

    def __call__(self, affine, size):
        return self.mm.reshape(3, 1, 1, 1).expand(3, *size)


def coded(shift=(0.0, 0.0, 0.0), spacing=2.0, n=24):
    """A volume whose three channels tell where in the source each voxel lies, and that is shifted from it in mm."""
    axis = torch.arange(n) * spacing
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")) + torch.tensor(shift).reshape(3, 1, 1, 1)
    affine = torch.diag(torch.tensor([spacing] * 3 + [1.0], dtype=torch.float64))
    back = Shift(*(-mm for mm in shift))
    return vl.Volume(places / 100 + 1, affine, "coded", "prepared", to_source=Shift(*shift), from_source=back)


def position_code(crops):
    """Vectors whose cosine falls with the distance of the crops' middles."""
    angle = crops.mean((2, 3, 4)) * 2
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def noise_code(crops):
    """Vectors that know nothing of places."""
    return torch.rand(len(crops), 8, generator=torch.Generator().manual_seed(len(crops)))


@pytest.fixture(scope="module")
def model():
    return vl.VoCo(vl.PretrainConfig.preset("ci"))


@pytest.fixture(scope="module")
def noise():
    data = torch.rand(1, 48, 48, 24, generator=torch.Generator().manual_seed(0))
    return vl.Volume(data, torch.eye(4, dtype=torch.float64), "noise", "prepared")


# Crops slid over a volume


def test_slid_crops_reach_from_border_to_border():
    lattice = Lattice((24, 16, 8), (8, 8, 8), 4)
    assert lattice.counts == (5, 3, 1) and lattice.starts[-1].tolist() == [16, 8, 0] and len(lattice.starts) == 15


def test_heat_is_drawn_where_the_crops_have_their_middles():
    from voco_lite.viewers.planes import plane_named

    lattice = Lattice((24, 24, 24), (8, 8, 8), 8)
    heat, ends = lattice.heat_slice(torch.arange(27.0).reshape(3, 3, 3), plane_named("axial"), 12)
    assert heat.shape == (17, 17) and ends == (20.5, 3.5, 3.5, 20.5)
    # The first row is the front (high y), the first column the right (high x).
    assert float(heat[0, 0]) == pytest.approx(2 * 9 + 2 * 3 + 1, abs=0.2)


def test_crops_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="Take smaller crops"):
        Lattice((24, 24, 4), (8, 8, 8), 4)


def test_a_place_goes_through_the_source_into_the_other_subject():
    # A shows 6 mm further along x than the source, B 4 mm further along y: voxels of 2 mm.
    found = true_place(coded((6.0, 0, 0)), torch.tensor([5, 6, 7]), coded((0, 4.0, 0)))
    assert found.tolist() == pytest.approx([8, 4, 7])


def test_a_place_of_the_population_comes_back_from_another_subject():
    one, other = (vl.samples.phantom(seed, (8, 8, 8)) for seed in (0, 1))
    place = torch.tensor([3.0, 4.0, 5.0])
    there = true_place(one, place, other)
    back = true_place(other, there, one)
    assert float((back - place).abs().max()) < 0.1 < float((there - place).abs().max())


def test_subjects_of_different_sources_are_refused():
    one = vl.samples.phantom(0, (8, 8, 8))  # coded() names no source
    with pytest.raises(ValueError, match="from one source"):
        true_place(one, torch.tensor([4, 4, 4]), coded())


# Similarity map


def test_the_similarity_of_a_position_code_is_largest_at_the_base_crop():
    shown = viewers.similarity_map(position_code, coded(), base=5, grid=GRID, stride=4)
    assert shown.distance_mm == {"model": 0} and shown.peaks["model"].tolist() == [11.5, 19.5, 11.5]


def test_in_another_subject_the_truth_follows_the_deformation():
    shown = viewers.similarity_map(position_code, coded(), slid_over=coded((8.0, 0, 0)), grid=GRID, stride=4)
    assert shown.peaks["model"].tolist() == [7.5, 11.5, 11.5] and shown.distance_mm["model"] == pytest.approx(0)


def test_where_everything_looks_alike_the_similarity_elsewhere_is_one():
    models = {"code": position_code, "alike": lambda crops: torch.ones(len(crops), 4)}
    shown = viewers.similarity_map(models, coded(), base=0, grid=GRID, stride=4)
    assert shown.elsewhere["alike"] == pytest.approx(1) and shown.elsewhere["code"] < 0.95


@pytest.mark.parametrize("slider", ["base", "level"])
def test_moving_a_slider_of_the_map_changes_picture_and_words(slider):
    shown = viewers.similarity_map(position_code, coded(), base=0, grid=GRID, stride=4)
    png, words = shown.image.value, shown.caption.value
    getattr(shown, slider).value += 1
    assert shown.image.value != png and shown.caption.value != words


def test_models_stand_side_by_side(model, noise):
    trained = vl.VoCo(vl.PretrainConfig.preset("ci", seed=1))
    shown = viewers.similarity_map({"before": model, "after": trained}, noise, stride=16)
    assert "before: " in shown.alt and "after: " in shown.alt
    assert not torch.equal(shown.similarity["before"], shown.similarity["after"])


def test_a_map_leaves_the_model_in_its_mode(model, noise):
    model.train()
    viewers.similarity_map(model, noise, stride=16)
    assert model.training and all(part.training for part in model.modules())


def test_without_a_known_deformation_no_distance_is_claimed(model, noise):
    shown = viewers.similarity_map(model, noise, slid_over=noise.data.flip(1), stride=16)
    assert shown.distance_mm == {"model": None} and " off" not in shown.alt


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"base": 9}, "from 0 to 8"),
        ({"models": {}}, "at least one"),
        ({"grid": None}, "no VoCo"),
        ({"by": "x"}, "by must"),
    ],
    ids=["base", "no model", "no grid", "by"],
)
def test_wrong_requests_for_a_map_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        viewers.similarity_map(**{"models": position_code, "volume": coded(), "grid": GRID, "stride": 8, **wrong})


# Cross-patient pointer


def test_a_position_code_finds_the_place_within_one_stride():
    pointer = viewers.point_across(position_code, coded((6.0, 0, 0)), coded((0, 4.0, 0)), GRID, stride=4)
    pointer.move(10, 14, 9)
    assert pointer.truth.tolist() == pytest.approx([13, 12, 9])
    assert pointer.reachable and float((pointer.found - pointer.truth).abs().max()) <= 4


def test_the_distance_is_in_millimetres():
    pointer = viewers.point_across(position_code, coded(), coded(), GRID, stride=4)
    offset = pointer.found - pointer.truth
    assert pointer.distance_mm == pytest.approx(2 * float(offset.norm())) and pointer.distance_mm > 0


@pytest.mark.parametrize("axis", range(3))
def test_pointing_elsewhere_changes_picture_and_words(axis):
    pointer = viewers.point_across(position_code, coded(), coded(), GRID, stride=4)
    png, words = pointer.image.value, pointer.caption.value
    pointer.sliders[axis].value += 4
    assert pointer.image.value != png and pointer.caption.value != words


def test_a_place_that_the_other_subject_does_not_show_is_called_so():
    pointer = viewers.point_across(position_code, coded((40.0, 0, 0)), coded(), GRID, stride=4)
    assert not pointer.reachable and "which no crop of B reaches" in pointer.alt


def test_a_place_without_known_truth_is_called_so(model, noise):
    pointer = viewers.point_across(model, noise, noise, stride=16)
    assert pointer.distance_mm is None and "is not known" in pointer.alt
    with pytest.raises(ValueError, match="deformation is known"):
        pointer.error_table(3)


@pytest.mark.parametrize(("by", "lattices"), [("pooled", 1), ("projected", 2)])
def test_the_other_subject_alone_is_embedded_unless_a_projector_needs_both(by, lattices):
    sizes = []

    def counted(crops):
        sizes.append(len(crops))
        return position_code(crops)

    pointer = viewers.point_across(counted, coded(), coded((4.0, 0, 0)), GRID, stride=4, by=by)
    assert sum(sizes) == lattices * len(pointer.lattice.starts) + 1


def test_the_pointers_heat_scale_says_what_its_ends_mean():
    pointer = viewers.point_across(position_code, coded(), coded(), GRID, stride=4)
    *_, scale = pointer._stage.figure.axes
    assert [label.get_text() for label in scale.get_yticklabels()] == ["different", "similar"]
    box = scale.get_tightbbox()
    assert box.x1 <= pointer._stage.figure.bbox.width and box.y1 <= pointer._stage.figure.bbox.height


def test_a_position_code_beats_the_share_of_the_box_and_one_that_knows_nothing():
    pointer = viewers.point_across(position_code, coded((6.0, 0, 0)), coded((0, 4.0, 0)), GRID, stride=2)
    errors = pointer.error_table(30, rivals={"nothing": noise_code})
    floor, ours, box, nothing = (
        errors.median(way) for way in ("nearest crop", "this encoder", "same share of the box", "nothing")
    )
    assert floor <= ours < min(box, nothing) and box == pytest.approx(52**0.5)


def test_the_same_points_are_drawn_for_every_encoder():
    ours, theirs = (
        viewers.point_across(code, coded(), coded(), GRID, stride=4).error_table(10)
        for code in (position_code, noise_code)
    )
    assert torch.equal(ours.offsets["nearest crop"], theirs.offsets["nearest crop"])


def test_the_table_names_ways_medians_and_points():
    errors = viewers.PointErrors({"a way": torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 5.0], [3.0, 4.0, 0.0]])})
    assert errors.median("a way") == 5 and errors.median("a way", "z") == 0 and errors.interval("a way") == (5, 5)
    assert "a way" in str(errors) and "3 points" in str(errors) and errors.picture.png.startswith(PNG)


def test_a_voco_is_compared_with_its_untrained_self(model):
    subjects = [vl.samples.phantom(seed, (40, 40, 40)) for seed in (0, 1)]
    errors = viewers.point_across(model, *subjects, stride=12).error_table(4)
    assert torch.equal(errors.offsets["this encoder"], errors.offsets["untrained encoder"])


def test_more_points_than_there_are_is_refused():
    empty = coded((40.0, 40.0, 40.0))
    with pytest.raises(ValueError, match="Ask for fewer"):
        viewers.point_across(position_code, empty, coded(), GRID, stride=4).error_table(2)


# Training theatre


class Clock:
    """Seconds that pass as a test says; drawing takes one."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clocked(monkeypatch, model, noise):
    """A theatre whose clock stands still but for one second of drawing, and its clock."""
    from voco_lite.viewers import theatre as module

    clock = Clock()
    monkeypatch.setattr(module.time, "perf_counter", clock)
    theatre = viewers.TrainingTheatre(noise, every=5)
    draw = theatre._draw

    def slow(*args):
        clock.now += 1
        draw(*args)

    monkeypatch.setattr(theatre, "_draw", slow)
    return theatre, clock


def record(step):
    return {"step": step, "intra": 0.8 - step / 100, "regularization": 0.1}


def test_the_first_and_the_last_record_are_drawn(clocked, model):
    theatre, _ = clocked
    drawn = []
    for step in (10, 20, model.config.train.steps):
        theatre(record(step), model)
        drawn.append(theatre.pictures)
    assert drawn == [1, 1, 2] and f"Step {model.config.train.steps}" in theatre.alt


def test_pictures_keep_within_their_share_of_the_time(clocked, model):
    theatre, clock = clocked
    for step in range(1, 25):
        theatre(record(step), model)
        clock.now += 10
    # 24 records in 240 s: a second of drawing each 33 s is 3 %.
    assert 5 <= theatre.pictures <= 8 and theatre.share <= 0.03


def test_the_share_counts_gauges_and_drawing_apart(clocked, model):
    theatre, clock = clocked
    theatre(record(1), model)
    clock.now += 9
    theatre(record(model.config.train.steps), model)
    assert theatre.seconds == {"gauges": 0, "drawing": 2} and theatre.share == pytest.approx(2 / 11)


def test_another_run_starts_the_picture_anew(clocked, model):
    theatre, _ = clocked
    for step in (10, 20, 10):
        theatre(record(step), model)
    assert theatre.history.steps == 10 and len(theatre.history) == 1


def test_a_watched_training_ends_with_the_weights_of_one_that_was_not(tmp_path):
    from tiny_run import same_weights, tiny_config, tiny_volumes, train, weights

    config = tiny_config(steps=3)
    theatre = viewers.TrainingTheatre(tiny_volumes(1, first=9), every=0, most=1)
    watched, alone = train(config, callbacks=[theatre])[0], train(config)[0]
    assert theatre.pictures >= 2 and same_weights(weights(watched), weights(alone))


def test_a_theatre_watches_the_same_crops_each_time_without_the_global_generator(clocked, model):
    theatre, _ = clocked
    state = torch.get_rng_state()
    theatre(record(1), model)
    first = theatre.alt
    theatre.redraw(model)
    assert theatre.top1[0] == theatre.top1[1] and theatre.alt == first
    assert torch.equal(torch.get_rng_state(), state)


def test_a_theatre_shows_a_picture_before_and_without_a_front_end(noise):
    theatre = viewers.TrainingTheatre([noise])
    data, _ = theatre._repr_mimebundle_()
    assert theatre.picture.png.startswith(PNG) and "first record" in data["text/plain"]


@pytest.mark.parametrize("wrong", [{"volumes": []}, {"most": 0}, {"every": -1}], ids=str)
def test_wrong_theatres_are_refused(wrong, noise):
    with pytest.raises(ValueError, match="Give a held-out volume"):
        viewers.TrainingTheatre(**{"volumes": [noise], **wrong})


# Embedding map


@pytest.fixture(scope="module")
def coded_map():
    volumes = [coded(), coded((6.0, 0, 0)), coded((0, 4.0, 0))]
    for volume in volumes:
        # Their regions are those of their own boxes: the displacement has no source with a box.
        object.__setattr__(volume, "to_source", None)
    return viewers.embedding_map(position_code, volumes, crops=40, regions=(3, 3, 1), grid=GRID)


def test_a_position_code_groups_by_region_and_not_by_subject(coded_map):
    assert coded_map.shared["region"] > 2 * coded_map.by_chance["region"]
    assert coded_map.shared["subject"] < coded_map.by_chance["subject"] + 0.25


def test_neighbours_of_a_region_are_sought_in_other_subjects_only():
    one = coded()
    mirrored = vl.Volume(one.data.flip(1), one.affine, "mirrored", "prepared")
    object.__setattr__(one, "to_source", None)
    shown = viewers.embedding_map(position_code, [one, mirrored], crops=40, regions=(2, 1, 1), grid=GRID)
    # What lies left in one lies right in the other.
    assert shown.shared["region"] < 0.25 < shown.by_chance["region"]


@pytest.mark.parametrize(("control", "value"), [("colour", "subject"), ("chosen", 7)])
def test_every_control_of_the_embedding_map_changes_picture_and_words(coded_map, control, value):
    png, words = coded_map.image.value, coded_map.caption.value
    getattr(coded_map, control).value = value
    assert coded_map.image.value != png and coded_map.caption.value != words


def test_hovering_tells_subject_region_and_place(coded_map):
    figure = coded_map.figure()
    texts = [text for trace in figure.data for text in trace.text]
    assert len(texts) == 120 and any(text.startswith("crop 0: subject 0, ") for text in texts)


def test_the_region_of_a_crop_is_where_its_middle_lies(coded_map):
    for number in range(len(coded_map.points)):
        x = float(coded_map.crops.middle(number)[0]) / 24
        side = "left" if x < 1 / 3 else "right" if x >= 2 / 3 else ""
        assert (side or "t") in coded_map.groups["region"][number] or not side
        assert side or not {"left", "right"} & set(coded_map.groups["region"][number].split())


def test_the_organ_is_what_fills_the_middle_of_a_crop():
    from voco_lite.viewers.naming import organ_name

    labels = torch.zeros(24, 24, 24, dtype=torch.long)
    labels[:12] = 1
    volume = vl.Volume(torch.zeros(1, 24, 24, 24), torch.eye(4).double(), "made", labels=labels, label_names={1: "a_b"})
    assert [organ_name(volume, torch.tensor([x, 0, 0]), GRID) for x in (4, 16)] == ["a b", "nothing named"]


def labelled():
    """A coded volume whose left half is an organ."""
    one = coded()
    labels = torch.zeros(24, 24, 24, dtype=torch.long)
    labels[:12] = 1
    object.__setattr__(one, "to_source", None)
    object.__setattr__(one, "labels", labels)
    object.__setattr__(one, "label_names", {1: "left_half"})
    return one


def test_crops_are_coloured_by_organ_where_every_subject_is_labelled():
    shown = viewers.embedding_map(position_code, [labelled(), labelled()], crops=8, grid=GRID)
    shown.colour.value = "organ"
    assert set(shown.groups["organ"]) == {"left half", "nothing named"} and "have the same organ" in shown.alt


def test_an_organ_is_no_choice_where_a_subject_has_no_labels(coded_map):
    unlabelled = labelled()
    object.__setattr__(unlabelled, "labels", None)
    shown = viewers.embedding_map(position_code, [labelled(), unlabelled], crops=8, grid=GRID)
    assert shown.colour.options == coded_map.colour.options == ("region", "subject")
    assert "nothing named" not in shown.alt


def test_umap_lays_out_vectors_of_length_one_by_their_cosine_from_the_seed(monkeypatch):
    asked = {}

    class UMAP:
        def __init__(self, **settings):
            asked.update(settings)

        def fit_transform(self, vectors):
            asked["lengths"] = torch.from_numpy(vectors).norm(dim=1)
            return vectors[:, [-1, -2]]

    monkeypatch.setattr("voco_lite.viewers.embeddings.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    shown = viewers.embedding_map(position_code, [labelled(), labelled()], crops=8, grid=GRID, method="umap", seed=3)
    assert (asked["random_state"], asked["metric"]) == (3, "cosine") and "UMAP of crops" in shown._title()
    torch.testing.assert_close(asked["lengths"], torch.ones(16, dtype=torch.float64))
    expected = torch.nn.functional.normalize(shown.vectors, dim=-1)[:, [-1, -2]]
    torch.testing.assert_close(shown.points, expected)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"volumes": [coded()]}, ValueError, "at least 2 subjects"),
        ({"method": "tsne"}, ValueError, "must be"),
        ({"method": "umap"}, ModuleNotFoundError, 'Use "pca"'),
    ],
    ids=["one subject", "method", "not installed"],
)
def test_wrong_requests_for_an_embedding_map_are_refused(wrong, error, message, monkeypatch):
    monkeypatch.setattr("voco_lite.viewers.embeddings.find_spec", lambda name: None)
    with pytest.raises(error, match=message):
        viewers.embedding_map(**{"model": position_code, "volumes": [coded(), coded()], "grid": GRID, **wrong})


# Augmentation player

ALL = vl.CropConfig(
    cells=(2, 2, 1), crop_size=(16, 16, 16), flip_probability=1, rotate_probability=1, shift_probability=1
)


def test_the_player_shows_what_a_batch_of_the_data_set_holds(noise):
    player = viewers.augmentation_player(noise, ALL, seed=3)
    player.draw.value = 5
    batch = vl.VoCoDataset([noise], ALL, seed=3).batch([5])
    assert torch.equal(player.seen[:2], batch.random_crops[0]) and torch.equal(player.seen[2:], batch.base_crops[0, :3])


def test_the_player_states_flips_turns_and_shifts(noise):
    player = viewers.augmentation_player(noise, ALL)
    assert all(
        "flipped along x, y, z; turned " in player.describe(i) and "shifted by" in player.describe(i) for i in range(5)
    )


def test_without_augmentation_crops_are_called_unchanged(noise):
    config = vl.CropConfig((2, 2, 1), (16, 16, 16), flip_probability=0, rotate_probability=0, shift_probability=0)
    player = viewers.augmentation_player(noise, config)
    assert player.describe(0) == "unchanged" and torch.equal(player.cut, player.seen)


@pytest.mark.parametrize("slider", ["draw", "level"])
def test_moving_a_slider_of_the_player_changes_picture_and_words(noise, slider):
    player = viewers.augmentation_player(noise, ALL)
    png, words = player.image.value, player.caption.value
    getattr(player, slider).value += 1
    assert player.image.value != png and player.caption.value != words


@pytest.mark.parametrize("axis", [0, 1])
def test_letters_follow_the_patient_through_flips_and_turns(axis):
    # Bright toward the patient's right, or front: the letter of that side stands at the bright border.
    ramp = torch.linspace(0, 1, 48).reshape(*[-1 if a == axis else 1 for a in range(3)]).expand(48, 48, 24)
    volume = vl.Volume(ramp[None].clone(), torch.eye(4, dtype=torch.float64), "ramp", "prepared")
    player = viewers.augmentation_player(volume, ALL)
    for number in range(len(player.seen)):
        picture = player.seen[number, 0, :, :, 8].T.flip(0, 1)
        borders = picture[:, 0].mean(), picture[:, -1].mean(), picture[0].mean(), picture[-1].mean()
        assert player.letters(number, seen=True)[int(torch.stack(borders).argmax())] == "RA"[axis]
    assert player.letters(0, seen=False) == ("R", "L", "A", "P")


def test_draws_of_the_operating_system_are_called_so(noise):
    unseeded = vl.CropConfig((2, 2, 1), (16, 16, 16), seeded=False)
    assert "looks different each time" in viewers.augmentation_player(noise, unseeded).alt


def test_a_player_without_draws_is_refused(noise):
    with pytest.raises(ValueError, match="draws must be at least 1"):
        viewers.augmentation_player(noise, ALL, draws=0)
