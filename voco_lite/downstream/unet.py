"""Networks that give every voxel a class: a U-Net on the conv encoders, SwinUNETR on Swin, and a linear head.

Blocks of the decoders are MONAI's (`UnetrUpBlock`, `UnetOutBlock`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from monai.networks.blocks import UnetOutBlock, UnetrUpBlock
from torch import Tensor, nn

from voco_lite.downstream.task import TaskNetwork
from voco_lite.encoders import Encoder, SwinEncoder
from voco_lite.encoders.conv import exact_on_small_maps
from voco_lite.encoders.seeding import seeded

Crops = Float[Tensor, "crops channel x y z"]
Logits = Float[Tensor, "crops classes x y z"]
_FINEST = 12  # channels at the resolution of the crop, where the encoder has none


def upward(channels: Sequence[int], strides: Sequence[int]) -> nn.ModuleList:
    """Blocks that lead from each map to the next finer one, from fine to coarse."""
    blocks = nn.ModuleList(
        UnetrUpBlock(3, coarse, fine, 3, below // above, "batch")
        for (fine, coarse), (above, below) in zip(pairwise(channels), pairwise(strides), strict=True)
    )
    exact_on_small_maps(blocks)
    return blocks


def climb(ups: nn.ModuleList, maps: Sequence[Tensor]) -> Tensor:
    """From the coarsest of the maps, given from fine to coarse, up to the finest."""
    x = maps[-1]
    for up, finer in zip(reversed(ups), reversed(maps[:-1]), strict=True):
        x = up(x, finer)
    return x


class UNet(TaskNetwork):
    """From the coarsest map up to the crop's own voxels, each finer map joining on the way.

    Args:
        encoder: Whose maps halve, or keep, their size from one to the next.
        classes: Background included.
        in_channels: Of the crops.
    """

    def __init__(self, encoder: Encoder, classes: int, in_channels: int = 1) -> None:
        super().__init__(encoder)
        channels, strides = encoder.channels, encoder.strides
        self.stem: nn.Module | None = None
        if strides[0] > 1:
            # The encoder has no map at the crop's own resolution; the crop itself joins there.
            self.stem = nn.Conv3d(in_channels, _FINEST, 3, padding=1)
            channels, strides = (_FINEST, *channels), (1, *strides)
        self.ups = upward(channels, strides)
        self.out = UnetOutBlock(3, channels[0], classes)

    def forward(self, crops: Crops) -> Logits:
        """One logit a class and voxel."""
        maps = list(self.encoder(crops).maps)
        if self.stem is not None:
            maps.insert(0, self.stem(crops))
        return self.out(climb(self.ups, maps))


class SwinUNETR(TaskNetwork):
    """The whole SwinUNETR-v2 around our Swin encoder; the names of the decoder are those of MONAI's network.

    Args:
        encoder: Its transformer's map of stride 16 joins, too, which pre-training does not use.
        classes: Background included.
    """

    encoder: SwinEncoder

    def __init__(self, encoder: SwinEncoder, classes: int) -> None:
        super().__init__(encoder)
        size = encoder.feature_size

        def up(inputs: int, outputs: int) -> UnetrUpBlock:
            return UnetrUpBlock(3, inputs * size, outputs * size, 3, 2, "instance", res_block=True)

        self.decoder5, self.decoder4, self.decoder3 = up(16, 8), up(8, 4), up(4, 2)
        self.decoder2, self.decoder1 = up(2, 1), up(1, 1)
        self.out = UnetOutBlock(3, size, classes)

    def forward(self, crops: Crops) -> Logits:
        """One logit a class and voxel.

        Raises:
            ValueError: A crop size that is no multiple of 32 or smaller than 64 along every axis.
        """
        self.encoder.require_size(tuple(crops.shape[2:]))
        recompute = self.encoder.activation_checkpointing and torch.is_grad_enabled()
        hidden = self.encoder.swinViT(crops, recompute)
        finest, half, quarter, eighth, coarsest = self.encoder.refine(crops, hidden, recompute)
        x = self.decoder5(coarsest, hidden[3])
        for decoder, finer in (
            (self.decoder4, eighth),
            (self.decoder3, quarter),
            (self.decoder2, half),
            (self.decoder1, finest),
        ):
            x = decoder(x, finer)
        return self.out(x)


class LinearSegmenter(TaskNetwork):
    """Logits that are linear in all feature maps, each interpolated to the crop's voxels.

    A 1x1x1 convolution and an interpolation may change places, so that the small maps are mapped first.

    Args:
        encoder: Any.
        classes: Background included.
    """

    linear = True

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__(encoder)
        self.heads = nn.ModuleList(nn.Conv3d(channels, classes, 1) for channels in encoder.channels)

    def forward(self, crops: Crops) -> Logits:
        """One logit a class and voxel."""
        size = crops.shape[2:]
        maps = zip(self.heads, self.encoder(crops).maps, strict=True)
        return torch.stack([F.interpolate(head(x), size, mode="trilinear") for head, x in maps]).sum(0)


def build_segmenter(encoder: Encoder, classes: int, linear: bool, seed: int) -> TaskNetwork:
    """The network that fits an encoder.

    Args:
        encoder: Becomes part of it.
        classes: Background included.
        linear: A linear head in place of the decoder.
        seed: Of the new weights.
    """
    with seeded(seed):
        if linear:
            return LinearSegmenter(encoder, classes)
        return SwinUNETR(encoder, classes) if isinstance(encoder, SwinEncoder) else UNet(encoder, classes)
