"""Draws, batches and the order in which volumes are shown."""

from dataclasses import fields, replace
from itertools import chain, islice
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from voco_lite.augment import augment
from voco_lite.config import CropConfig
from voco_lite.crops import extract_crops, grid_starts
from voco_lite.dataset import DrawSampler, VoCoBatch, VoCoDataset

CONFIG = CropConfig(cells=(3, 3, 1), crop_size=(4, 4, 4), random_crops=3, flip_probability=0.5, rotate_probability=0.5)


def volume(shape=(15, 14, 7), seed=0, dtype=torch.float32):
    """A prepared volume of noise."""
    data = torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return SimpleNamespace(data=data, source=f"volume-{seed}")


def numbered(shape):
    """A volume in which every voxel has its own value."""
    return SimpleNamespace(data=torch.arange(1.0, 1 + torch.Size(shape).numel()).view(1, *shape), source="numbered")


def dataset(volumes=4, seed=0, **changes):
    return VoCoDataset([volume(seed=i) for i in range(volumes)], replace(CONFIG, **changes), seed)


def assert_equal(one: VoCoBatch, other: VoCoBatch):
    assert one.sources == other.sources
    for field in ("random_crops", "base_crops", "position_labels"):
        assert torch.equal(getattr(one, field), getattr(other, field)), field


def same(one: VoCoBatch, other: VoCoBatch) -> bool:
    return torch.equal(one.random_crops, other.random_crops)


# What a batch holds


def test_shapes_and_types_of_a_batch():
    batch = dataset().batch([0, 1])
    assert batch.random_crops.shape == (2, 3, 1, 4, 4, 4) and batch.random_crops.dtype == torch.float32
    assert batch.base_crops.shape == (2, 9, 1, 4, 4, 4) and batch.base_crops.dtype == torch.float32
    assert batch.position_labels.shape == (2, 3, 9) and batch.position_labels.dtype == torch.float64


@pytest.mark.parametrize("cells", [(3, 3, 1), (2, 3, 2)])
def test_labels_count_the_voxels_that_augmented_crops_share(cells):
    data = VoCoDataset([numbered((17, 16, 11))], replace(CONFIG, cells=cells, shift_probability=0.0, random_crops=4))
    for draw in range(10):
        batch = data.batch([draw])
        shared = [[torch.isin(r, b).double().mean() for b in batch.base_crops[0]] for r in batch.random_crops[0]]
        torch.testing.assert_close(batch.position_labels[0], torch.tensor(shared, dtype=torch.float64))


def test_base_crops_tile_one_block_without_overlap():
    data = VoCoDataset([numbered((12, 12, 4))], replace(CONFIG, shift_probability=0.0))
    assert torch.equal(data.batch([0]).base_crops.flatten().sort().values, data.volumes[0].data.flatten())


def test_a_batch_is_cutting_then_augmenting_the_blocks_of_its_samples():
    data = dataset()
    samples, batch = [data[draw] for draw in (2, 7)], data.batch([2, 7])
    for i, sample in enumerate(samples):
        random = extract_crops(sample.block, sample.starts, (4, 4, 4))
        bases = extract_crops(sample.block, grid_starts(data.grid), (4, 4, 4))
        assert torch.equal(batch.random_crops[i], augment(random, sample.augmentation[:3]))
        assert torch.equal(batch.base_crops[i], augment(bases, sample.augmentation[3:]))


def test_crops_are_resized_before_they_are_augmented():
    data = dataset(network_size=(3, 3, 3), shift_probability=1.0)
    sample, batch = data[0], data.batch([0])
    crops = extract_crops(sample.block, grid_starts(data.grid), (4, 4, 4))
    resized = F.interpolate(crops, size=(3, 3, 3), mode="trilinear", align_corners=True)
    torch.testing.assert_close(batch.base_crops[0], augment(resized, sample.augmentation[3:]))


def test_random_crops_of_another_size_arrive_in_the_network_size():
    batch = dataset(random_size=(6, 6, 3)).batch([0])
    assert batch.random_crops.shape == (1, 3, 1, 4, 4, 4)
    torch.testing.assert_close(batch.position_labels.sum(-1), torch.ones(1, 3, dtype=torch.float64))


def test_the_source_says_where_to_cut_the_block_again():
    data = VoCoDataset([numbered((15, 14, 7))], CONFIG)
    sample = data[5]
    x, y, z = (int(n) for n in sample.source.split("(")[1].split(")")[0].split(","))
    assert sample.source.startswith("numbered, block from voxel (") and sample.source.endswith("draw 5")
    assert torch.equal(sample.block, data.volumes[0].data[:, x : x + 12, y : y + 12, z : z + 4])


def test_blocks_reach_every_position_along_all_axes():
    data = VoCoDataset([numbered((13, 14, 5))], CONFIG)
    firsts = {int(data[draw].block.min()) - 1 for draw in range(200)}
    assert firsts == {(x * 14 + y) * 5 + z for x in range(2) for y in range(3) for z in range(2)}


def test_a_small_volume_is_padded_with_zero_on_both_sides():
    data = VoCoDataset([numbered((10, 12, 3))], CONFIG)
    expected = F.pad(data.volumes[0].data, (0, 1, 0, 0, 1, 1))
    assert torch.equal(data[0].block, expected)
    assert "voxel (-1, 0, 0)" in data[0].source


def test_half_precision_volumes_stay_half():
    assert VoCoDataset([volume(dtype=torch.float16)], CONFIG).batch([0]).base_crops.dtype == torch.float16


def test_volumes_are_never_changed():
    data = dataset(1)
    before = data.volumes[0].data.clone()
    data.batch([0, 1, 2])
    assert torch.equal(data.volumes[0].data, before)


# Chance


def test_the_same_draw_is_the_same_batch():
    assert_equal(dataset().batch([1, 6]), dataset().batch([1, 6]))


def test_a_draw_does_not_depend_on_its_companions():
    together, alone = dataset().batch([3, 9]), dataset().batch([9])
    assert torch.equal(together.random_crops[1], alone.random_crops[0])


def test_workers_change_no_bit():
    data = dataset(8)
    batches = []
    for workers in (0, 2):
        loader = DataLoader(data, batch_sampler=DrawSampler(8, 4), collate_fn=data.collate, num_workers=workers)
        batches.append([data.cut(samples) for samples in islice(loader, 5)])
    for one, other in zip(*batches, strict=True):
        assert_equal(one, other)


def test_the_next_epoch_shows_the_volume_anew():
    data = dataset()
    assert data[1].source.startswith("volume-1") and data[5].source.startswith("volume-1")
    assert not same(data.batch([1]), data.batch([5]))


def test_another_seed_draws_other_crops():
    assert not same(dataset(seed=0).batch([0]), dataset(seed=1).batch([0]))


def test_neighbouring_seeds_and_draws_share_no_positions():
    config = replace(CONFIG, crop_size=(32, 32, 32))
    seen = set()
    for seed in range(5):
        data = VoCoDataset([volume((96, 96, 32))], config, seed)
        seen |= {tuple(data[draw].starts.flatten().tolist()) for draw in range(20)}
    assert len(seen) == 100


def test_global_seeds_neither_matter_nor_move():
    torch.manual_seed(0)
    before, first = torch.get_rng_state(), dataset().batch([0, 1])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert_equal(first, dataset().batch([0, 1]))


def test_without_a_seed_the_augmentation_differs_but_the_positions_do_not():
    one, other = (dataset(seeded=False)[0] for _ in range(2))
    assert torch.equal(one.starts, other.starts)
    assert not torch.equal(one.augmentation.shifts, other.augmentation.shifts)


def test_released_rules_of_a_configuration_reach_the_labels():
    sums = dataset(crop_size=(5, 5, 5), official_odd=True).batch([0]).position_labels.sum(-1)
    torch.testing.assert_close(sums, torch.full((1, 3), (4 / 5) ** 2, dtype=torch.float64))


def test_the_open_border_of_a_configuration_reaches_the_starts():
    data = dataset(open_border=True, random_crops=500)
    assert data[0].starts.amax(0).tolist() == [7, 7, 0]


# Devices and processes


def test_workers_send_the_block_without_the_rest_of_its_volume():
    data = dataset()
    loader = DataLoader(data, batch_sampler=DrawSampler(4, 1), collate_fn=data.collate, num_workers=1)
    block = next(iter(loader)).blocks[0]
    assert block.untyped_storage().nbytes() == 12 * 12 * 4 * 4


def test_cutting_never_reads_the_blocks_back():
    data = dataset()
    # A tensor on the meta device has no values: whoever reads one raises.
    batch = data.cut(data.collate([data[0], data[1]]), "meta")
    assert batch.random_crops.shape == (2, 3, 1, 4, 4, 4) and batch.position_labels.device.type == "meta"


def test_a_batch_moves_as_a_whole():
    moved = dataset().batch([0]).to("meta", non_blocking=True)
    tensors = [getattr(moved, f.name) for f in fields(moved) if f.name != "sources"]
    assert {tensor.device.type for tensor in tensors} == {"meta"} and len(moved.sources) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_cuts_the_same_batch_without_waiting():
    data = dataset()
    samples = data.collate([data[0], data[1]]).pin_memory()
    data.cut(samples, "cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = data.cut(samples, "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_equal(batch.to("cpu"), data.batch([0, 1]))


# The order of an epoch


def taken(n, length=10, batch_size=3, **options):
    return list(islice(DrawSampler(length, batch_size, **options), n))


def flat(batches):
    return list(chain.from_iterable(batches))


def order(batches, length=10):
    return [draw % length for draw in flat(batches)]


def test_without_drop_last_an_epoch_shows_every_volume_once():
    assert sorted(flat(taken(4, drop_last=False))) == list(range(10))


def test_with_drop_last_every_batch_is_full_and_no_volume_comes_twice():
    batches = taken(3)
    draws = flat(batches)
    assert [len(batch) for batch in batches] == [3, 3, 3] and len(set(draws)) == 9 and max(draws) < 10


def test_the_second_epoch_draws_on():
    assert sorted(flat(taken(8, drop_last=False)[4:])) == list(range(10, 20))


def test_epochs_are_reshuffled():
    batches = taken(8, drop_last=False)
    assert order(batches[:4]) != order(batches[4:])


def test_the_released_order_is_the_same_in_every_epoch():
    batches = taken(8, drop_last=False, reshuffle=False)
    assert order(batches[:4]) == order(batches[4:])


def test_another_seed_gives_another_order():
    assert taken(3, seed=0) != taken(3, seed=1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 40), st.integers(1, 4), st.booleans())
def test_processes_together_see_what_one_process_sees(first, world, drop_last):
    options = {"length": 7, "batch_size": 2, "drop_last": drop_last}
    alone = taken(first + 3 * world, **options)[first:]
    ranks = [taken(3, first_batch=first, world=world, rank=rank, **options) for rank in range(world)]
    assert [batch for step in zip(*ranks, strict=True) for batch in step] == alone


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.booleans(), st.booleans())
def test_a_batch_never_holds_a_volume_twice(length, batch_size, drop_last, reshuffle):
    if batch_size > length:
        length, batch_size = batch_size, length
    batches = taken(20, length, batch_size, drop_last=drop_last, reshuffle=reshuffle)
    assert all(len({draw % length for draw in batch}) == len(batch) for batch in batches)


# Wrong input


def test_fewer_volumes_than_a_batch_are_refused():
    with pytest.raises(ValueError, match="batch_size must lie between 1 and the 3 volumes at hand, got 4"):
        DrawSampler(3, 4)


@pytest.mark.parametrize("options", [{"rank": 2, "world": 2}, {"first_batch": -1}])
def test_an_impossible_place_in_the_world_is_refused(options):
    with pytest.raises(ValueError, match=r"rank must lie in 0..world-1 and first_batch be at least 0"):
        DrawSampler(3, 2, **options)


def test_an_empty_dataset_is_refused():
    with pytest.raises(ValueError, match="at least one volume, got none"):
        VoCoDataset([], CONFIG)


@pytest.mark.parametrize("data", [torch.rand(8, 8, 8), torch.rand(2, 8, 8, 8), torch.rand(1, 8, 8, 8).double()])
def test_volumes_that_do_not_go_together_are_refused(data):
    with pytest.raises(ValueError, match=r"volumes must all be \(channel, x, y, z\)"):
        VoCoDataset([volume(), SimpleNamespace(data=data, source="odd")], CONFIG)


def test_a_negative_draw_is_refused():
    with pytest.raises(IndexError, match="draw must be at least 0, got -1"):
        dataset()[-1]


def test_iterating_ends_after_one_epoch():
    assert len(list(dataset(4))) == 4
