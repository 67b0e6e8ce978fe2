"""Region probes: crops know their anatomy, neighbours come from other subjects, differences carry an interval."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from voco_lite.gauges import compare, features_of, knn_by_subject, region_crops


def volume(shape=(12, 12, 12), shift=None, channels=3):
    """Channels hold each voxel's own indices; with a shift, a subject that was moved by so many mm along x."""
    data = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in shape), indexing="ij"))[:channels]
    move = None
    if shift is not None:
        box = (np.zeros(3) - 0.5, np.array(shape) - 0.5)

        def move(affine, size):
            return torch.tensor([shift, 0.0, 0.0]).view(3, 1, 1, 1).expand(3, *size)

        move.recipe = SimpleNamespace(origin=SimpleNamespace(box=box))
    return SimpleNamespace(data=data, shape=shape, affine=torch.eye(4, dtype=torch.float64), to_source=move)


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
    "call", [lambda: knn_by_subject([torch.ones(2, 2)], [torch.ones(2)]), lambda: compare([1], [2])]
)
def test_too_few_subjects_are_explained(call):
    with pytest.raises(ValueError, match="2 subjects"):
        call()
