"""Augmentation of crops: parameters are drawn first, then applied to a whole batch on its device.

Flips, quarter turns and intensity shifts, in this order, as in the released code (MONAI's `RandFlip` on each axis,
`RandRotate90` in (x, y), `RandShiftIntensity`). Position labels do not change under augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from voco_lite.config import CropConfig


@dataclass(frozen=True, eq=False)
class Augmentation:
    """What happens to each crop, decided before any crop is touched. Tensors on the CPU.

    Attributes:
        flips: Whether a crop is mirrored along x, y, z.
        quarter_turns: Rotations by 90 degrees in the (x, y) plane, 0 to 3, after the flips.
        shifts: Offsets added to prepared intensities.
    """

    flips: Bool[Tensor, "crops 3"]
    quarter_turns: Int[Tensor, " crops"]
    shifts: Float[Tensor, " crops"]

    def __len__(self) -> int:
        return len(self.shifts)

    def __getitem__(self, crops: slice) -> Augmentation:
        return Augmentation(self.flips[crops], self.quarter_turns[crops], self.shifts[crops])

    @classmethod
    def identity(cls, n: int) -> Augmentation:
        """The augmentation that changes nothing."""
        return cls(torch.zeros(n, 3, dtype=torch.bool), torch.zeros(n, dtype=torch.int64), torch.zeros(n))

    @classmethod
    def cat(cls, parts: Sequence[Augmentation]) -> Augmentation:
        """The augmentations of several groups of crops, one after the other."""
        fields = zip(*((part.flips, part.quarter_turns, part.shifts) for part in parts), strict=True)
        return cls(*(torch.cat(field) for field in fields))


def draw_augmentation(n: int, config: CropConfig, generator: torch.Generator) -> Augmentation:
    """Draw the augmentation of ``n`` crops.

    Crops that are not square in (x, y) turn by 180 degrees only: a quarter turn would exchange their sizes.

    Args:
        n: Number of crops.
        config: Probabilities, largest shift, and size of the crops.
        generator: Source of chance, on the CPU. With `config.seeded` False it is left alone and the operating system
            decides: the released code builds a new pipeline per crop, which no seed reaches.
    """
    if not config.seeded:
        generator = torch.Generator()
        generator.seed()
    # Every number is drawn whether used or not: changing one probability leaves the other draws as they were.
    flips = torch.rand(n, 3, generator=generator) < config.flip_probability
    turned = torch.rand(n, generator=generator) < config.rotate_probability
    turns = torch.randint(1, 4, (n,), generator=generator)
    shifted = torch.rand(n, generator=generator) < config.shift_probability
    shifts = (torch.rand(n, generator=generator) * 2 - 1) * config.shift_offset
    x, y, _ = config.network_size or config.crop_size
    return Augmentation(flips, turned * (turns if x == y else 2), shifted * shifts)


def augment(
    crops: Float[Tensor, "crops channel x y z"] | Sequence[Float[Tensor, "channel x y z"]],
    augmentation: Augmentation,
    out: Float[Tensor, "crops channel x y z"] | None = None,
) -> Float[Tensor, "crops channel x y z"]:
    """Apply drawn parameters to a batch of crops, without waiting for its device.

    Args:
        crops: A batch, or views into blocks of one size each (`crop_views`): those are cut and augmented in one pass.
        augmentation: One row per crop.
        out: Where to write; None: a new tensor.

    Raises:
        ValueError: Another number of crops than of rows, or a quarter turn of a crop that is not square in (x, y).
    """
    if len(crops) != len(augmentation) or len(crops) == 0:
        raise ValueError(
            f"crops must be as many as the augmentation's rows, at least 1, got {len(crops)} crops and "
            f"{len(augmentation)} rows. Draw as many with draw_augmentation."
        )
    out = torch.empty(len(crops), *crops[0].shape, dtype=crops[0].dtype, device=crops[0].device) if out is None else out
    parameters = zip(
        augmentation.flips.tolist(), augmentation.quarter_turns.tolist(), augmentation.shifts.tolist(), strict=True
    )
    for crop, target, (flips, turns, shift) in zip(crops, out, parameters, strict=True):
        _write(_moved(crop, flips, turns), shift, target)
    return out


def _moved(crop: Float[Tensor, "channel x y z"], flips: list[bool], turns: int) -> Float[Tensor, "channel x y z"]:
    """The crop flipped, then turned: one transposition and one flip do both."""
    flip_x, flip_y, flip_z = flips
    if turns % 2:
        if crop.shape[1] != crop.shape[2]:
            raise ValueError(
                f"a quarter turn needs crops that are square in (x, y), got {tuple(crop.shape[1:])} voxels. "
                "Use turns of 0 or 2, or square crops."
            )
        # rot90 by 1 takes y to x reversed, by 3 takes x to y reversed.
        crop = crop.transpose(1, 2)
        flip_x, flip_y = flip_y, flip_x
    flip_x ^= turns in (1, 2)
    flip_y ^= turns in (2, 3)
    axes = [axis for axis, flip in enumerate((flip_x, flip_y, flip_z), start=1) if flip]
    return crop.flip(axes) if axes else crop


def _write(crop: Float[Tensor, "channel x y z"], shift: float, target: Float[Tensor, "channel x y z"]) -> None:
    if shift:
        torch.add(crop, shift, out=target)
    else:
        target.copy_(crop)
