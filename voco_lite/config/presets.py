"""Named settings.

`cvpr24` and `tpami25-B/L/H` are the published ones (VoCo repository, commit ba7b7bd; Large-Scale-Medical repository,
commit 1ad538b, `Self-supervised/`); `laptop`, `ci` and `workshop-gpu` are ours.
"""

from __future__ import annotations

from voco_lite.config.parts import CropConfig, EncoderConfig, ObjectiveConfig, TrainConfig, VolumeConfig
from voco_lite.config.pretraining import PretrainConfig


def _tpami25(encoder: str, batch_size: int) -> PretrainConfig:
    """The published settings of the 2025 code: `Self-supervised/`, defaults and scripts."""
    return PretrainConfig(
        volume=VolumeConfig("ct-abdomen", spacing=(1.5, 1.5, 1.5), foreground=0.0),
        crops=CropConfig(cells=(3, 3, 1), crop_size=(64, 64, 64), random_crops=2, shift_probability=0.5),
        encoder=EncoderConfig(encoder, activation_checkpointing=True),
        objective=ObjectiveConfig("tpami25", projector_dim=1024),
        train=TrainConfig(
            steps=2_000_000,
            batch_size=batch_size,
            learning_rate=1e-4,
            amsgrad=True,
            warmup_steps=5000,
            clip_norm=None,
            workers=16,
            log_every=100,
            gauge_every=5000,
            checkpoint_every=20_000,
        ),
    )


PRESETS: dict[str, PretrainConfig] = {
    "laptop": PretrainConfig(
        volume=VolumeConfig("ct-abdomen", spacing=None, foreground=None, size=(96, 96, 96)),
        crops=CropConfig(
            cells=(3, 3, 1),
            crop_size=(32, 32, 32),
            random_crops=4,
            flip_probability=0.0,
            rotate_probability=0.0,
            shift_probability=0.5,
        ),
        encoder=EncoderConfig("conv-tiny"),
        objective=ObjectiveConfig(projector_dim=512),
        train=TrainConfig(steps=800, batch_size=4, learning_rate=3e-4, warmup_steps=80),
    ),
    "ci": PretrainConfig(
        volume=VolumeConfig("ct-abdomen", spacing=None, foreground=None, size=(48, 48, 48)),
        crops=CropConfig(
            cells=(3, 3, 1),
            crop_size=(16, 16, 16),
            random_crops=4,
            flip_probability=0.0,
            rotate_probability=0.0,
            shift_probability=0.5,
        ),
        encoder=EncoderConfig("conv-tiny"),
        objective=ObjectiveConfig(projector_dim=128),
        train=TrainConfig(
            steps=30, batch_size=4, learning_rate=1e-3, warmup_steps=5, gauge_every=15, checkpoint_every=0
        ),
    ),
    "workshop-gpu": PretrainConfig(
        volume=VolumeConfig("ct-abdomen", spacing=None, foreground=None, size=(192, 192, 96)),
        crops=CropConfig(
            cells=(3, 3, 1), crop_size=(64, 64, 64), random_crops=4, flip_probability=0.0, rotate_probability=0.0
        ),
        encoder=EncoderConfig("conv-small"),
        objective=ObjectiveConfig(projector_dim=1024),
        train=TrainConfig(steps=2000, batch_size=8, learning_rate=1e-3, warmup_steps=200, workers=4),
    ),
    "cvpr24": PretrainConfig(
        volume=VolumeConfig("ct-abdomen", spacing=None, foreground=0.3, size=(384, 384, 96)),
        crops=CropConfig(
            cells=(4, 4, 1),
            crop_size=(96, 96, 96),
            network_size=(64, 64, 64),
            random_crops=2,
            shift_probability=0.1,
        ),
        encoder=EncoderConfig("swin-b", activation_checkpointing=True),
        objective=ObjectiveConfig("cvpr24", projector_dim=2048),
        train=TrainConfig(
            steps=250_000,
            batch_size=2,
            learning_rate=1e-4,
            amsgrad=True,
            warmup_steps=5000,
            clip_norm=None,
            workers=16,
            log_every=100,
            gauge_every=1000,
            checkpoint_every=1000,
        ),
    ),
    "tpami25-B": _tpami25("swin-b", batch_size=2),
    "tpami25-L": _tpami25("swin-l", batch_size=2),
    "tpami25-H": _tpami25("swin-h", batch_size=2),
}
