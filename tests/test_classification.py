"""Classification: classes of subjects, crops that cover a scan, scores against scikit-learn, and the way back from a file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, roc_auc_score

from tiny_run import same_weights, weights
from tiny_task import finetune, tiny_finetuning
from voco_lite.config import EncoderConfig, PretrainConfig, VolumeConfig
from voco_lite.downstream import Split, fit, score_subjects
from voco_lite.downstream.classes import POPULATION, class_name, class_numbers, volumes_from_arrays
from voco_lite.downstream.classification import ClassificationConfig, ClassificationTask, build_classifier, cover
from voco_lite.downstream.classifier import Classifier, accuracy, auroc, estimate, examine, load_classifier
from voco_lite.downstream.start import Start, pretrained, untrained
from voco_lite.encoders import ConvEncoder, build_encoder
from voco_lite.model import VoCo
from voco_lite.samples import phantoms
from voco_lite.volumes import Volume

KINDS = ("dark", "bright")
AFFINE = torch.eye(4, dtype=torch.float64)


def scan(seed, size=(16, 16, 16)):
    """Noise, dark where the seed is even and bright where it is odd."""
    noise = torch.rand(1, *size, generator=torch.Generator().manual_seed(seed))
    kind = KINDS[seed % 2]
    return Volume(0.5 * noise + 0.5 * (kind == "bright"), AFFINE, f"scan {seed}", "prepared", attributes={"kind": kind})


def settings(**changes):
    return ClassificationConfig(**({"attribute": "kind", "classes": KINDS, "crop_size": (8, 8, 8)} | changes))


def start():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Start(ConvEncoder((8, 8, 8)), EncoderConfig(), VolumeConfig())


def task(training=4, **changes):
    return ClassificationTask(
        start(), Split([scan(i) for i in range(training)], [scan(100), scan(101)]), settings(**changes)
    )


def drawn(made, index=0, seed=0):
    return made.sample(index, torch.Generator().manual_seed(seed))


def answers(n=40, classes=3, seed=0):
    """Classes of some subjects, and probabilities that lean towards them."""
    chance = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), chance.integers(classes, size=n - classes)])
    logits = chance.normal(size=(n, classes)) + np.eye(classes)[truth]
    odds = np.exp(logits)
    return truth, odds / odds.sum(1, keepdims=True)


def test_classes_of_the_population_are_what_is_known_about_it():
    subjects = phantoms(6, PretrainConfig.preset("ci").volume)
    for attribute, classes in POPULATION.items():
        assert len(class_numbers(subjects, attribute, classes)) == 6
    for subject in subjects:
        known = subject.attributes
        assert class_name(subject, "lesion") == ("present" if known["lesions"] else "absent")
        assert class_name(subject, "contrast_phase") == known["contrast_phase"]
        assert class_name(subject, "body_shape") == known["body_shape"]["name"]


def test_a_subject_without_the_attribute_or_of_another_class_is_named():
    for attribute in ("lesion", "body_shape", "age"):
        with pytest.raises(ValueError, match="scan 0 must have the attribute"):
            class_name(scan(0), attribute)
    with pytest.raises(ValueError, match="scan 0 must have the attribute"):
        class_name(replace(scan(0), attributes={"lesions": "several"}), "lesion")
    with pytest.raises(ValueError, match="kind of scan 1 must be one of"):
        class_numbers([scan(0), scan(1)], "kind", ("dark", "grey"))


@pytest.mark.parametrize("size", [(16, 16, 16), (17, 20, 23), (8, 9, 31), (5, 8, 3)])
def test_crops_cover_every_voxel_and_none_is_needless(size):
    place = torch.arange(1, 1 + np.prod(size)).reshape(1, *size).float()
    crops = cover(place, (8, 8, 8))
    assert set(crops.unique().tolist()) - {0} == set(place.flatten().tolist())
    assert len(crops) == np.prod([-(-n // 8) for n in size])
    if all(n >= 8 for n in size):
        assert crops.min() > 0, "only a scan that is smaller than a crop is padded"


@pytest.mark.parametrize("name", ["conv-tiny", "plain-conv", "swin-tiny"])
def test_any_encoder_gives_a_logit_a_class_from_averaged_features(name):
    network = build_classifier(build_encoder(EncoderConfig(name), 1, 0), 3, seed=0).eval()
    side = max(network.encoder.size_multiple, network.encoder.minimum_size)
    crops = torch.rand(2, 1, side, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both = network(crops[None], torch.tensor([2]))[0]
        each = network(crops[:, None], torch.tensor([1, 1]))
    torch.testing.assert_close(both, each.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.probabilities(crops), both.double().softmax(-1), atol=1e-4, rtol=1e-4)


def test_what_fills_an_example_up_is_not_looked_at():
    made = ClassificationTask(start(), Split([scan(0), scan(1, (16, 16, 24))]), settings())
    one, other = drawn(made), drawn(made, 1)
    assert one["crops"].shape == other["crops"].shape and (int(one["count"]), int(other["count"])) == (8, 12)
    network, counts = made.network.train(), torch.tensor([8, 12])
    crops = torch.stack([one["crops"], other["crops"]])
    spoiled = crops.clone()
    spoiled[0, 8:] = 1e3
    torch.testing.assert_close(network(spoiled, counts), network(crops, counts))


def test_every_crop_counts_the_same_whatever_its_place():
    network = task().network.eval()
    crops = torch.linspace(0, 1000, 8)[:, None, None, None, None].expand(8, 1, 8, 8, 8)
    found = network.probabilities(crops)
    with torch.no_grad():
        expected = network(crops[None], torch.tensor([8]))[0].double().softmax(-1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.probabilities(crops.flip(0)), expected, atol=1e-4, rtol=1e-4)


def test_the_head_depends_on_the_task_s_seed_alone():
    split = Split([scan(0), scan(1)])
    heads = [weights(ClassificationTask(start(), split, settings(), seed).network.head) for seed in (0, 0, 1)]
    assert same_weights(heads[0], heads[1]) and not same_weights(heads[0], heads[2])


def test_a_draw_depends_on_its_generator_alone_and_the_shift_is_one_for_the_whole_scan():
    made = task()
    assert torch.equal(drawn(made, 1, 3)["crops"], drawn(made, 1, 3)["crops"])
    shifts = [drawn(made, 1, seed)["crops"] - cover(scan(1).data, (8, 8, 8)) for seed in range(20)]
    assert all(float(shift.max() - shift.min()) < 1e-6 and float(shift.abs().max()) <= 0.1 + 1e-6 for shift in shifts)
    assert 0 < sum(bool(shift.abs().max() > 1e-6) for shift in shifts) < 20


def test_the_loss_is_the_negative_log_of_the_right_class():
    made = task(shift=0.0)
    made.network.eval()
    batch = {name: torch.stack([drawn(made, i)[name] for i in range(4)]) for name in drawn(made)}
    right = made.scores(made.split.training)
    expected = -np.log(right).mean()
    assert made.losses(batch)["cross_entropy"].item() == pytest.approx(expected, abs=1e-4)


def test_balanced_weights_let_each_class_count_the_same():
    made = ClassificationTask(start(), Split([scan(i) for i in (0, 2, 4, 1)]), settings(class_weights="balanced"))
    torch.testing.assert_close(made.weights, torch.tensor([4 / (2 * 3), 4 / (2 * 1)]))
    made.network.head.weight.data.zero_()
    made.network.head.bias.data.copy_(torch.tensor([1.0, 0.0]))
    batch = {name: torch.stack([drawn(made, i)[name] for i in range(4)]) for name in drawn(made)}
    dark, bright = -F.log_softmax(torch.tensor([1.0, 0.0]), 0)
    assert made.losses(batch)["cross_entropy"].item() == pytest.approx(float(dark + bright) / 2, abs=1e-5)
    assert task().weights is None


@pytest.mark.parametrize("mode", ["full", "frozen", "linear-probe"])
def test_each_mode_trains_what_it_should(mode):
    made = task()
    encoder, head = weights(made.network.encoder), weights(made.network.head)
    fit(made, tiny_finetuning(steps=2, mode=mode))
    assert same_weights(weights(made.network.encoder), encoder) == (mode != "full")
    assert not same_weights(weights(made.network.head), head)


def test_dark_and_bright_scans_are_learnt():
    made = task(shift=0.0)
    fitted = fit(made, tiny_finetuning(steps=30, gauge_every=10))
    losses = fitted.history["cross_entropy"][1]
    assert losses[-1] < 0.8 * losses[0]
    assert list(fitted.scores) == ["scan 100", "scan 101"] and all(0 <= s <= 1 for s in fitted.scores.values())


def test_starting_takes_the_weights_whole_and_leaves_the_pre_trained_model_alone():
    model = VoCo(PretrainConfig.preset("ci"))
    before = weights(model)
    made = ClassificationTask(pretrained(model), Split([scan(0), scan(1)]), settings(crop_size=(16, 16, 16)))
    assert same_weights(weights(made.network.encoder), weights(model.encoder))
    fit(made, tiny_finetuning(steps=2))
    assert same_weights(weights(model), before)


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_equal_scikit_learn_s(classes):
    truth, found = answers(classes=classes)
    expected = roc_auc_score(truth, found[:, 1] if classes == 2 else found, multi_class="ovr")
    assert auroc(truth, found) == pytest.approx(expected)
    assert accuracy(truth, found) == pytest.approx(accuracy_score(truth, found.argmax(1)))


def test_scores_of_known_answers():
    truth = np.array([0, 0, 1, 1])
    order = np.array([0.1, 0.4, 0.35, 0.8])  # three of four pairs are in order
    assert auroc(truth, np.stack([1 - order, order], 1)) == pytest.approx(0.75)
    assert accuracy(truth, np.stack([1 - order, order], 1)) == pytest.approx(0.75)
    assert np.isnan(auroc(np.zeros(3, int), np.full((3, 2), 0.5)))


def test_an_interval_of_accuracy_is_that_of_the_binomial_distribution():
    right = np.repeat([1, 0], [700, 300])
    found = np.stack([1.0 - right, right], 1)
    draws = np.random.default_rng(0).integers(1000, size=(4000, 1000))
    made = estimate(accuracy, np.ones(1000, int), found, draws)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert made.value == pytest.approx(0.7)
    assert (made.low, made.high) == (pytest.approx(0.7 - half, abs=0.003), pytest.approx(0.7 + half, abs=0.003))


def test_resamples_without_a_class_are_left_out():
    truth, found = np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    made = estimate(auroc, truth, found, np.array([[0, 0, 0], [0, 1, 2], [2, 2, 2]]))
    assert made.value == made.low == made.high == pytest.approx(0.5)
    nothing = estimate(auroc, truth, found, np.array([[0, 0, 1]]))
    assert np.isnan([nothing.low, nothing.high]).all() and nothing.value == pytest.approx(0.5)


def test_every_subject_is_examined_and_training_goes_on_in_its_mode():
    made = task()
    subjects = [scan(i) for i in range(10, 16)]
    made.network.train()
    report = examine(Classifier(made.network, made.config, made.start.volume), subjects, resamples=50)
    assert made.network.training
    assert [row.subject for row in report.subjects] == [f"scan {i}" for i in range(10, 16)]
    assert [row.truth for row in report.subjects] == [KINDS[i % 2] for i in range(10, 16)]
    assert [row.score for row in report.subjects] == pytest.approx(list(score_subjects(made, subjects).values()))
    right = [row.truth == row.predicted for row in report.subjects]
    assert report.accuracy.value == pytest.approx(np.mean(right))
    assert all(e.low <= e.value <= e.high for e in (report.accuracy, report.auroc))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        examine(Classifier(made.network, made.config, made.start.volume), [])


def test_a_trained_network_comes_back_from_its_run_folder(tmp_path):
    config = settings(crop_size=(16, 16, 16), class_weights="balanced")
    made = ClassificationTask(untrained(PretrainConfig.preset("ci"), 0), Split([scan(0), scan(1)], [scan(2)]), config)
    fit(made, tiny_finetuning(steps=2, batch_size=2, run_folder=str(tmp_path)))
    loaded = load_classifier(tmp_path)
    assert (loaded.config, loaded.volume) == (made.config, made.start.volume)
    made.network.eval()
    assert torch.equal(loaded.predict(scan(3)), made.predict(scan(3)))


def test_the_file_of_another_task_is_no_classifier(tmp_path):
    finetune(tiny_finetuning(steps=1, run_folder=str(tmp_path)))
    with pytest.raises(ValueError, match="another training"):
        load_classifier(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_classifier(tmp_path / "nothing")


def test_arrays_become_volumes_that_can_be_learnt():
    images = np.random.default_rng(0).integers(256, size=(4, 12, 12, 12), dtype=np.uint8)
    labels = np.array([[0], [1], [1], [0]], dtype=np.uint8)  # MedMNIST's shape
    made = volumes_from_arrays(images, labels, ("liver", "heart"), "organs")
    assert [v.source for v in made] == [f"organs {i}" for i in range(4)]
    assert class_numbers(made, "class", ("liver", "heart")) == [0, 1, 1, 0]
    torch.testing.assert_close(made[2].data[0], torch.from_numpy(images[2] / 255).float())
    floats = volumes_from_arrays(images[:, None] / 255, labels, ("liver", "heart"), "organs")
    torch.testing.assert_close(floats[2].data, made[2].data)
    fit(
        ClassificationTask(start(), Split(made), settings(attribute="class", classes=("liver", "heart"))),
        tiny_finetuning(steps=1),
    )


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, int), r"images must be \(subjects"),
        (np.zeros((2, 4, 4, 4), np.uint8), np.zeros(3, int), "one label each"),
        (np.full((2, 4, 4, 4), 7.0), np.zeros(2, int), r"floats in \[0, 1\]"),
        (np.full((2, 4, 4, 4), np.nan), np.zeros(2, int), r"floats in \[0, 1\]"),
        (np.zeros((0, 4, 4, 4)), np.zeros(0, int), r"got float64 \(0, 4, 4, 4\)"),
        (np.zeros((2, 4, 4, 4)), np.array([0, 2]), "whole numbers from 0 to 1"),
        (np.zeros((2, 4, 4, 4)), np.array([-1, 1]), "whole numbers from 0 to 1"),
        (np.zeros((2, 4, 4, 4)), np.array([0.0, 1.0]), "whole numbers from 0 to 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images, labels, said):
    with pytest.raises(ValueError, match=said):
        volumes_from_arrays(images, labels, ("liver", "heart"), "organs")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ()}, "two different names"),
        ({"classes": ("dark",)}, "two different names"),
        ({"classes": ("dark", "dark")}, "two different names"),
        ({"crop_size": (0, 8, 8)}, "crop_size must be positive"),
        ({"shift": -0.1}, "shift at least 0"),
        ({"class_weights": "some"}, "class_weights"),
        ({"crop_size": (12, 8, 8)}, "multiples of 8"),
        ({"classes": ("dark", "bright", "grey")}, "got none of grey among 4"),
    ],
)
def test_wrong_choices_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        task(**changes)


def test_a_validation_subject_of_an_unknown_class_is_refused_before_training():
    other = replace(scan(9), attributes={"kind": "grey"})
    with pytest.raises(ValueError, match="scan 9"):
        ClassificationTask(start(), Split([scan(0), scan(1)], [other]), settings())
