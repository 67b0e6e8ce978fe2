"""An encoder as a plain file that MONAI's SwinUNETR loads strictly."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voco_lite.encoders.seeding import seeded
from voco_lite.encoders.swin import SwinEncoder
from voco_lite.official_weights.merging import merging_of
from voco_lite.official_weights.reading import RECORD

_LEGACY = (
    'These weights belong to the "legacy" patch merging (MONAI < 1.5). Newer MONAI loads them without a complaint and '
    "computes something else: build SwinUNETR(downsample=LegacyPatchMerging) from voco_lite.official_weights."
)
_CURRENT = (
    'These weights belong to the "current" patch merging (MONAI >= 1.5), as plain SwinUNETR(use_v2=True) computes it. '
    "Older MONAI, such as the 1.3 that the released downstream code pins, would compute something else."
)


def export_swinunetr(model: nn.Module, path: str | Path, out_channels: int | None = 21) -> Path:
    """Write the weights of a Swin encoder as a state dict of `monai.networks.nets.SwinUNETR(use_v2=True)`.

    The order of the patch merging changes what a network computes, but neither names nor shapes. It is printed, and
    recorded in the state dict's metadata, which `load_official_weights` reads; where plain MONAI of today would compute
    something else, a warning says what it has to be told.

    Args:
        model: A Swin encoder, a VoCo model, or a network around one; a decoder under MONAI's names goes along.
        path: File to write, whole or not at all.
        out_channels: Outputs of the network that shall load the file strictly; a decoder that the model lacks is
            filled with MONAI's random initial weights (released: 21). None: write what there is, as the released
            `VoCo_*_SSL_head.pt`, which lack a decoder.

    Raises:
        ValueError: A model without a Swin encoder.
    """
    encoder = next((module for module in model.modules() if isinstance(module, SwinEncoder)), None)
    if encoder is None:
        raise ValueError(
            f"export_swinunetr takes a model with a Swin encoder, got {type(model).__name__} without one. "
            "Use swin-tiny, swin-b, swin-l or swin-h."
        )
    state = OrderedDict((name, tensor.detach().cpu().contiguous()) for name, tensor in encoder.state_dict().items())
    state.update((name, tensor.detach().cpu()) for name, tensor in model.state_dict().items() if _is_decoder(name))
    if out_channels is not None:
        state = _with_decoder(state, encoder, out_channels)
    merging = merging_of(encoder)
    record = {"merging": merging, "feature_size": encoder.feature_size, "in_channels": encoder.in_channels}
    state._metadata = {RECORD: record}  # type: ignore[attr-defined]
    _write(state, Path(path))
    if merging == "legacy":
        warnings.warn(_LEGACY, stacklevel=2)
    else:
        print(_CURRENT)
    return Path(path)


def _is_decoder(name: str) -> bool:
    return name.startswith(("decoder1.", "decoder2.", "decoder3.", "decoder4.", "decoder5.", "out."))


def _with_decoder(state: OrderedDict[str, Tensor], encoder: SwinEncoder, outputs: int) -> OrderedDict[str, Tensor]:
    """A whole SwinUNETR's state dict, with the given tensors in place of its own."""
    from monai.networks.nets import SwinUNETR

    with seeded(0):
        whole = SwinUNETR(encoder.in_channels, outputs, feature_size=encoder.feature_size, use_v2=True).state_dict()
    return OrderedDict((name, state.get(name, tensor)) for name, tensor in whole.items())


def _write(state: Any, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        torch.save(state, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
