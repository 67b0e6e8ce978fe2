"""The order of patch merging, in this package's encoders and in MONAI's.

MONAI 1.5 changed which neighbours `PatchMerging` joins. Names and shapes stayed, so that weights load without a
complaint and compute something else (method page, 4.4). MONAI threads 4757, 8284, 8285.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from voco_lite.config import PretrainConfig
from voco_lite.encoders.swin import SwinEncoder

_LEGACY_CORNERS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1))


class LegacyPatchMerging(nn.Module):
    """MONAI 1.3's patch merging for MONAI's networks: two corners twice, (110) and (011) never.

    Pass it as `SwinUNETR(downsample=LegacyPatchMerging)`, or let `set_merging` put it into a network.
    """

    def __init__(self, dim: int, norm_layer: type[nn.LayerNorm] = nn.LayerNorm, spatial_dims: int = 3) -> None:
        super().__init__()
        if spatial_dims != 3:
            raise ValueError(f"spatial_dims must be 3, got {spatial_dims}. The order differs in 3-D only.")
        self.dim = dim
        self.reduction = nn.Linear(8 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(8 * dim)

    def forward(self, x: Float[Tensor, "crops x y z channels"]) -> Float[Tensor, "crops x2 y2 z2 twice_channels"]:
        """Join the corners; an odd size is padded with zeros."""
        x = nn.functional.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        corners = [x[:, i::2, j::2, k::2] for i, j, k in _LEGACY_CORNERS]
        return self.reduction(self.norm(torch.cat(corners, -1)))


def merging_of(model: nn.Module) -> str | None:
    """ "current" or "legacy"; None: nothing here merges patches."""
    for module in model.modules():
        if isinstance(module, SwinEncoder):
            return module.merging
    downsamples = [stage.downsample for stage in _monai_stages(model)]
    if not downsamples:
        return None
    return "legacy" if isinstance(downsamples[0], LegacyPatchMerging) else "current"


def set_merging(model: nn.Module, merging: str) -> None:
    """Switch every Swin encoder inside a model, a teacher's included.

    Raises:
        ValueError: An order that is neither "current" nor "legacy".
    """
    if merging not in ("current", "legacy"):
        raise ValueError(f'merging must be "current" or "legacy", got {merging!r}. Released weights: "legacy".')
    for module in model.modules():
        if isinstance(module, SwinEncoder):
            module.merging = merging  # type: ignore[assignment]
    for stage in _monai_stages(model):
        stage.downsample = _with_merging(stage.downsample, merging)
    config = getattr(model, "config", None)
    if isinstance(config, PretrainConfig):
        # A checkpoint is rebuilt from its configuration: the old order there would bring the old function back.
        model.config = config.changed(encoder__merging=merging)  # type: ignore[assignment]


def _with_merging(old: Any, merging: str) -> nn.Module:
    """A MONAI merging module of the other order around the same parameters."""
    from monai.networks.nets.swin_unetr import PatchMerging

    kind = LegacyPatchMerging if merging == "legacy" else PatchMerging
    if isinstance(old, kind):
        return old
    device = old.reduction.weight.device
    with torch.device("meta"):
        new = kind(old.dim)
    new.reduction, new.norm = old.reduction, old.norm
    return new.to(device)


def _monai_stages(model: nn.Module) -> Iterator[Any]:
    """MONAI's `BasicLayer`s that merge patches."""
    for module in model.modules():
        if type(module).__name__ == "BasicLayer" and getattr(module, "downsample", None) is not None:
            yield module
