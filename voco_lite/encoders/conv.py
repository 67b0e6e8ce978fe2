"""Small convolutional encoders that learn on a laptop.

Normalisation matters more here than depth: instance normalisation before global pooling removes each crop's own level
of every feature, which is most of what tells one place from another; batch and group normalisation keep it.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from voco_lite.config import EncoderConfig
from voco_lite.encoders.registry import Encoder, EncoderOutput, register

_GROUP_CHANNELS = 8
_SMALL_MAP = 2  # voxels along the shortest axis


class ConvEncoder(Encoder):
    """Stages of two 3x3x3 convolutions; the first of each halves the size.

    Only the coarsest map is pooled: with all of them, as the Swin encoders have it, the laptop run ended with 0.26
    instead of 0.23 of held-out loss, and features told regions apart no better than those of random weights.

    Args:
        channels: Of each stage.
        norm: "batch", "group" (groups of 8 channels) or "instance".
        in_channels: Channels of the crops.
    """

    def __init__(self, channels: tuple[int, ...], norm: str = "batch", in_channels: int = 1) -> None:
        super().__init__()
        self.channels = channels
        self.strides = tuple(2 ** (i + 1) for i in range(len(channels)))
        self.size_multiple = self.strides[-1]
        # One voxel of the coarsest map leaves instance norm without a variance.
        self.minimum_size = self.strides[-1] * (2 if norm == "instance" else 1)
        self.feature_dim = channels[-1]
        inputs = (in_channels, *channels[:-1])
        self.stages = nn.ModuleList(_stage(i, o, norm) for i, o in zip(inputs, channels, strict=True))

    def forward(self, crops: Float[Tensor, "crops channel x y z"]) -> EncoderOutput:
        """Feature maps, and the averages of the coarsest as one vector per crop.

        Raises:
            ValueError: A crop size that is no multiple of the coarsest stride.
        """
        self.require_size(tuple(crops.shape[2:]))
        maps, x = [], crops
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return EncoderOutput(maps, x.mean((2, 3, 4)))


class Convolution(nn.Conv3d):
    """A 3x3x3 convolution with zero padding, whose gradient is right for small maps too.

    In bfloat16 on a CPU, the weight gradient of a padded convolution over one or two voxels holds uninitialised memory
    (torch 2.13 with oneDNN, AVX512-BF16): noise in some runs, NaN in others. Padding beforehand avoids that kernel.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, bias: bool = False) -> None:
        super().__init__(inputs, outputs, 3, stride=stride, padding=1, bias=bias)

    def forward(self, x: Float[Tensor, "crops channels x y z"]) -> Float[Tensor, "crops channels new_x new_y new_z"]:
        """The convolved maps."""
        if min(x.shape[2:]) > _SMALL_MAP:
            return super().forward(x)
        return F.conv3d(F.pad(x, (1,) * 6), self.weight, self.bias, stride=self.stride)


def exact_on_small_maps(network: nn.Module) -> None:
    """Put `Convolution` in the place of a network's padded 3x3x3 convolutions; weights and their names stay."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Conv3d and (child.kernel_size, child.padding) == ((3,) * 3, (1,) * 3):
                exact = Convolution(child.in_channels, child.out_channels, child.stride[0], child.bias is not None)
                exact.weight, exact.bias = child.weight, child.bias
                setattr(parent, name, exact)


def _stage(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        Convolution(inputs, outputs, stride=2),
        build_norm(norm, outputs),
        nn.ReLU(inplace=True),
        Convolution(outputs, outputs),
        build_norm(norm, outputs),
        nn.ReLU(inplace=True),
    )


def build_norm(norm: str, channels: int) -> nn.Module:
    """A normalisation of 3-D feature maps by name, with a learnt scale and offset.

    Raises:
        ValueError: Unknown name.
    """
    if norm == "batch":
        return nn.BatchNorm3d(channels)
    if norm == "group":
        return nn.GroupNorm(max(channels // _GROUP_CHANNELS, 1), channels)
    if norm == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    raise ValueError(f"norm must be batch, group or instance, got {norm!r}. Batch learns fastest here.")


@register("conv-tiny")
def conv_tiny(config: EncoderConfig, in_channels: int) -> Encoder:
    """Four stages, for 32^3 crops on a CPU."""
    return ConvEncoder((24, 48, 96, 192), config.norm, in_channels)


@register("conv-small")
def conv_small(config: EncoderConfig, in_channels: int) -> Encoder:
    """Five stages, for 64^3 crops on one GPU."""
    return ConvEncoder((32, 64, 128, 256, 320), config.norm, in_channels)
