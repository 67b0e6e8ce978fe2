"""A dense probe: how well does a linear map of frozen features tell organs apart, voxel by voxel?

Ridge regression of one-hot labels has a closed form, so that it takes a second where a trained probe takes minutes:
cheap enough to watch a pre-training with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.config import Size
from voco_lite.downstream.covering import cover
from voco_lite.downstream.metrics import dice
from voco_lite.downstream.organs import organ_classes, require_organs
from voco_lite.downstream.predicting import predict
from voco_lite.downstream.segmentation import SegmentationConfig
from voco_lite.downstream.unet import LinearSegmenter
from voco_lite.encoders import Encoder
from voco_lite.encoders.seeding import seeded
from voco_lite.volumes import Volume

_ROWS = 16384  # voxels whose features are in memory at once
_NO_VARIANCE = 1e-10  # as a share of the mean square: rounding of features in fp32


@dataclass(frozen=True)
class DenseProbeConfig:
    """What is told apart, and from how much.

    Attributes:
        organs: Names of the structures, as in the label names of the subjects.
        window: Voxels that the encoder sees at once.
        voxels: Drawn from each training subject.
        rarity: How much more often voxels of rare classes are drawn: 0 as they come, 1 all classes alike.
        ridge: Penalty on the weights of features of variance 1.
    """

    organs: tuple[str, ...] = SegmentationConfig.organs
    window: Size = (96, 96, 96)
    voxels: int = 8192
    rarity: float = 0.5
    ridge: float = 1e-2

    def __post_init__(self) -> None:
        require_organs(self.organs)
        if self.voxels < 1 or not 0 <= self.rarity <= 1 or not self.ridge > 0:
            raise ValueError(
                "voxels must be at least 1, rarity lie in [0, 1] and ridge be positive, got "
                f"{self.voxels}, {self.rarity} and {self.ridge}. Take the defaults: 8192, 0.5 and 0.01."
            )


class RidgeSums:
    """All that ridge regression with an intercept needs of its data, in memory that does not grow with them.

    Args:
        features: Of each row.
        targets: Of each row.
    """

    def __init__(self, features: int, targets: int) -> None:
        self.rows = 0
        self.x, self.y = torch.zeros(features, dtype=torch.float64), torch.zeros(targets, dtype=torch.float64)
        self.xx = torch.zeros(features, features, dtype=torch.float64)
        self.xy = torch.zeros(features, targets, dtype=torch.float64)

    def add(self, x: Float[Tensor, "rows features"], y: Float[Tensor, "rows targets"]) -> None:
        """Count more rows."""
        x, y = x.double(), y.double()
        self.rows += len(x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx += x.T @ x
        self.xy += x.T @ y

    def solve(self, penalty: float) -> tuple[Float[Tensor, "features targets"], Float[Tensor, " targets"]]:
        """Weights and intercept: ridge regression on features of variance 1, told for the features as they are.

        A feature that never varies gets no weight.

        Args:
            penalty: Of the squared weights, in the mean squared error of all targets together.
        """
        centred = self.xx - torch.outer(self.x, self.x) / self.rows
        shared = self.xy - torch.outer(self.x, self.y) / self.rows
        scale = centred.diagonal()
        scale = torch.where(scale > _NO_VARIANCE * self.xx.diagonal(), scale, 0.0)
        still = (scale == 0).double()
        weights = torch.linalg.solve(centred + torch.diag(penalty * scale + still), shared)
        return weights, (self.y - self.x @ weights) / self.rows


def features_at(
    maps: Sequence[Float[Tensor, "1 channels x y z"]], voxels: Int[Tensor, "voxels 3"], size: Size
) -> Float[Tensor, "voxels features"]:
    """All maps at some voxels of the crop that they come from, each interpolated as if it was enlarged to the crop.

    Args:
        maps: Of one crop.
        voxels: Indices into the crop.
        size: Of the crop.
    """
    # Middles of voxels in [-1, 1]; `grid_sample` wants the last axis first.
    places = ((2 * voxels + 1) / torch.tensor(size, device=voxels.device) - 1).flip(-1)[None, None, None].float()
    parts = [F.grid_sample(m.float(), places, padding_mode="border", align_corners=False)[0, :, 0, 0].T for m in maps]
    return torch.cat(parts, dim=1)


@torch.no_grad()
def fit_dense_probe(
    encoder: Encoder, subjects: Sequence[Volume], config: DenseProbeConfig, seed: int = 0
) -> LinearSegmenter:
    """The best linear map from an encoder's features to organs, as a network in evaluation mode around that encoder.

    Args:
        encoder: Stays as it is; put into evaluation mode.
        subjects: Prepared, with labels.
        config: What is told apart.
        seed: Of the voxels that are drawn.

    Raises:
        ValueError: No subject, or a window that the encoder cannot take.
    """
    if not subjects:
        raise ValueError("A dense probe learns from at least one subject, got none. Give some with labels.")
    encoder.require_size(config.window)
    encoder.eval()
    classes, generator = len(config.organs) + 1, torch.Generator().manual_seed(seed)
    sums = RidgeSums(sum(encoder.channels), classes)
    for subject in subjects:
        _count(sums, encoder, subject, config, generator)
    weights, intercept = sums.solve(config.ridge)
    with seeded(seed):
        probe = LinearSegmenter(encoder, classes).to(next(encoder.parameters()).device)
    parts = weights.split(list(encoder.channels))
    heads = {}
    for number, part in enumerate(parts):
        heads[f"{number}.weight"] = part.T[..., None, None, None]
        heads[f"{number}.bias"] = intercept / len(parts)
    probe.heads.load_state_dict(heads)
    return probe.eval()


def _count(
    sums: RidgeSums, encoder: Encoder, subject: Volume, config: DenseProbeConfig, generator: torch.Generator
) -> None:
    """Add some voxels of a subject."""
    truth = organ_classes(subject, config.organs)
    windows = cover(torch.cat([subject.data, truth[None].to(subject.data.dtype)]), config.window)
    images, labels = windows[:, :-1], windows[:, -1].long()
    counts = labels.flatten().bincount(minlength=1).clamp(min=1).double()
    chances = counts.pow(-config.rarity)[labels.flatten()]
    drawn = draw_without_replacement(chances, min(config.voxels, len(chances)), generator)
    device = next(encoder.parameters()).device
    for number, image in enumerate(images):
        mine = drawn[drawn // labels[0].numel() == number] % labels[0].numel()
        maps = encoder(image[None].to(device)).maps
        for part in mine.split(_ROWS):
            voxels = torch.stack(torch.unravel_index(part, labels.shape[1:]), dim=-1)
            x = features_at(maps, voxels.to(device), config.window).cpu()
            sums.add(x, F.one_hot(labels[number].flatten()[part], len(config.organs) + 1))


def draw_without_replacement(
    chances: Float[Tensor, " places"], n: int, generator: torch.Generator
) -> Int[Tensor, " n"]:
    """As `torch.multinomial`, whose draws these are, but of more than 2^24 places too: a scan may have more voxels.

    Each place waits for a time of the exponential distribution whose rate is its chance; the first ones are drawn.

    Args:
        chances: Positive, in any unit.
        n: How many different places.
        generator: Every chance comes from it.
    """
    waiting = torch.empty_like(chances).exponential_(generator=generator)
    return (chances / waiting).topk(n).indices


@dataclass
class DenseProbe:
    """Watches a pre-training: a callback of `pretrain` that measures every so many steps.

    Attributes:
        training, validation: Labelled subjects to learn from, and others to score.
        config: What is told apart.
        every: Steps between two measurements, taken at the next record of the run.
        scores: Mean Dice of each validation subject by step.
    """

    training: Sequence[Volume]
    validation: Sequence[Volume]
    config: DenseProbeConfig = field(default_factory=DenseProbeConfig)
    every: int = 100
    scores: dict[int, dict[str, float]] = field(default_factory=dict)

    def __call__(self, record: dict[str, Any], model: Any) -> None:
        """Measure a model where it is time."""
        step = int(record["step"])
        if step == 0 or step // self.every > max(self.scores, default=0) // self.every:
            self.scores[step] = self.measure(model.encoder)

    def measure(self, encoder: Encoder) -> dict[str, float]:
        """Mean Dice over the organs by validation subject; NaN for one that shows none. The encoder stays as it is."""
        was_training = encoder.training
        try:
            probe = fit_dense_probe(encoder, self.training, self.config)
            return {subject.source: self._dice(probe, subject) for subject in self.validation}
        finally:
            encoder.train(was_training)

    def _dice(self, probe: LinearSegmenter, subject: Volume) -> float:
        organs = self.config.organs
        found = predict(probe, subject, self.config.window, overlap=0.0)
        return float(dice(found, organ_classes(subject, organs), len(organs)).nanmean())
