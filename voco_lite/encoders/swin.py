"""The encoder of SwinUNETR-v2, which VoCo pre-trains: Swin transformer, five residual blocks, five pooled scales.

Released code: class `Swin` in `models/voco_head.py` of both repositories (method page, 2.1). Module names are those of
`monai.networks.nets.SwinUNETR(use_v2=True)`, so that state dicts can be exchanged with it.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from voco_lite.config import EncoderConfig
from voco_lite.encoders.registry import Encoder, EncoderOutput, register
from voco_lite.encoders.residual import ResidualBlock
from voco_lite.encoders.swin_transformer import Merging, SwinTransformer, apply

FEATURE_SIZES = {"swin-tiny": 12, "swin-b": 48, "swin-l": 96, "swin-h": 192}
CROPS_AT_ONCE = 2  # of a batch whose activations are not kept


class SwinEncoder(Encoder):
    """Crops to five maps of strides 1, 2, 4, 8, 32 and their averages, 24 x `feature_size` numbers per crop.

    Args:
        feature_size: Channels of the finest map, a multiple of 12; 48, 96 and 192 were released.
        merging: Order of the patch merging: "current" (MONAI >= 1.5) or "legacy" (the released weights).
        activation_checkpointing: Two crops at a time; keep only what goes into each block, and compute the rest again,
            block by block, in the backward pass.
        in_channels: Channels of the crops.

    Raises:
        ValueError: A feature size that the heads do not divide.
    """

    strides = (1, 2, 4, 8, 32)
    size_multiple = 32
    minimum_size = 64  # of a cube

    def __init__(
        self,
        feature_size: int = 48,
        merging: Merging = "current",
        activation_checkpointing: bool = False,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        if feature_size < 12 or feature_size % 12:
            raise ValueError(
                f"feature_size must be a multiple of 12, got {feature_size}. Released: 48 (B), 96 (L), 192 (H)."
            )
        self.feature_size = feature_size
        self.in_channels = in_channels
        self.activation_checkpointing = activation_checkpointing
        self.channels = tuple(feature_size * factor for factor in (1, 1, 2, 4, 16))
        self.feature_dim = sum(self.channels)
        self.swinViT = SwinTransformer(in_channels, feature_size, merging)
        self.encoder1 = ResidualBlock(in_channels, feature_size)
        self.encoder2 = ResidualBlock(feature_size, feature_size)
        self.encoder3 = ResidualBlock(2 * feature_size, 2 * feature_size)
        self.encoder4 = ResidualBlock(4 * feature_size, 4 * feature_size)
        self.encoder10 = ResidualBlock(16 * feature_size, 16 * feature_size)

    @property
    def merging(self) -> Merging:
        """Order of the patch merging; setting it changes every stage."""
        return self.swinViT.stages()[0].downsample.merging

    @merging.setter
    def merging(self, merging: Merging) -> None:
        if merging not in ("current", "legacy"):
            raise ValueError(f'merging must be "current" or "legacy", got {merging!r}. Released weights: "legacy".')
        for stage in self.swinViT.stages():
            stage.downsample.merging = merging

    def require_size(self, size: tuple[int, ...]) -> None:
        """Check a crop size: a patch may be flat, such as the 192 x 192 x 32 voxels of several published tasks.

        Raises:
            ValueError: A size that is no multiple of 32, or a cube of 32, whose coarsest map is a single voxel: instance
                normalisation then leaves nothing of it, and MONAI's refuses it.
        """
        if any(n < self.size_multiple or n % self.size_multiple for n in size) or max(size) == self.size_multiple:
            raise ValueError(
                f"{type(self).__name__} takes crops whose sizes are multiples of {self.size_multiple}, at least one of "
                f"them {self.minimum_size} or more, got {tuple(size)}. Change crops.crop_size, crops.network_size or "
                "the patch size."
            )

    def forward(self, crops: Float[Tensor, "crops channel x y z"]) -> EncoderOutput:
        """Feature maps and the averages of all of them.

        Raises:
            ValueError: As `require_size`.
        """
        self.require_size(tuple(crops.shape[2:]))
        if not self.activation_checkpointing:
            return _with_averages(self.maps(crops))
        recompute = torch.is_grad_enabled()
        parts = [self.maps(part, recompute) for part in crops.split(CROPS_AT_ONCE)]
        return _with_averages([torch.cat(scale) for scale in zip(*parts, strict=True)])

    def compile(self, *args: Any, **keywords: Any) -> None:
        """As `torch.nn.Module.compile`, on a GPU.

        Raises:
            ValueError: On a CPU, where the compiler fails on the functions written for it, and had not finished after
                seven minutes without them.
        """
        if next(self.parameters()).device.type == "cpu":
            raise ValueError(
                "train.compile takes a GPU or another encoder, got a Swin encoder on a CPU. Leave compile out: its "
                "attention and linear layers are already written for CPUs."
            )
        super().compile(*args, **keywords)

    def maps(
        self, crops: Float[Tensor, "crops channel x y z"], recompute: bool = False
    ) -> list[Float[Tensor, "crops channels x y z"]]:
        """The five maps, fine to coarse; the map of stride 16 takes no part, as in the released code."""
        return self.refine(crops, self.swinViT(crops, recompute), recompute)

    def refine(
        self,
        crops: Float[Tensor, "crops channel x y z"],
        hidden: list[Float[Tensor, "crops channels x y z"]],
        recompute: bool = False,
    ) -> list[Float[Tensor, "crops channels x y z"]]:
        """The five maps from the transformer's, whose strides are 2, 4, 8, 16, 32."""
        sources = {
            self.encoder1: crops,
            self.encoder2: hidden[0],
            self.encoder3: hidden[1],
            self.encoder4: hidden[2],
            self.encoder10: hidden[4],
        }
        return [apply(block, source, recompute) for block, source in sources.items()]


def _with_averages(maps: list[Float[Tensor, "crops channels x y z"]]) -> EncoderOutput:
    return EncoderOutput(maps, torch.cat([scale.mean((2, 3, 4)) for scale in maps], dim=1))


def _register(name: str, feature_size: int) -> None:
    def build(config: EncoderConfig, in_channels: int) -> Encoder:
        return SwinEncoder(feature_size, config.merging, config.activation_checkpointing, in_channels)

    register(name)(build)


for _name, _feature_size in FEATURE_SIZES.items():
    _register(_name, _feature_size)
