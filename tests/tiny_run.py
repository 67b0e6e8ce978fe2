"""A run that learns in seconds: four volumes whose places differ, and a small encoder.

`python tests/tiny_run.py RUN_FOLDER STEPS [ACCUMULATION]` trains it: the tests of resumption kill that, and those of
several processes start it in each.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from voco_lite.config import PretrainConfig
from voco_lite.dataset import VoCoDataset
from voco_lite.model import VoCo
from voco_lite.train import History, pretrain
from voco_lite.volumes import Volume


def tiny_config(**changes: Any) -> PretrainConfig:
    """Two by two base crops of 16 voxels, two random crops, two volumes a batch, fp32 on the CPU."""
    defaults: dict[str, Any] = {
        "cells": (2, 2, 1),
        "crop_size": (16, 16, 16),
        "random_crops": 2,
        "projector_dim": 16,
        "steps": 8,
        "batch_size": 2,
        "warmup_steps": 2,
        "log_every": 1,
        "gauge_every": 0,
        "checkpoint_every": 0,
        "device": "cpu",
        "precision": "fp32",
        "progress": False,
    }
    return PretrainConfig.preset("ci", **(defaults | changes))


def tiny_volumes(n: int = 4, first: int = 0) -> list[Volume]:
    """Volumes of 32 x 32 x 16 voxels that share a landscape and differ in noise; prepared intensity."""
    shared = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, 5, 5, 3, generator=shared)
    landscape = F.interpolate(coarse, size=(32, 32, 16), mode="trilinear")[0]
    volumes = []
    for number in range(first, first + n):
        noise = torch.rand(landscape.shape, generator=torch.Generator().manual_seed(number + 1))
        data = (0.8 * landscape + 0.2 * noise).clamp(0, 1)
        volumes.append(Volume(data, torch.eye(4, dtype=torch.float64), source=f"tiny {number}", units="prepared"))
    return volumes


def train(config: PretrainConfig, volumes: Sequence[Volume] | None = None, **more: Any) -> tuple[VoCo, History]:
    """Train a fresh model; returns it with its history."""
    model = VoCo(config)
    dataset = VoCoDataset(volumes or tiny_volumes(), config.crops, seed=config.train.seed)
    return model, pretrain(model, dataset, config.train, **more)


def trace(history: History) -> list[dict[str, Any]]:
    """The records without what the clock says."""
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history.records]


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter and buffer."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Equality bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, steps, accumulation = sys.argv[1], int(sys.argv[2]), int((sys.argv[3:] or ["1"])[0])
    train(tiny_config(steps=steps, accumulation=accumulation, checkpoint_every=3, log_every=2, run_folder=folder))
