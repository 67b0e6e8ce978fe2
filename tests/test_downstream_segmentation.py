"""Segmentation: networks on our encoders, balanced patches, scores in mm, and the way back to the file's grid."""

import warnings

import nibabel
import numpy as np
import pytest
import torch
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR

from tiny_run import same_weights, weights
from tiny_task import finetune, tiny_finetuning
from voco_lite.config import EncoderConfig, PretrainConfig, VolumeConfig
from voco_lite.downstream import Split, fit
from voco_lite.downstream.metrics import dice, measure_fit
from voco_lite.downstream.organs import organ_classes
from voco_lite.downstream.predicting import predict, save_prediction
from voco_lite.downstream.segmentation import SegmentationConfig, SegmentationTask
from voco_lite.downstream.segmenter import examine, load_segmenter
from voco_lite.downstream.start import Start, pretrained, untrained
from voco_lite.downstream.unet import LinearSegmenter, SwinUNETR, build_segmenter
from voco_lite.encoders import ConvEncoder, EncoderOutput, build_encoder
from voco_lite.model import VoCo
from voco_lite.official_weights import export_swinunetr
from voco_lite.volumes import Volume, load_volume

NAMES = {3: "ball", 7: "cube"}


def body(seed=0, n=24):
    """A bright ball and a dark cube in grey noise, with ids 3 and 7."""
    make = torch.Generator().manual_seed(seed)
    labels = torch.zeros(n, n, n, dtype=torch.uint8)
    at = torch.stack(torch.meshgrid(*[torch.arange(n)] * 3, indexing="ij"), -1)
    centre = torch.randint(6, 10, (3,), generator=make)
    labels[(at - centre).square().sum(-1) <= 16] = 3
    labels[14:20, 14:20, 13:19] = 7
    data = 0.5 + 0.4 * (labels == 3).float() - 0.4 * (labels == 7).float()
    data = (data + 0.05 * torch.randn(data.shape, generator=make))[None]
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    return Volume(data, affine, f"body {seed}", "prepared", labels, dict(NAMES))


def start():
    return Start(ConvEncoder((8, 16, 16)), EncoderConfig(), VolumeConfig())


def settings(**changes):
    return SegmentationConfig(**({"organs": ("ball", "cube"), "patch_size": (16, 16, 16)} | changes))


def task(n=2, **changes):
    split = Split([body(i) for i in range(n)], [body(100)])
    return SegmentationTask(start(), split, settings(**changes))


def boxes(first, second, n=16):
    """Two label maps with one box each along x."""
    maps = []
    for low, high in (first, second):
        made = torch.zeros(n, n, n, dtype=torch.uint8)
        made[low:high, 4:12, 4:12] = 1
        maps.append(made)
    return maps


def test_a_u_net_learns_to_segment():
    made = task()
    fitted = fit(made, tiny_finetuning(steps=40, batch_size=4, gauge_every=20))
    assert fitted.score > 0.6


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("name", ["conv-tiny", "plain-conv"])
def test_every_voxel_gets_a_logit_a_class(name, linear):
    encoder = build_encoder(EncoderConfig(name), 1, 0)
    network = build_segmenter(encoder, 4, linear, seed=0).eval()
    size = (encoder.size_multiple * 2, encoder.size_multiple, encoder.size_multiple)
    with torch.no_grad():
        assert network(torch.rand(1, 1, *(max(n, encoder.minimum_size) for n in size))).shape[1] == 4


def test_starting_leaves_the_pre_trained_model_alone_and_takes_its_weights_whole():
    config = PretrainConfig.preset("ci")
    model = VoCo(config)
    before = weights(model)
    split = Split([body(0)], [body(1)])
    made = SegmentationTask(pretrained(model), split, settings())
    crops = torch.rand(2, 1, 16, 16, 16)
    ours, theirs = (encoder.eval()(crops).pooled for encoder in (made.network.encoder, model.encoder))
    assert torch.equal(ours, theirs)
    fit(made, tiny_finetuning(steps=2))
    model.train()
    assert same_weights(weights(model), before)


def test_scratch_is_the_same_network_with_other_weights():
    config, split = PretrainConfig.preset("ci"), Split([body(0)], [body(1)])
    one, other = (SegmentationTask(untrained(config, seed), split, settings()).network for seed in (0, 1))
    assert {n: t.shape for n, t in one.state_dict().items()} == {n: t.shape for n, t in other.state_dict().items()}
    assert not same_weights(weights(one.encoder), weights(other.encoder))
    assert same_weights(weights(one.ups), weights(other.ups)), "the head depends on the task's seed alone"


def test_swin_unetr_equals_monai_s_with_the_same_weights(tmp_path):
    encoder = build_encoder(EncoderConfig("swin-tiny"), 1, 0).eval()
    ours = build_segmenter(encoder, 3, False, seed=1).eval()
    assert isinstance(ours, SwinUNETR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = export_swinunetr(ours, tmp_path / "whole.pt", out_channels=3)
        theirs = MonaiSwinUNETR(1, 3, feature_size=12, use_v2=True).eval()
    theirs.load_state_dict(torch.load(file, weights_only=True), strict=True)
    crops = torch.rand(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(crops), theirs(crops), atol=1e-4, rtol=1e-4)


def test_a_linear_head_is_linear_in_the_features():
    network = LinearSegmenter(ConvEncoder((8, 8)), 3)
    maps = [torch.rand(1, 8, n, n, n) for n in (8, 4)]

    def logits(scale):
        network.encoder.forward = lambda crops: EncoderOutput([scale * x for x in maps], maps[0])
        with torch.no_grad():
            return network(torch.zeros(1, 1, 16, 16, 16))

    torch.testing.assert_close(logits(2.0) - logits(1.0), logits(1.0) - logits(0.0), atol=1e-5, rtol=1e-5)


def test_patches_show_an_organ_in_the_middle_as_often_as_asked():
    always, never = task(foreground_share=1.0), task(foreground_share=0.0)

    def middles(made, count=20):
        drawn = [made.sample(0, torch.Generator().manual_seed(seed))["classes"] for seed in range(count)]
        # The nearest centre that fits: a patch at the border may hold the organ beside its middle.
        return sum(bool((patch[0, 4:12, 4:12, 4:12] > 0).any()) for patch in drawn) / count

    assert middles(always) > middles(never)
    assert all((always.sample(0, torch.Generator().manual_seed(s))["classes"] > 0).any() for s in range(20))


def test_by_organ_a_small_one_is_in_the_middle_as_often_as_a_large_one():
    subject = body(0)
    cube = (subject.labels == 7).nonzero()
    subject.labels[subject.labels == 7] = 0
    subject.labels[tuple(cube[len(cube) // 2])] = 7  # one voxel is left of it

    def middles(**changes):
        made = SegmentationTask(start(), Split([subject]), settings(patch_size=(8, 8, 8), **changes))
        drawn = [made.sample(0, torch.Generator().manual_seed(seed))["classes"] for seed in range(60)]
        return [int(patch[0, 4, 4, 4]) for patch in drawn]

    by_organ, by_voxel = middles(foreground_share=1.0, by_organ=True), middles(foreground_share=1.0)
    assert set(by_organ) == {1, 2} and 15 <= by_organ.count(2) <= 45
    assert by_voxel.count(2) <= 5
    assert 10 <= middles(foreground_share=0.5, by_organ=True).count(0) <= 50


def test_by_organ_a_subject_may_lack_an_organ():
    subject = body(0)
    subject.labels[subject.labels == 7] = 0
    made = SegmentationTask(start(), Split([subject]), settings(foreground_share=1.0, by_organ=True))
    patches = [made.sample(0, torch.Generator().manual_seed(seed))["classes"] for seed in range(10)]
    assert all((patch == 1).any() for patch in patches)


@pytest.mark.parametrize("by_organ", [False, True])
@pytest.mark.filterwarnings("ignore:Num foregrounds 0")
def test_a_subject_without_any_organ_shows_its_background(by_organ):
    subject = body(0)
    subject.labels[:] = 0
    made = SegmentationTask(start(), Split([subject]), settings(foreground_share=1.0, by_organ=by_organ))
    assert not made.sample(0, torch.Generator().manual_seed(0))["classes"].any()


def test_a_subject_that_is_all_organ_shows_it_where_background_is_asked_for():
    subject = body(0)
    subject.labels[:] = 3
    made = SegmentationTask(start(), Split([subject]), settings(foreground_share=0.0, by_organ=True))
    assert made.sample(0, torch.Generator().manual_seed(0))["classes"].all()


def test_only_as_many_subjects_as_there_is_memory_for_are_held_and_draws_stay_the_same(monkeypatch):
    def draws(made):
        return [made.sample(i % 3, torch.Generator().manual_seed(i))["image"] for i in range(6)]

    held = 24**3 * (4 + 4 + 8)  # image and classes in fp32, an index a voxel
    expected = draws(task(3))
    for budget, most in ((2 * held, 2), (2 * held - 1, 1), (0, 1)):
        monkeypatch.setattr("voco_lite.downstream.segmentation._KEPT", budget)
        made = task(3)
        assert all(torch.equal(*pair) for pair in zip(draws(made), expected, strict=True))
        assert len(made._kept) == most


def test_a_draw_depends_on_its_generator_alone_and_image_and_classes_stay_together():
    made = task(shift=0.0)
    one, other = (made.sample(0, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one["image"], other["image"]) and torch.equal(one["classes"], other["classes"])
    assert (one["image"][one["classes"] == 1] > 0.6).float().mean() > 0.95
    assert one["image"].shape == one["classes"].shape == (1, 16, 16, 16)


def test_a_scan_smaller_than_a_patch_is_padded():
    assert task(patch_size=(32, 32, 32)).sample(0, torch.Generator().manual_seed(0))["image"].shape[1:] == (32,) * 3


def test_classes_count_organs_in_the_order_asked_for():
    found = organ_classes(body(), ("cube", "ball"))
    assert torch.equal(found == 1, body().labels == 7) and torch.equal(found == 2, body().labels == 3)
    assert organ_classes(body(), ("cube",)).unique().tolist() == [0, 1]


def test_scores_of_shifted_boxes_are_those_of_geometry():
    predicted, truth = boxes((4, 8), (5, 9))  # moved by one voxel of 2 mm along x
    found = measure_fit(predicted, truth, 1, (2.0, 1.0, 1.0), tolerance_mm=2.0)
    assert found.dice.item() == pytest.approx(3 / 4)
    assert found.hd95_mm.item() == pytest.approx(2.0)
    assert found.surface_dice.item() == pytest.approx(1.0)
    assert measure_fit(predicted, truth, 1, (2.0, 1.0, 1.0), tolerance_mm=1.0).surface_dice.item() < 1


def test_distances_are_in_mm():
    predicted, truth = boxes((2, 6), (8, 12))
    near, far = (measure_fit(predicted, truth, 1, (mm, 1.0, 1.0), 1.0).hd95_mm.item() for mm in (1.0, 3.0))
    assert (near, far) == (pytest.approx(6.0), pytest.approx(18.0))


def test_an_organ_that_is_not_there_has_no_score_and_one_that_is_missed_the_worst():
    truth, nothing = boxes((4, 8), (0, 0))
    absent = measure_fit(truth, nothing, 1, (1.0, 1.0, 1.0), 1.0)
    assert all(value.isnan().item() for value in (absent.dice, absent.hd95_mm, absent.surface_dice))
    missed = measure_fit(nothing, truth, 1, (1.0, 2.0, 2.0), 1.0)
    assert (missed.dice.item(), missed.surface_dice.item()) == (0, 0)
    assert missed.hd95_mm.item() == pytest.approx(16 * 3)  # the diagonal of 16 x 32 x 32 mm
    assert dice(nothing, nothing, 1).isnan().item()


def test_a_window_that_slides_equals_one_pass_where_the_network_looks_at_single_voxels():
    pointwise = torch.nn.Conv3d(1, 3, 1)
    volume = body()
    with torch.no_grad():
        whole = pointwise(volume.data[None])[0].argmax(0).to(torch.uint8)
    assert torch.equal(predict(pointwise, volume, (16, 16, 16)), whole)


def test_a_prediction_returns_to_the_grid_of_a_turned_anisotropic_file(tmp_path):
    labels = np.zeros((20, 24, 16), np.uint8)
    labels[3:12, 5:15, 4:10] = 3
    affine = np.diag([-2.0, 1.5, 3.0, 1.0])[[1, 0, 2, 3]]  # axes exchanged, one reversed
    image = np.where(labels, 100.0, -50.0).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "scan.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "labels.nii.gz")
    config = VolumeConfig(spacing=(1.5, 1.5, 1.5), foreground=None)
    volume = load_volume(tmp_path / "scan.nii.gz", config, tmp_path / "labels.nii.gz", NAMES)
    file = save_prediction(organ_classes(volume, ("ball",)), volume, tmp_path / "prediction.nii.gz")
    written = nibabel.load(file)
    assert written.shape == labels.shape
    np.testing.assert_allclose(written.affine, affine)
    back = np.asarray(written.dataobj)
    assert set(np.unique(back)) == {0, 1}
    overlap = 2 * ((back == 1) & (labels == 3)).sum() / ((back == 1).sum() + (labels == 3).sum())
    assert overlap > 0.9


def test_a_trained_network_comes_back_from_its_run_folder(tmp_path):
    made = SegmentationTask(
        untrained(PretrainConfig.preset("ci"), 0), Split([body(0)], [body(1)]), settings(organs=("cube",))
    )
    fit(made, tiny_finetuning(steps=2, batch_size=2, run_folder=str(tmp_path)))
    loaded = load_segmenter(tmp_path)
    assert (loaded.config, loaded.volume) == (made.config, made.start.volume)
    assert torch.equal(loaded.predict(body(2)), made.predict(body(2)))


def test_the_file_of_another_task_is_no_segmenter(tmp_path):
    finetune(tiny_finetuning(steps=1, run_folder=str(tmp_path)))
    with pytest.raises(ValueError, match="another training"):
        load_segmenter(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_segmenter(tmp_path / "nothing")


def test_every_organ_of_every_subject_is_examined():
    made = task()
    rows = examine(made.network, made.config, [body(1), body(2)])
    assert [(row.subject, row.organ) for row in rows] == [
        (f"body {seed}", organ) for seed in (1, 2) for organ in ("ball", "cube")
    ]
    mean = sum(row.dice for row in rows[:2]) / 2
    assert made.scores([body(1)])[0] == pytest.approx(mean)
    with pytest.raises(ValueError, match="tolerance_mm"):
        examine(made.network, made.config, [body(1)], tolerance_mm=0.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"organs": ()}, "different names"),
        ({"organs": ("ball", "ball")}, "different names"),
        ({"foreground_share": 1.5}, "foreground_share"),
        ({"overlap": 1.0}, "overlap"),
        ({"patch_size": (20, 16, 16)}, "multiples of 8"),
    ],
)
def test_wrong_choices_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        task(**changes)


def test_labels_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="Near: ball"):
        organ_classes(body(), ("bal",))
    unlabelled = Volume(body().data, body().affine, "bare", "prepared")
    with pytest.raises(ValueError, match="bare must have labels"):
        organ_classes(unlabelled, ("ball",))
