"""A whole scan through an encoder: crops that cover it, and their pooled features on average."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from monai.transforms import SpatialPad
from torch import Tensor

from voco_lite.config import Size
from voco_lite.crops import extract_crops
from voco_lite.downstream.predicting import WINDOWS_AT_ONCE
from voco_lite.encoders import Encoder


def cover(data: Float[Tensor, "channel x y z"], size: Size) -> Float[Tensor, "crops channel crop_x crop_y crop_z"]:
    """The fewest crops that hold every voxel, evenly spaced; neighbours overlap where the size does not divide.

    A scan smaller than a crop is padded with 0 on both sides.
    """
    padded: Any = SpatialPad(size)(data)
    whole = padded.as_tensor()
    axes = [
        torch.linspace(0, length - want, -(-length // want)).round().long()
        for length, want in zip(whole.shape[1:], size, strict=True)
    ]
    return extract_crops(whole, torch.cartesian_prod(*axes), size)


def drawn_crops(
    crops: Float[Tensor, "crops channel x y z"], most: int, largest_shift: float, generator: torch.Generator
) -> Float[Tensor, "most channel x y z"]:
    """The crops of a training example, filled up with 0 to the most that a scan has.

    Args:
        crops: Of a scan.
        most: Scans of other sizes have other numbers of crops.
        largest_shift: Largest offset added to the intensities, in half of the examples.
        generator: Every chance comes from it.
    """
    offset = torch.rand(2, generator=generator)
    filled = crops.new_zeros(most, *crops.shape[1:])
    filled[: len(crops)] = crops + largest_shift * (2 * offset[0] - 1) * (offset[1] < 0.5)
    return filled


def pooled_scans(
    encoder: Encoder, crops: Float[Tensor, "scans crops channel x y z"], counts: Int[Tensor, " scans"]
) -> Float[Tensor, "scans feature_dim"]:
    """Features of several scans; only the first `counts` crops of a scan are looked at."""
    present = torch.arange(crops.shape[1], device=crops.device) < counts[:, None]
    pooled = encoder(crops[present]).pooled.split(counts.tolist())
    return torch.stack([scan.mean(0) for scan in pooled])


@torch.no_grad()
def pooled_scan(encoder: Encoder, crops: Float[Tensor, "crops channel x y z"]) -> Float[Tensor, " feature_dim"]:
    """Features of one scan, a few crops at a time, where the encoder's weights are."""
    device = next(encoder.parameters()).device
    return torch.cat([encoder(part.to(device)).pooled.float() for part in crops.split(WINDOWS_AT_ONCE)]).mean(0)
