"""Layer-wise learning rates: the head at the full rate, the encoder's stages at shares of it."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from voco_lite.downstream.config import FinetuneConfig
from voco_lite.downstream.task import TaskNetwork

_STAGES = (
    re.compile(r"stages\.(\d+)\."),  # conv encoders
    re.compile(r"swinViT\.layers(\d)c?\."),  # Swin: 1 to 4, after the patch embedding
)
# Residual blocks of Swin, each beside the stage whose map it refines.
_BESIDE = {"encoder1": 0, "encoder2": 0, "encoder3": 1, "encoder4": 2, "encoder10": 4, "swinViT.patch_embed": 0}


def stage_of(name: str) -> int | None:
    """Stage, from the input, that a parameter of an encoder belongs to; None: unknown, it counts as the last."""
    for pattern in _STAGES:
        found = pattern.match(name)
        if found:
            return int(found[1])
    return next((stage for start, stage in _BESIDE.items() if name.startswith(f"{start}.")), None)


def encoder_shares(encoder: nn.Module, config: FinetuneConfig) -> dict[str, float]:
    """Share of the learning rate at which each parameter of an encoder learns."""
    stages = {name: stage_of(name) for name, _ in encoder.named_parameters()}
    last = max((stage for stage in stages.values() if stage is not None), default=0)
    above = {name: 0 if stage is None else last - stage for name, stage in stages.items()}
    return {name: config.encoder_rate * config.layer_decay**count for name, count in above.items()}


def learning_groups(network: TaskNetwork, config: FinetuneConfig) -> list[dict[str, Any]]:
    """Trained parameters by their share of the learning rate, the smallest first."""
    shares = {f"encoder.{name}": share for name, share in encoder_shares(network.encoder, config).items()}
    by_share: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            by_share.setdefault(shares.get(name, 1.0), []).append(parameter)
    return [{"params": by_share[share], "share": share} for share in sorted(by_share)]
