"""From a network that sees patches to whole scans, and back to the grid of the file."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import UInt8
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from voco_lite.config import Size
from voco_lite.volumes import Volume, save_map

WINDOWS_AT_ONCE = 4


@torch.no_grad()
def predict(network: nn.Module, volume: Volume, window: Size, overlap: float = 0.5) -> UInt8[Tensor, "x y z"]:
    """The likeliest class of every voxel, on the CPU; windows are averaged with weights that fall to their borders.

    Args:
        network: Put into evaluation mode for the time being.
        volume: Prepared as the training subjects were.
        window: Voxels of a window.
        overlap: Share that neighbouring windows share.
    """
    device, was_training = next(network.parameters()).device, network.training
    network.eval()
    try:
        logits = sliding_window_inference(
            volume.data[None].to(device), window, WINDOWS_AT_ONCE, network, overlap=overlap, mode="gaussian"
        )
    finally:
        network.train(was_training)
    return torch.as_tensor(logits)[0].argmax(0).to(torch.uint8).cpu()


def save_prediction(prediction: UInt8[Tensor, "x y z"], volume: Volume, path: str | Path) -> Path:
    """Write a prediction on the grid of the file that the volume was read from: each voxel's nearest class.

    Args:
        prediction: On the prepared volume.
        volume: The prepared volume.
        path: Ends in .nii or .nii.gz; written whole or not at all.
    """
    return save_map(volume.to_original(prediction), volume.original or volume.space, path)
