"""Probes: crops know their region and organ, each subject is asked by what others taught, differences carry an interval."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.transforms import SpatialCrop
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from voco_lite.gauges import compare, features_of, knn_by_subject, linear_by_subject, organ_crops, region_crops

ORGANS = ("liver", "spleen")


def volume(shape=(12, 12, 12), shift=None, channels=3, labels=None):
    """Channels hold each voxel's own indices; with a shift, a subject that was moved by so many mm along x."""
    data = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in shape), indexing="ij"))[:channels]
    move = None
    if shift is not None:
        box = (np.zeros(3) - 0.5, np.array(shape) - 0.5)

        def move(affine, size):
            return torch.tensor([shift, 0.0, 0.0]).view(3, 1, 1, 1).expand(3, *size)

        move.recipe = SimpleNamespace(origin=SimpleNamespace(box=box))
    return SimpleNamespace(data=data, shape=shape, affine=torch.eye(4, dtype=torch.float64), to_source=move,
                           source="made", labels=labels, label_names={5: "liver", 2: "spleen", 9: "far"})  # fmt: skip


def draw(made, n=200, regions=(3, 3, 3), size=(2, 2, 2)):
    return region_crops(made, size, n, torch.Generator().manual_seed(0), regions)


def test_regions_are_thirds_of_the_box_of_a_volume_without_a_source():
    found = draw(volume())
    middles = found.crops.mean((2, 3, 4))
    x, y, z = (middles / 4).long().T
    assert torch.equal(found.regions, (x * 3 + y) * 3 + z)


def test_regions_of_a_moved_subject_are_those_of_its_source():
    found = draw(volume(shift=4.0))
    x = ((found.crops.mean((2, 3, 4))[:, 0] + 0.5 + 4.0) / 4).long().clamp(max=2)
    assert torch.equal(found.regions // 9, x)


def test_a_crop_larger_than_the_volume_is_explained():
    with pytest.raises(ValueError, match=r"fit into the volume of \(12, 12, 12\) voxels, got \(13, 2, 2\)"):
        draw(volume(), size=(13, 2, 2))


def labelled(*boxes):
    """A volume whose boxes (label, low, high) carry labels."""
    labels = torch.zeros(12, 12, 12, dtype=torch.uint8)
    for label, low, high in boxes:
        labels[low:high, low:high, low:high] = label
    return volume(labels=labels)


def around(made, n=200, size=(4, 4, 4), organs=ORGANS, seed=0):
    return organ_crops(made, size, n, torch.Generator().manual_seed(seed), organs)


def test_the_organ_of_a_crop_is_the_label_of_its_central_voxel():
    made = labelled((5, 0, 6), (2, 6, 12))
    found = around(made)
    places = found.crops[:, :, 2, 2, 2].long()  # each voxel holds its own indices
    assert torch.equal(torch.tensor([5, 2])[found.organs], made.labels[tuple(places.T)].long())


def test_monai_means_the_same_central_voxel():
    made = labelled((5, 0, 6))
    found = around(made, n=1)
    centre = found.crops[0, :, 2, 2, 2].int().tolist()
    torch.testing.assert_close(
        SpatialCrop(roi_center=centre, roi_size=(4, 4, 4))(made.data).as_tensor(), found.crops[0]
    )


def test_a_small_organ_is_drawn_as_often_as_a_large_one():
    counts = around(labelled((5, 2, 9), (2, 9, 10)), n=1000).organs.bincount()
    assert stats.binomtest(int(counts[0]), 1000).pvalue > 1e-4


def test_every_voxel_that_can_be_a_middle_is_drawn_and_no_other():
    found = around(labelled((5, 0, 12)), n=20_000)
    places = found.crops[:, :, 2, 2, 2].unique(dim=0)
    assert torch.equal(places, torch.cartesian_prod(*[torch.arange(2, 11).float()] * 3))


def test_background_and_organs_that_were_not_named_are_left_out():
    made = labelled((9, 0, 12), (2, 4, 8))
    assert around(made).organs.unique().tolist() == [1]


def test_the_same_seed_draws_the_same_crops():
    made = labelled((5, 0, 6), (2, 6, 12))
    assert torch.equal(around(made).crops, around(made).crops)
    assert not torch.equal(around(made).crops, around(made, seed=1).crops)


@pytest.mark.parametrize(
    ("made", "changes", "said"),
    [
        (volume(), {}, "got no labels"),
        (labelled((5, 0, 6)), {"organs": ("liver", "heart")}, "got 'heart'. Its names: liver, spleen"),
        (labelled((5, 0, 2)), {}, r"must show one of \('liver', 'spleen'\)"),
        (labelled((5, 0, 2)), {"size": (13, 2, 2)}, "fit into the volume"),
    ],
)
def test_organs_that_cannot_be_drawn_are_explained(made, changes, said):
    with pytest.raises(ValueError, match=said):
        around(made, **changes)


def some_features(subjects=4, crops=30, classes=3, seed=0):
    """Features that lean towards their class, on scales far apart, and the classes."""
    chance = torch.Generator().manual_seed(seed)
    labels = [torch.randint(classes, (crops,), generator=chance) for _ in range(subjects)]
    noise = [torch.randn(crops, 4, generator=chance) for _ in range(subjects)]
    scale = torch.tensor([1.0, 100.0, 0.01, 1.0])
    return [(one + torch.eye(classes, 4)[y]) * scale + 50 for one, y in zip(noise, labels, strict=True)], labels


def by_hand(model, features, labels):
    """Accuracy on each subject of a model that learns from all others."""
    found = []
    for held in range(len(features)):
        x, y = (torch.cat([part[i] for i in range(len(part)) if i != held]).numpy() for part in (features, labels))
        found.append(model.fit(x, y).score(features[held].numpy(), labels[held].numpy()))
    return found


def test_the_linear_probe_is_scikit_learn_s_on_features_of_mean_0_and_variance_1():
    features, labels = some_features()
    expected = by_hand(Pipeline([("scale", StandardScaler()), ("fit", LogisticRegression())]), features, labels)
    found = linear_by_subject(features, labels, folds=4)
    assert found.tolist() == pytest.approx(expected, abs=1.5 / 30)  # a crop at the border may fall to either side
    assert linear_by_subject(features, labels, folds=9).tolist() == found.tolist()


def test_the_neighbours_are_scikit_learn_s():
    features, labels = some_features()
    expected = by_hand(KNeighborsClassifier(5, metric="cosine"), features, labels)
    assert knn_by_subject(features, labels).tolist() == pytest.approx(expected, abs=1.5 / 30)


def test_subjects_of_a_fold_teach_nothing_about_each_other():
    labels = [torch.arange(4).repeat(5) for _ in range(4)]
    own = [torch.eye(16)[y + 4 * i] for i, y in enumerate(labels)]
    assert linear_by_subject(own, labels, folds=2).mean() < 0.5
    shared = [torch.eye(4)[y] for y in labels]
    assert linear_by_subject(shared, labels, folds=2).tolist() == [1, 1, 1, 1]


def test_a_linear_probe_reads_a_direction_and_no_ring():
    chance = torch.Generator().manual_seed(0)
    points = [torch.randn(200, 2, generator=chance) for _ in range(2)]
    side, ring = [(p[:, 0] > 0).long() for p in points], [(p.norm(dim=1) > 1.18).long() for p in points]
    assert linear_by_subject(points, side).min() > 0.9
    assert linear_by_subject(points, ring).max() < 0.7
    rings = [torch.stack([p.norm(dim=1), torch.ones(200)], 1) for p in points]
    assert linear_by_subject(rings, ring).min() > 0.9


def test_each_subject_counts_its_own_crops():
    labels = [torch.tensor([0, 1]), torch.tensor([0, 1, 1, 1]), torch.tensor([0, 1, 0])]
    features = [torch.eye(2)[y] for y in labels]
    features[1] = features[1][[0, 1, 2, 0]]  # the last crop of this subject looks like another class
    assert linear_by_subject(features, labels, folds=3).tolist() == [1, 0.75, 1]


def test_neighbours_find_what_other_subjects_share_and_not_what_only_one_has():
    labels = [torch.arange(4).repeat(5) for _ in range(3)]
    shared = [torch.eye(4)[y] for y in labels]
    assert knn_by_subject(shared, labels).tolist() == [1, 1, 1]
    own = [torch.eye(12)[y + 4 * i] for i, y in enumerate(labels)]
    assert knn_by_subject(own, labels).mean() < 0.5


def test_the_interval_is_that_of_a_paired_t_test():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.5, 0.1, 12), rng.normal(0.4, 0.1, 12)
    found, expected = compare(first, second), stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_features_are_the_same_in_batches_and_at_once():
    crops = torch.rand(150, 1, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(features_of(lambda c: c.flatten(1), crops), crops.flatten(1))


@pytest.mark.parametrize(
    "call",
    [
        lambda: knn_by_subject([torch.ones(2, 2)], [torch.ones(2)]),
        lambda: linear_by_subject([torch.ones(2, 2)], [torch.ones(2)]),
        lambda: compare([1], [2]),
    ],
)
def test_too_few_subjects_are_explained(call):
    with pytest.raises(ValueError, match="2 subjects"):
        call()
