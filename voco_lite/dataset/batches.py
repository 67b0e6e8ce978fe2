"""What draws and batches hold: samples, which only choose, and the crops of a whole batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.augment import Augmentation


@dataclass
class VoCoBatch:
    """What the model sees of a batch of volumes.

    Attributes:
        random_crops: Prepared intensity.
        base_crops: Prepared intensity, in the order of `grid_starts`.
        position_labels: Overlaps of each random crop with the base crops of its volume, float64.
        sources: Where each volume's block comes from: source, first voxel, draw.
    """

    random_crops: Float[Tensor, "volumes random channel x y z"]
    base_crops: Float[Tensor, "volumes bases channel x y z"]
    position_labels: Float[Tensor, "volumes random bases"]
    sources: list[str]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> VoCoBatch:
        """The same batch on a device."""
        random, bases, labels = (
            tensor.to(device, non_blocking=non_blocking)
            for tensor in (self.random_crops, self.base_crops, self.position_labels)
        )
        return VoCoBatch(random, bases, labels, self.sources)


@dataclass
class Sample:
    """Everything that one draw decides, before any crop is cut. Tensors on the CPU.

    Attributes:
        block: Prepared intensity; a view of the volume where no padding was needed.
        starts: First voxels of the random crops within the block.
        position_labels: Their overlaps with the base crops, float64.
        augmentation: Of the random crops, then of the base crops.
        source: Where the block comes from.
        left_out: Volumes that could not be used and were met for the first time here: source and reason.
    """

    block: Float[Tensor, "channel x y z"]
    starts: Int[Tensor, "random 3"]
    position_labels: Float[Tensor, "random bases"]
    augmentation: Augmentation
    source: str
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass
class Samples:
    """The samples of a batch; what loader workers send. Its augmentation is volume-major."""

    blocks: list[Float[Tensor, "channel x y z"]]
    starts: Int[Tensor, "volumes random 3"]
    position_labels: Float[Tensor, "volumes random bases"]
    augmentation: Augmentation
    sources: list[str]
    left_out: dict[str, str] = field(default_factory=dict)

    def pin_memory(self) -> Samples:
        """With the blocks and labels in page-locked memory (called by a loader with `pin_memory=True`)."""
        blocks = [block.pin_memory() for block in self.blocks]
        return replace(self, blocks=blocks, position_labels=self.position_labels.pin_memory())
