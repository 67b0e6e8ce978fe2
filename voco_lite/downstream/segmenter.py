"""A trained segmentation network, as a file holds it, and what it is worth on subjects that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor, nn

from voco_lite.checkpoints import load_weights
from voco_lite.config import EncoderConfig, VolumeConfig
from voco_lite.downstream.metrics import measure_fit
from voco_lite.downstream.organs import organ_classes
from voco_lite.downstream.predicting import predict
from voco_lite.downstream.segmentation import SegmentationConfig
from voco_lite.downstream.stored import read_stored
from voco_lite.downstream.unet import build_segmenter
from voco_lite.encoders import build_encoder
from voco_lite.volumes import Volume

_NAME = "segmentation"


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A network with what it needs to segment a scan.

    Attributes:
        network: In evaluation mode.
        config: Organs and window.
        volume: How scans have to be prepared.
    """

    network: nn.Module
    config: SegmentationConfig
    volume: VolumeConfig

    def predict(self, volume: Volume) -> UInt8[Tensor, "x y z"]:
        """Class of every voxel of a prepared volume: 1 for the first organ and so on."""
        return predict(self.network, volume, self.config.patch_size, self.config.overlap)


@dataclass(frozen=True)
class OrganScore:
    """Scores of one organ of one subject; NaN where the subject does not show it.

    Attributes:
        subject: Its source.
        organ: Its name.
        dice: Overlap, 0 to 1.
        hd95_mm: 95th percentile of the distances between both surfaces.
        surface_dice: Share of both surfaces that lies within the tolerance of the other.
        tolerance_mm: The distance that counts as none there.
    """

    subject: str
    organ: str
    dice: float
    hd95_mm: float
    surface_dice: float
    tolerance_mm: float


def load_segmenter(path: str | Path) -> Segmenter:
    """The network of a checkpoint or run folder of a segmentation.

    Raises:
        FileNotFoundError: No such file, or a folder without a checkpoint.
        ValueError: The file is no readable checkpoint, or not that of a segmentation.
    """
    stored = read_stored(path, _NAME)
    config = stored.part(_NAME, SegmentationConfig)
    encoder = build_encoder(stored.part("encoder", EncoderConfig), seed=0)
    network = build_segmenter(encoder, len(config.organs) + 1, config.linear, seed=0)
    load_weights(network, stored.weights, stored.file)
    return Segmenter(network.eval(), config, stored.part("volume", VolumeConfig))


def examine(
    network: nn.Module, config: SegmentationConfig, subjects: Sequence[Volume], tolerance_mm: float = 4.0
) -> list[OrganScore]:
    """Every score of every organ and subject, on the grid of the prepared volumes, in mm.

    Args:
        network: That of a task or a `Segmenter`.
        config: Organs and window.
        subjects: Prepared, with labels.
        tolerance_mm: Distance between surfaces that counts as none, for the surface Dice.

    Raises:
        ValueError: A tolerance that is not positive.
    """
    if not (math.isfinite(tolerance_mm) and tolerance_mm > 0):
        raise ValueError(f"tolerance_mm must be positive, got {tolerance_mm}. Take about one voxel's size.")
    rows = []
    for subject in subjects:
        predicted = predict(network, subject, config.patch_size, config.overlap)
        truth = organ_classes(subject, config.organs)
        fit = measure_fit(predicted, truth, len(config.organs), subject.spacing, tolerance_mm)
        found = zip(fit.dice.tolist(), fit.hd95_mm.tolist(), fit.surface_dice.tolist(), strict=True)
        for organ, (dice, distance, surface) in zip(config.organs, found, strict=True):
            rows.append(OrganScore(subject.source, organ, dice, distance, surface, tolerance_mm))
    return rows
