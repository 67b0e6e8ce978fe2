"""The encoder of nnU-Net's plain U-Net, in the sizes that the VoCo authors released weights for.

Released code: `models/PlainConvUNet_load.py` of Large-Scale-Medical (six stages, two convolutions each, with bias). No
released script pre-trains it. Parameter names are those of nnU-Net's `PlainConvEncoder`, without its duplicates.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from voco_lite.config import EncoderConfig
from voco_lite.encoders.conv import Convolution, build_norm
from voco_lite.encoders.registry import Encoder, EncoderOutput, register

CHANNELS = (32, 64, 128, 256, 320, 320)
CONVOLUTIONS = 2


class PlainConvEncoder(Encoder):
    """Six stages of two 3x3x3 convolutions; each but the first halves the size.

    Args:
        norm: "instance" as in nnU-Net, "batch" or "group".
        in_channels: Channels of the crops.
        channels: Of each stage.
    """

    def __init__(self, norm: str = "instance", in_channels: int = 1, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        self.channels = channels
        self.in_channels = in_channels
        self.strides = tuple(2**i for i in range(len(channels)))
        self.size_multiple = self.strides[-1]
        # One voxel of the coarsest map leaves instance norm without a variance.
        self.minimum_size = self.strides[-1] * (2 if norm == "instance" else 1)
        self.feature_dim = sum(channels)
        inputs = (in_channels, *channels[:-1])
        self.stages = nn.Sequential(
            *(
                nn.Sequential(_Stage(i, o, 1 if index == 0 else 2, norm))
                for index, (i, o) in enumerate(zip(inputs, channels, strict=True))
            )
        )

    def forward(self, crops: Float[Tensor, "crops channel x y z"]) -> EncoderOutput:
        """Feature maps, and the averages of all of them, fine to coarse, as one vector per crop.

        Raises:
            ValueError: A crop size that is no multiple of the coarsest stride.
        """
        self.require_size(tuple(crops.shape[2:]))
        maps, x = [], crops
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return EncoderOutput(maps, torch.cat([x.mean((2, 3, 4)) for x in maps], dim=1))


class _Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        widths = (inputs, *(outputs,) * CONVOLUTIONS)
        strides = (stride, *(1,) * (CONVOLUTIONS - 1))
        self.convs = nn.Sequential(
            *(_Convolution(i, o, s, norm) for i, o, s in zip(widths, widths[1:], strides, strict=False))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)


class _Convolution(nn.Module):
    """Convolution, normalisation, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs, stride, bias=True)
        self.norm = build_norm(norm, outputs)
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))


@register("plain-conv")
def plain_conv(config: EncoderConfig, in_channels: int) -> Encoder:
    """Six stages, for 64^3 crops on a GPU."""
    return PlainConvEncoder(config.norm, in_channels)
