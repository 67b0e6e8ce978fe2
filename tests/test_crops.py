"""Where crops lie: labels and crops against the released code's numbers, a NumPy reference, and laws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden_sets import cases
from voco_lite.config import CropConfig
from voco_lite.crops import CropGrid, crop_views, extract_crops, grid_starts, position_labels, sample_starts


def released_centres(rng, n, size, block):
    """The released draw: x then y of each crop, the high end excluded."""
    low, high = size // 2, block - size // 2
    return np.array([[rng.randint(low, high), rng.randint(low, high)] for _ in range(n)])


def starts_of_centres(centres, size):
    """First voxels of boxes around centres in (x, y), flush with the bottom."""
    return torch.from_numpy(np.column_stack([np.asarray(centres) - size // 2, np.zeros(len(centres), dtype=int)]))


# The released code's numbers


@pytest.mark.parametrize("case", cases("position_v1") + cases("position_v2"))
def test_labels_equal_the_released_code(case):
    random, base, n = (int(case[f"in/{key}"]) for key in ("roi", "base_roi", "num_crops"))
    grid = CropGrid((n, n, 1), (base, base, random), (random, random, random))
    starts = starts_of_centres(case["out/center"][None], random)
    labels = position_labels(starts, grid, official_odd=True)
    torch.testing.assert_close(labels, torch.from_numpy(case["out/labels"]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", cases("position_v1") + cases("position_v2"))
def test_open_border_draws_from_the_released_range(case):
    low, high = case["in/randint_low_high"][0] - int(case["in/roi"]) // 2
    random, base, n = (int(case[f"in/{key}"]) for key in ("roi", "base_roi", "num_crops"))
    grid = CropGrid((n, n, 1), (base, base, random), (random, random, random))
    starts = sample_starts(20_000, grid, torch.Generator().manual_seed(0), open_border=True)
    assert (starts[:, :2].min(), starts[:, :2].max(), starts[:, 2].max()) == (low, high - 1, 0)


@pytest.mark.parametrize("case", cases("base_crops_v1"))
def test_resized_base_crops_equal_the_2024_code(case):
    size, n, network = (int(case[f"in/{key}"]) for key in ("roi", "n", "roi_small"))
    grid = CropGrid((n, n, 1), (size, size, size), network_size=(network, network, network))
    crops = extract_crops(torch.from_numpy(case["in/volume"]), grid_starts(grid), grid.crop_size, grid.network_size)
    torch.testing.assert_close(crops, torch.from_numpy(case["out/crops"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", cases("base_crops_v2"))
def test_base_crops_equal_the_2025_code(case):
    size, n = int(case["in/roi"]), int(case["in/n"])
    grid = CropGrid((n, n, 1), (size, size, size))
    crops = extract_crops(torch.from_numpy(case["in/volume"]), grid_starts(grid), grid.crop_size, grid.network_size)
    assert torch.equal(crops, torch.from_numpy(case["out/crops"]))


@pytest.mark.parametrize("case", cases("random_crops_v2"))
def test_random_crops_and_labels_equal_the_2025_code(case):
    size, n, number = (int(case[f"in/{key}"]) for key in ("roi", "n", "num"))
    grid = CropGrid((n, n, 1), (size, size, size))
    centres = released_centres(np.random.RandomState(int(case["in/seed"])), number, size, n * size)
    starts = starts_of_centres(centres, size)
    assert torch.equal(
        extract_crops(torch.from_numpy(case["in/volume"]), starts, grid.random_size),
        torch.from_numpy(case["out/crops"]),
    )
    assert torch.equal(position_labels(starts, grid), torch.from_numpy(case["out/labels"]))


@pytest.mark.parametrize("case", cases("concat_image"))
def test_crops_of_a_batch_are_volume_major(case):
    by_crop = torch.from_numpy(case["in/stack"])  # (crops, volumes, 1, 3, 3, 3)
    blocks = torch.cat(list(by_crop), dim=2)  # the crops of a volume lie along x
    starts = torch.tensor([[3 * i, 0, 0] for i in range(len(by_crop))])
    assert torch.equal(extract_crops(blocks, starts, (3, 3, 3)).flatten(0, 1), torch.from_numpy(case["out/y"]))


# An independent reference


def counted_labels(start, cells, size, random):
    """Labels by counting, voxel row by voxel row, into which cell each falls; float64."""
    counts = [
        np.bincount((first + np.arange(r)) // c, minlength=n)
        for first, r, c, n in zip(start, random, size, cells, strict=True)
    ]
    return np.einsum("i,j,k->ijk", *counts).ravel().astype(np.float64) / np.prod(random, dtype=np.float64)


@pytest.mark.parametrize("deep", [False, True], ids=["2-D grids", "3-D grids"])
def test_labels_equal_a_voxel_count_on_1000_random_cases(deep):
    rng = np.random.default_rng(0)
    for _ in range(500):
        cells, size = rng.integers(1, 6, 3), rng.integers(1, 97, 3)
        cells[2] = cells[2] if deep else 1
        random = rng.integers(1, np.minimum(2 * size, cells * size) + 1)
        start = rng.integers(0, cells * size - random + 1)
        grid = CropGrid(*(tuple(numbers.tolist()) for numbers in (cells, size, random)))
        labels = position_labels(torch.from_numpy(start)[None], grid)[0].numpy()
        np.testing.assert_allclose(labels, counted_labels(start, cells, size, random), rtol=0, atol=1e-14)


# Laws


@st.composite
def grids(draw, same_size=False):
    cells = draw(st.tuples(*[st.integers(1, 5)] * 3))
    size = draw(st.tuples(*[st.integers(1, 12)] * 3))
    random = tuple(draw(st.integers(1, n * c)) for n, c in zip(cells, size, strict=True))
    return CropGrid(cells, size, None if same_size else random)


@st.composite
def grids_with_starts(draw, same_size=False):
    grid = draw(grids(same_size))
    ends = [block - size for block, size in zip(grid.block_size, grid.random_size, strict=True)]
    rows = draw(st.lists(st.tuples(*(st.integers(0, end) for end in ends)), min_size=1, max_size=6))
    return grid, torch.tensor(rows)


law = settings(deadline=None, max_examples=100)


@law
@given(grids_with_starts())
def test_labels_sum_to_one_anywhere_in_the_block(case):
    grid, starts = case
    torch.testing.assert_close(position_labels(starts, grid).sum(-1), torch.ones(len(starts), dtype=torch.float64))


@law
@given(grids_with_starts(same_size=True))
def test_at_most_two_cells_an_axis_overlap_a_crop_of_their_size(case):
    grid, starts = case
    allowed = 2 ** sum(n > 1 for n in grid.cells)
    assert (position_labels(starts, grid) > 0).sum(-1).max() <= allowed


@law
@given(grids())
def test_label_of_a_base_crop_is_one_hot(grid):
    grid = CropGrid(grid.cells, grid.crop_size)
    assert torch.equal(position_labels(grid_starts(grid), grid), torch.eye(grid.bases, dtype=torch.float64))


@law
@given(grids_with_starts(), st.integers(0, 2))
def test_mirrored_positions_mirror_the_labels(case, axis):
    grid, starts = case
    mirrored = starts.clone()
    mirrored[:, axis] = grid.block_size[axis] - grid.random_size[axis] - starts[:, axis]
    expected = position_labels(starts, grid).view(-1, *grid.cells).flip(axis + 1).flatten(1)
    torch.testing.assert_close(position_labels(mirrored, grid), expected)


@law
@given(grids_with_starts(), st.integers(0, 2))
def test_a_move_by_one_cell_moves_the_labels_by_one_cell(case, axis):
    grid, starts = case
    room = grid.block_size[axis] - grid.random_size[axis]
    starts = starts[starts[:, axis] + grid.crop_size[axis] <= room]
    moved = starts.clone()
    moved[:, axis] += grid.crop_size[axis]
    expected = position_labels(starts, grid).view(-1, *grid.cells).roll(1, axis + 1).flatten(1)
    torch.testing.assert_close(position_labels(moved, grid), expected)


@law
@given(grids(), st.integers(0, 2**31))
def test_drawn_crops_stay_inside_the_block(grid, seed):
    starts = sample_starts(20, grid, torch.Generator().manual_seed(seed))
    assert (starts >= 0).all() and (starts + torch.tensor(grid.random_size) <= torch.tensor(grid.block_size)).all()


# Known answers


def test_grid_counts_x_outermost_and_z_fastest():
    assert grid_starts(CropGrid((2, 2, 2), (5, 6, 7))).tolist() == [
        [x, y, z] for x in (0, 5) for y in (0, 6) for z in (0, 7)
    ]


def test_a_crop_on_a_corner_of_four_cells_is_a_quarter_in_each():
    labels = position_labels(torch.tensor([[32, 32, 0]]), CropGrid())
    assert labels.tolist() == [[0.25, 0.25, 0, 0.25, 0.25, 0, 0, 0, 0]]


def test_labels_are_float64_whatever_the_starts():
    assert position_labels(torch.tensor([[1, 2, 0]], dtype=torch.int32), CropGrid()).dtype == torch.float64


def test_labels_lie_on_the_device_of_the_starts():
    assert position_labels(torch.tensor([[1, 2, 0]], device="meta"), CropGrid()).device.type == "meta"


def test_labels_of_a_batch_of_tables_are_those_of_each_table():
    starts = sample_starts(6, CropGrid(), torch.Generator().manual_seed(0))
    expected = position_labels(starts, CropGrid()).view(2, 3, 9)
    assert torch.equal(position_labels(starts.view(2, 3, 3), CropGrid()), expected)


def test_the_last_position_is_drawn_unless_the_border_is_open():
    grid = CropGrid((2, 2, 1), (4, 4, 4))
    last = {
        open_border: sample_starts(1000, grid, torch.Generator().manual_seed(0), open_border).amax(0).tolist()
        for open_border in (False, True)
    }
    assert last == {False: [4, 4, 0], True: [3, 3, 0]}


def test_every_position_is_drawn_equally_often():
    starts = sample_starts(50_000, CropGrid((2, 1, 1), (4, 4, 4)), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(np.bincount(starts[:, 0]), 10_000, atol=400)


def test_97_percent_of_published_draws_touch_four_cells():
    labels = position_labels(sample_starts(20_000, CropGrid(), torch.Generator().manual_seed(0), True), CropGrid())
    assert ((labels > 0).sum(-1) == 4).double().mean().item() == pytest.approx(0.970, abs=0.005)


def test_odd_sizes_sum_to_one_in_our_rule_and_to_less_in_the_released_one():
    grid = CropGrid((3, 3, 1), (65, 65, 65))
    sums = [position_labels(torch.tensor([[10, 20, 0]]), grid, official_odd=odd).sum().item() for odd in (False, True)]
    assert sums == pytest.approx([1.0, (64 / 65) ** 2], abs=1e-12)


def test_a_grid_reads_its_configuration():
    config = CropConfig(cells=(4, 4, 1), crop_size=(96, 96, 96), network_size=(64, 64, 64))
    assert CropGrid.from_config(config) == CropGrid((4, 4, 1), (96, 96, 96), (96, 96, 96), (64, 64, 64))


def test_block_and_bases_of_the_published_grid():
    assert (CropGrid().block_size, CropGrid().bases) == ((192, 192, 64), 9)


# Cutting


def test_crops_of_another_size_are_exact_voxels():
    block = torch.rand(2, 9, 8, 7)
    crops = extract_crops(block, torch.tensor([[1, 2, 3], [5, 0, 1]]), (4, 3, 2))
    assert torch.equal(crops, torch.stack([block[:, 1:5, 2:5, 3:5], block[:, 5:9, 0:3, 1:3]]))


def test_a_batch_of_blocks_takes_a_table_of_starts_each():
    blocks, starts = torch.rand(2, 1, 6, 6, 6), torch.tensor([[[0, 1, 2]], [[2, 1, 0]]])
    crops = extract_crops(blocks, starts, (3, 3, 3))
    assert torch.equal(crops, torch.stack([blocks[:1, :, 0:3, 1:4, 2:5], blocks[1:, :, 2:5, 1:4, 0:3]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_crops_keep_the_type_of_the_block(dtype):
    block = torch.rand(1, 6, 6, 6, dtype=dtype)
    assert extract_crops(block, torch.tensor([[0, 0, 0]]), (4, 4, 4), (3, 3, 3)).dtype == dtype


def test_views_share_the_memory_of_the_block():
    block = torch.rand(1, 6, 6, 6)
    (view,) = crop_views(block, torch.tensor([[2, 0, 0]]), (4, 4, 4))
    assert view.untyped_storage().data_ptr() == block.untyped_storage().data_ptr()


def test_a_shallow_block_gives_shorter_crops_as_the_released_transform_does():
    from monai.transforms import SpatialCrop

    block = torch.rand(1, 24, 24, 5)
    grid = CropGrid((3, 3, 1), (8, 8, 8))
    expected = [SpatialCrop(roi_center=(start + 4).tolist(), roi_size=8)(block) for start in grid_starts(grid)]
    assert torch.equal(extract_crops(block, grid_starts(grid), grid.crop_size), torch.stack(expected).as_tensor())


# Wrong input


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cells": (3, 0, 1)}, r"cells must be three whole numbers.*got \(3, 0, 1\)"),
        ({"crop_size": (64, 64)}, r"crop_size must be three whole numbers.*got \(64, 64\)"),
        ({"crop_size": (64.0, 64, 64)}, "crop_size must be three whole numbers"),
        ({"random_size": (64, 64, 65)}, r"random_size must fit into the block of \(192, 192, 64\)"),
        ({"network_size": (0, 1, 1)}, "network_size must be"),
    ],
)
def test_an_impossible_grid_says_what_to_give(fields, message):
    with pytest.raises(ValueError, match=message):
        CropGrid(**fields)


def test_starts_that_are_not_rows_of_three_are_refused():
    with pytest.raises(ValueError, match=r"starts must be rows of \(x, y, z\).*got \(3,\)"):
        position_labels(torch.tensor([1, 2, 3]), CropGrid())


@pytest.mark.parametrize("start", [[-1, 0, 0], [0, 0, 6]])
def test_a_start_outside_the_block_is_refused(start):
    with pytest.raises(ValueError, match=r"starts must lie inside the block of \(6, 6, 6\)"):
        extract_crops(torch.rand(1, 6, 6, 6), torch.tensor([start]), (3, 3, 3))


def test_crops_cut_to_different_sizes_are_refused():
    with pytest.raises(ValueError, match="crops must have one size.*Pad the block"):
        extract_crops(torch.rand(1, 6, 6, 6), torch.tensor([[0, 0, 0], [4, 0, 0]]), (3, 3, 3))


def test_a_block_without_channel_says_how_to_add_one():
    with pytest.raises(ValueError, match=r"block must be \(channel, x, y, z\).*block\[None\]"):
        extract_crops(torch.rand(6, 6, 6), torch.tensor([[0, 0, 0]]), (3, 3, 3))
