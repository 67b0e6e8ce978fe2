"""Batch preparation against a plain MONAI pipeline: crops, labels and augmentation of one 192x192x64 volume.

    python tests/benchmarks/batch_preparation.py [--rounds 60]

All sides start from the same block in memory and end with one tensor of 2 random crops, one of 9 base crops, each of
64x64x64 voxels, and the position labels. MONAI's side gives every crop a Compose of SpatialCrop, three RandFlip,
RandRotate90 and RandShiftIntensity: built anew for every crop as the released 2025 code does, or, besides, with the
augmentation built only once. Rounds of the sides alternate within one run; ratios are those of the medians.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, RandFlip, RandRotate90, RandShiftIntensity, SpatialCrop
from rounds import measure, print_table
from torch import Tensor

from voco_lite.config import CropConfig
from voco_lite.crops import CropGrid, grid_starts
from voco_lite.dataset import VoCoDataset

CONFIG = CropConfig(cells=(3, 3, 1), crop_size=(64, 64, 64), random_crops=2)
SIDE, CELLS = 64, 3


def ours(block: Tensor) -> Callable[[int], object]:
    """`VoCoDataset.batch` of one volume that is exactly one block."""
    dataset = VoCoDataset([SimpleNamespace(data=block, source="benchmark")], CONFIG)  # type: ignore[list-item]
    return lambda round_: dataset.batch([round_])


def augmentation() -> list[Any]:
    """MONAI's transforms with the released probabilities."""
    return [
        *(RandFlip(prob=CONFIG.flip_probability, spatial_axis=axis) for axis in range(3)),
        RandRotate90(prob=CONFIG.rotate_probability, max_k=3),
        RandShiftIntensity(offsets=CONFIG.shift_offset, prob=CONFIG.shift_probability),
    ]


def monai_new(block: Tensor, start: list[int]) -> Tensor:
    """One crop by a pipeline of its own."""
    return Compose([SpatialCrop(roi_start=start, roi_end=[first + SIDE for first in start]), *augmentation()])(block)


def monai_reused() -> Callable[[Tensor, list[int]], Tensor]:
    """One crop by an augmentation that is built once."""
    augment = Compose(augmentation())

    def prepare(block: Tensor, start: list[int]) -> Tensor:
        return augment(SpatialCrop(roi_start=start, roi_end=[first + SIDE for first in start])(block))

    return prepare


def labels_by_loop(x: int, y: int) -> list[float]:
    """Shares of the crop's area, cell by cell."""
    spans = [
        [max(0, min((i + 1) * SIDE, first + SIDE) - max(i * SIDE, first)) for i in range(CELLS)] for first in (x, y)
    ]
    return [a * b / SIDE**2 for a in spans[0] for b in spans[1]]


def plain(block: Tensor, crop: Callable[[Tensor, list[int]], Tensor]) -> Callable[[int], object]:
    """The whole preparation with one MONAI call per crop."""
    base_starts = grid_starts(CropGrid.from_config(CONFIG)).tolist()

    def prepare(round_: int) -> object:
        free = (CELLS - 1) * SIDE + 1
        starts = [[np.random.randint(free), np.random.randint(free), 0] for _ in range(CONFIG.random_crops)]
        random = torch.stack([crop(block, start) for start in starts])
        bases = torch.stack([crop(block, start) for start in base_starts])
        return random, bases, torch.tensor([labels_by_loop(x, y) for x, y, _ in starts], dtype=torch.float64)

    return prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    block = torch.rand(1, CELLS * SIDE, CELLS * SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    sides = {
        "voco_lite": ours(block),
        "MONAI, Compose anew per crop": plain(block, monai_new),
        "MONAI, augmentation built once": plain(block, monai_reused()),
    }
    print_table(measure(sides, arguments.rounds), "voco_lite")


if __name__ == "__main__":
    main()
