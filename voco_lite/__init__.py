"""voco_lite: learn and explore volume contrastive (VoCo) pre-training of 3-D medical images.

Names and modules load when they are first used, so that `import voco_lite` costs hardly more than `import torch`.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = ("config", "objectives", "volumes", "samples", "crops", "augment", "dataset", "encoders", "losses", "model",
            "checkpoints", "tables", "official_weights", "gauges", "train", "downstream", "benchmark",
            "planner", "viewers", "checks", "notebooks")  # fmt: skip
_NAMES = {
    "config": ("PretrainConfig", "VolumeConfig", "CropConfig", "EncoderConfig", "ObjectiveConfig", "TrainConfig"),
    "objectives": ("Objective", "objective"),
    "volumes": ("Volume", "VolumeFolder", "load_volume", "load_volumes", "prepare", "save_volume"),
    "crops": ("CropGrid", "grid_starts", "sample_starts", "position_labels", "extract_crops"),
    "augment": ("Augmentation", "draw_augmentation", "augment"),
    "dataset": ("VoCoDataset", "VoCoBatch", "DrawSampler"),
    "encoders": ("build_encoder",),
    "losses": ("position_similarity", "prediction_loss", "regularization_loss"),
    "model": ("Projector", "VoCo"),
    "checkpoints": ("load_model", "load_checkpoint", "save_checkpoint"),
    "official_weights": ("load_official_weights", "export_swinunetr"),
    "gauges": ("measure_held_out", "levels", "verdict"),
    "train": ("pretrain", "History"),
    "downstream": ("FinetuneConfig", "Split", "Task", "fit", "split_subjects"),
}
_OWNER = {name: module for module, names in _NAMES.items() for name in names if name != module}

__all__ = sorted([*_MODULES, *_OWNER])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"voco_lite.{name}")
    if name in _OWNER:
        return getattr(importlib.import_module(f"voco_lite.{_OWNER[name]}"), name)
    raise AttributeError(f"module 'voco_lite' has no attribute {name!r}. It has: {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return __all__
