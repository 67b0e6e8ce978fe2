"""What several benchmarks share: a run on volumes of noise, begun and ready for its first step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch

from voco_lite import PretrainConfig, VoCo, VoCoDataset
from voco_lite.crops import CropGrid
from voco_lite.train.hardware import open_accelerator
from voco_lite.train.run import Run


def noise(count: int, config: PretrainConfig) -> list[Any]:
    """Volumes of one block each."""
    make, size = torch.Generator().manual_seed(0), CropGrid.from_config(config.crops).block_size
    return [SimpleNamespace(data=torch.rand(1, *size, generator=make), source=f"noise {i}") for i in range(count)]


@contextmanager
def started(config: PretrainConfig, volumes: Any = None) -> Iterator[Run]:
    """A run before its first step; its volumes are noise unless others are given. Several may be open at once."""
    with open_accelerator(config.train) as accelerator:
        data = VoCoDataset(volumes or noise(max(4, config.train.batch_size), config), config.crops)
        run = Run(accelerator, VoCo(config), data, config)
        run.begin()
        try:
            yield run
        finally:
            run.close()
