"""Residual conv block of SwinUNETR, with MONAI's module names.

MONAI: `UnetResBlock` in `monai/networks/blocks/dynunet_block.py`, instance normalisation without parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class _Convolution(nn.Module):
    """A convolution under the name that MONAI gives it."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, size, padding=size // 2, bias=False)

    def forward(self, volume: Tensor) -> Tensor:
        return self.conv(volume)


class _Layer(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _Convolution(inputs, outputs, 3)
        self.conv2 = _Convolution(outputs, outputs, 3)
        self.conv3 = _Convolution(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, volume: Tensor) -> Tensor:
        hidden = F.leaky_relu(F.instance_norm(self.conv1(volume)), 0.01)
        hidden = F.instance_norm(self.conv2(hidden))
        beside = volume if self.conv3 is None else F.instance_norm(self.conv3(volume))
        return F.leaky_relu(hidden + beside, 0.01)


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions, each instance-normalised, beside the identity or a 1x1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = _Layer(inputs, outputs)

    def forward(self, volume: Float[Tensor, "crops inputs x y z"]) -> Float[Tensor, "crops outputs x y z"]:
        return self.layer(volume.contiguous(memory_format=torch.channels_last_3d))
