"""Every choice of a run, as frozen dataclasses: what a checkpoint stores and the command line shows."""

from __future__ import annotations

from voco_lite.config.parts import (
    CropConfig,
    EncoderConfig,
    Intensity,
    Mode,
    ObjectiveConfig,
    ObjectiveName,
    Precision,
    Size,
    Spacing,
    TrainConfig,
    VolumeConfig,
)
from voco_lite.config.presets import PRESETS
from voco_lite.config.pretraining import PretrainConfig

__all__ = [
    "PRESETS",
    "CropConfig",
    "EncoderConfig",
    "Intensity",
    "Mode",
    "ObjectiveConfig",
    "ObjectiveName",
    "Precision",
    "PretrainConfig",
    "Size",
    "Spacing",
    "TrainConfig",
    "VolumeConfig",
]
