"""The parts of a configuration, each checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Size = tuple[int, int, int]
Spacing = tuple[float, float, float]
ObjectiveName = Literal["tpami25", "cvpr24", "cvpr24-head"]
Mode = Literal["default", "official"]
Window = tuple[float, float]
Intensity = Literal["ct-abdomen", "ct-chest", "mr", "none"] | Window
Precision = Literal["auto", "fp32", "bf16", "fp16"]


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_size(name: str, size: Size | None) -> None:
    require(
        size is None or (len(size) == 3 and min(size) >= 1),
        f"{name} must be three sizes of at least 1 voxel, got {size}. Give (x, y, z), such as (64, 64, 64).",
    )


@dataclass(frozen=True)
class VolumeConfig:
    """How a scan becomes a prepared volume (method of preparation: `voco_lite.volumes`).

    Attributes:
        intensity: Window that is mapped to [0, 1]: "ct-abdomen" (-175..250 HU), "ct-chest" (-1000..500 HU),
            "mr" (0.5th to 99.5th percentile of the foreground), "none" (kept as it is), or two intensities of the scan,
            such as (0, 600).
        spacing: Voxel size in mm along (x, y, z) after resampling; None keeps the scan's own.
        foreground: Crop to the box of voxels above this prepared intensity; None keeps everything.
        size: Resize the whole volume to (x, y, z) voxels at the end, whatever its aspect; None keeps it.
    """

    intensity: Intensity = "ct-abdomen"
    spacing: Spacing | None = (1.5, 1.5, 1.5)
    foreground: float | None = 0.0
    size: Size | None = None

    def __post_init__(self) -> None:
        window = self.intensity
        require(
            isinstance(window, str) or (len(window) == 2 and all(map(math.isfinite, window)) and window[0] < window[1]),
            f"intensity must be a name or two numbers from low to high, got {window}. Give a window such as (0, 600).",
        )
        _require_size("size", self.size)
        require(
            self.spacing is None or (len(self.spacing) == 3 and min(self.spacing) > 0),
            f"spacing must be three positive sizes in mm, got {self.spacing}. Give (x, y, z), or None to keep the scan's.",
        )


@dataclass(frozen=True)
class CropConfig:
    """Which crops are cut from a volume, and how they are augmented.

    Attributes:
        cells: Base crops along (x, y, z).
        crop_size: Size of a base crop in voxels.
        random_size: Size of a random crop in voxels; None: as the base crops.
        network_size: Crops are resized to this before the network; None: not resized.
        random_crops: Random crops per volume.
        open_border: Never draw the last position before the high border (released code, `randint` excludes it).
        official_odd: Released rule for odd crop sizes: the random box is one voxel narrower, its area is not.
        flip_probability: Chance of a flip along each axis.
        rotate_probability: Chance of a rotation by 90, 180 or 270 degrees in the (x, y) plane.
        shift_probability: Chance that an offset is added to a crop's intensities.
        shift_offset: Largest such offset, in prepared intensity.
        seeded: Draw augmentations from the run's seed; False: from the operating system, as the released code does.
    """

    cells: Size = (3, 3, 1)
    crop_size: Size = (64, 64, 64)
    random_size: Size | None = None
    network_size: Size | None = None
    random_crops: int = 2
    open_border: bool = False
    official_odd: bool = False
    flip_probability: float = 0.2
    rotate_probability: float = 0.2
    shift_probability: float = 0.5
    shift_offset: float = 0.1
    seeded: bool = True

    def __post_init__(self) -> None:
        for name in ("cells", "crop_size", "random_size", "network_size"):
            _require_size(name, getattr(self, name))
        require(
            self.random_crops >= 1, f"random_crops must be at least 1, got {self.random_crops}. Use 2, as published."
        )
        for name in ("flip_probability", "rotate_probability", "shift_probability"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} must lie in [0, 1], got {value}. Give a probability, such as 0.2.")


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder turns crops into pooled features.

    Attributes:
        name: A name of the registry `voco_lite.encoders.ENCODERS`, such as "conv-tiny" or "swin-b".
        norm: Normalisation of the conv encoders. InstanceNorm before global pooling hides what VoCo needs.
        merging: Order of the Swin patch merging: "current" (MONAI >= 1.5) or "legacy" (the released weights).
        activation_checkpointing: Recompute activations in the backward pass to save memory (Swin encoders).
    """

    name: str = "conv-tiny"
    norm: Literal["batch", "group", "instance"] = "batch"
    merging: Literal["current", "legacy"] = "current"
    activation_checkpointing: bool = False


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is learnt; `voco_lite.objectives` holds the table of what each name and mode means.

    Attributes:
        name: "tpami25" (2025 code), "cvpr24" (2024 code), "cvpr24-head" (the paper-time head, without a teacher).
        mode: "official" repeats every quirk of the released code, "default" repairs them.
        projector_dim: Width of the projector's hidden and output layers.
        momentum: Share of the teacher that an EMA update keeps.
        dropout: Probability of the feature dropout before the student's projector ("tpami25").
        synchronized: Batch statistics of the projector over all processes, as the 2024 code has them; False: of each
            process's own crops, as in the 2025 code.
        intra_weight: Weight of the intra-volume prediction loss.
        inter_weight: Weight of the inter-volume loss.
        regularization_weight: Weight of the loss that keeps base crops apart.
    """

    name: ObjectiveName = "tpami25"
    mode: Mode = "default"
    projector_dim: int = 1024
    momentum: float = 0.9
    dropout: float = 0.2
    synchronized: bool = False
    intra_weight: float = 1.0
    inter_weight: float = 1.0
    regularization_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("momentum", "dropout"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name} must lie in [0, 1), got {value}. Published: momentum 0.9, dropout 0.2.")
        width = self.projector_dim
        require(width >= 1, f"projector_dim must be at least 1, got {width}. Published: 1024 (2025), 2048 (2024).")


@dataclass(frozen=True)
class TrainConfig:
    """How long, how fast and where to train.

    Attributes:
        steps: Optimizer steps.
        batch_size: Volumes per micro-batch and process.
        accumulation: Micro-batches per optimizer step.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Decoupled weight decay of AdamW.
        amsgrad: AMSGrad variant of AdamW (the released code sets it).
        warmup_steps: Steps of linear warm-up before the cosine.
        start_at_zero: The first step's learning rate is 0, as in the released schedule; False: one warm-up step above.
        clip_norm: Largest gradient norm; None: no clipping (the released AMP branch never clips).
        drop_last: Leave out the last, smaller batch of an epoch.
        reshuffle: A new order every epoch; False: the released code's one order for all epochs.
        device: "auto", "cpu", "cuda", "cuda:1" …
        precision: "auto" is bf16 where the device computes in it, else fp16 on CUDA, else fp32.
        workers: Loader processes; 0 loads in the main process.
        tf32: Let CUDA multiply fp32 matrices in TF32: faster, with 10 bits of mantissa.
        compile: Compile the encoder with torch.compile; the first steps take minutes.
        seed: Seed of weights, data, augmentation and dropout.
        log_every: Steps between two lines of the log.
        gauge_every: Steps between two held-out measurements; 0: only before and after training.
        checkpoint_every: Steps between two checkpoints; 0: only at the end.
        run_folder: Where log, checkpoints and results go; None: nothing is written.
        resume: Continue from the newest checkpoint of `run_folder`, exactly; False: start anew.
        progress: Show a progress bar.
    """

    steps: int = 800
    batch_size: int = 4
    accumulation: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    amsgrad: bool = False
    warmup_steps: int = 40
    start_at_zero: bool = False
    clip_norm: float | None = 1.0
    drop_last: bool = True
    reshuffle: bool = True
    device: str = "auto"
    precision: Precision = "auto"
    workers: int = 0
    tf32: bool = False
    compile: bool = False
    seed: int = 0
    log_every: int = 10
    gauge_every: int = 100
    checkpoint_every: int = 200
    run_folder: str | None = None
    resume: bool = True
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "log_every"):
            value = getattr(self, name)
            require(value >= 1, f"{name} must be at least 1, got {value}. Give a positive whole number.")
        for name in ("warmup_steps", "workers", "gauge_every", "checkpoint_every", "weight_decay"):
            value = getattr(self, name)
            require(value >= 0, f"{name} must be at least 0, got {value}. 0 leaves it out.")
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name} must be positive, got {value}. Published: learning_rate 1e-4.")
