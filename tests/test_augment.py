"""Augmentation: what is drawn, and that applying it equals MONAI's transforms."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voco_lite.augment import Augmentation, augment, draw_augmentation
from voco_lite.config import CropConfig
from voco_lite.crops import crop_views, extract_crops

CONFIG = CropConfig(crop_size=(8, 8, 8), flip_probability=0.2, rotate_probability=0.3, shift_probability=0.5)


def drawn(n=50_000, seed=0, **changes):
    return draw_augmentation(n, replace(CONFIG, **changes), torch.Generator().manual_seed(seed))


def every_move():
    """Each of the 8 flips with each of the 4 turns and a shift of its own."""
    flips = torch.cartesian_prod(*[torch.tensor([False, True])] * 3).repeat_interleave(4, dim=0)
    return Augmentation(flips, torch.arange(4).repeat(8), torch.linspace(-0.1, 0.1, 32))


def fields_equal(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("flips", "quarter_turns", "shifts"))


def test_every_flip_turn_and_shift_equals_monai():
    from monai.transforms import Flip, Rotate90, ShiftIntensity

    crops, augmentation = torch.rand(32, 2, 5, 5, 3), every_move()
    for i, (crop, result) in enumerate(zip(crops, augment(crops, augmentation), strict=True)):
        for axis in range(3):
            crop = Flip(spatial_axis=axis)(crop) if augmentation.flips[i, axis] else crop
        crop = Rotate90(k=int(augmentation.quarter_turns[i]), spatial_axes=(0, 1))(crop)
        crop = ShiftIntensity(offset=augmentation.shifts[i].item())(crop)
        assert torch.equal(result, crop.as_tensor())


def test_views_are_augmented_as_their_copies_are():
    block, starts, size = torch.rand(1, 12, 12, 9), torch.randint(0, 5, (32, 3)), (4, 4, 4)
    augmentation = every_move()
    assert torch.equal(
        augment(crop_views(block, starts, size), augmentation),
        augment(extract_crops(block, starts, size), augmentation),
    )


def test_the_block_stays_as_it_is():
    block = torch.rand(1, 8, 8, 8)
    before = block.clone()
    augment(crop_views(block, torch.zeros(32, 3, dtype=torch.int64), (8, 8, 8)), every_move())
    assert torch.equal(block, before)


def test_the_result_lands_in_the_given_tensor():
    crops, out = torch.rand(32, 1, 4, 4, 4), torch.empty(32, 1, 4, 4, 4)
    assert augment(crops, every_move(), out) is out
    assert torch.equal(out, augment(crops, every_move()))


def test_the_identity_changes_nothing():
    crops = torch.rand(3, 1, 4, 5, 6)
    assert torch.equal(augment(crops, Augmentation.identity(3)), crops)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 3))
def test_an_augmentation_only_moves_voxels(flips, turns):
    crop = torch.arange(5 * 5 * 4.0).view(1, 1, 5, 5, 4)
    augmentation = Augmentation(torch.tensor([flips]), torch.tensor([turns]), torch.zeros(1))
    assert torch.equal(augment(crop, augmentation).flatten().sort().values, crop.flatten())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_crops_keep_their_type(dtype):
    assert augment(torch.rand(32, 1, 4, 4, 4, dtype=dtype), every_move()).dtype == dtype


def test_parts_put_together_and_taken_apart_are_the_same():
    one, other = drawn(3, seed=1), drawn(4, seed=2)
    both = Augmentation.cat([one, other])
    assert len(both) == 7 and fields_equal(both[:3], one) and fields_equal(both[3:], other)


# Drawing


def test_drawn_frequencies_are_the_configured_ones():
    augmentation = drawn()
    found = [augmentation.flips[:, axis].double().mean().item() for axis in range(3)]
    found += [(augmentation.quarter_turns == k).double().mean().item() for k in range(4)]
    found += [(augmentation.shifts != 0).double().mean().item()]
    assert found == pytest.approx([0.2, 0.2, 0.2, 0.7, 0.1, 0.1, 0.1, 0.5], abs=0.01)


def test_shifts_fill_the_range_evenly_on_both_sides():
    shifts = drawn(shift_probability=1.0, shift_offset=0.25).shifts
    found = [shifts.min().item(), shifts.max().item(), shifts.mean().item(), shifts.std().item()]
    assert found == pytest.approx([-0.25, 0.25, 0.0, 0.25 / 3**0.5], abs=0.003)


def test_probability_zero_draws_the_identity():
    augmentation = drawn(100, flip_probability=0.0, rotate_probability=0.0, shift_probability=0.0)
    assert fields_equal(augmentation, Augmentation.identity(100))


def test_the_same_seed_draws_the_same():
    assert fields_equal(drawn(50, seed=3), drawn(50, seed=3))


def test_another_seed_draws_something_else():
    assert not torch.equal(drawn(50, seed=3).shifts, drawn(50, seed=4).shifts)


def test_one_probability_leaves_the_other_draws_as_they_were():
    assert torch.equal(drawn(50, flip_probability=1.0).shifts, drawn(50).shifts)


def test_without_a_seed_every_draw_differs_and_the_generator_is_left_alone():
    config, generator = replace(CONFIG, seeded=False), torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert not torch.equal(*(draw_augmentation(50, config, generator).shifts for _ in range(2)))
    assert torch.equal(generator.get_state(), before)


def test_crops_that_are_not_square_turn_by_half_only():
    turns = drawn(1000, crop_size=(8, 6, 8)).quarter_turns
    assert set(turns.tolist()) == {0, 2}


def test_crops_resized_to_a_square_turn_by_quarters():
    turns = drawn(1000, crop_size=(8, 6, 8), network_size=(8, 8, 4)).quarter_turns
    assert set(turns.tolist()) == {0, 1, 2, 3}


# Wrong input


def test_a_quarter_turn_of_a_crop_that_is_not_square_is_refused():
    augmentation = Augmentation(torch.zeros(1, 3, dtype=torch.bool), torch.tensor([1]), torch.zeros(1))
    with pytest.raises(ValueError, match=r"quarter turn needs crops that are square.*got \(4, 5, 6\)"):
        augment(torch.rand(1, 1, 4, 5, 6), augmentation)


def test_another_number_of_crops_is_refused():
    with pytest.raises(ValueError, match="got 2 crops and 3 rows"):
        augment(torch.rand(2, 1, 4, 4, 4), Augmentation.identity(3))
