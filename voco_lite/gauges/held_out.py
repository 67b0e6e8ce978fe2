"""Position accuracy on held-out volumes: the honest measure of whether a run learns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from voco_lite.config import CropConfig
from voco_lite.crops import CropGrid, extract_crops, grid_starts, position_labels, sample_starts
from voco_lite.dataset.draws import random_block
from voco_lite.gauges.embeddings import effective_rank, spread
from voco_lite.losses import position_similarity, prediction_terms

if TYPE_CHECKING:
    from voco_lite.model import VoCo
    from voco_lite.volumes import Volume

TOLERANCE = 0.15  # a choice counts when its true overlap is within this of the largest


@dataclass(frozen=True)
class HeldOut:
    """What held-out volumes say; all by the teacher's embeddings, without augmentation.

    Attributes:
        intra_loss: Intra-volume prediction loss.
        top1: Share of random crops whose most similar base crop overlaps them within 0.15 of the largest overlap.
        top1_across: The same against the base crops of another subject; None with a single volume.
        chance: Top-1 of a cell drawn at random.
        fixed_cell: Top-1 of the best cell that is always the same.
        effective_rank: Directions in use by the embeddings of a batch.
        spread: Mean of 1 - cosine between the embeddings of a batch.
    """

    intra_loss: float
    top1: float
    top1_across: float | None
    chance: float
    fixed_cell: float
    effective_rank: float
    spread: float


@dataclass(frozen=True)
class _Batch:
    random: Float[Tensor, "volumes random channel x y z"]
    base: Float[Tensor, "volumes bases channel x y z"]
    labels: Float[Tensor, "volumes random bases"]


@torch.no_grad()
def measure_held_out(
    model: VoCo, volumes: Sequence[Volume], crops: CropConfig, batches: int = 50, volumes_per_batch: int = 4
) -> HeldOut:
    """Measure a model on volumes that it has not seen; the same crops whatever the model.

    Blocks and crops are drawn once from seed 0, each volume's block at one depth for all of its crops.

    Args:
        model: Put into evaluation mode for the time of the measurement.
        volumes: Prepared as the training volumes were.
        crops: Grid and sizes.
        batches: How many batches to average.
        volumes_per_batch: Volumes of one batch; fewer where there are fewer.

    Raises:
        ValueError: No volume.
    """
    if not volumes:
        raise ValueError("held-out volumes must be at least one, got none. Leave held_out out, or hold some back.")
    crops = replace(crops, open_border=False)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        per_batch = min(volumes_per_batch, len(volumes))
        drawn = _draw(volumes, CropGrid.from_config(crops), crops.random_crops, batches, per_batch)
        rows = [_measure(model, batch, device) for batch in drawn]
    finally:
        model.train(was_training)
    labels = torch.cat([row[1] for row in rows])
    means = torch.tensor([row[0] for row in rows], dtype=torch.float64).mean(0).tolist()
    hits = labels >= labels.amax(-1, keepdim=True) - TOLERANCE
    loss, top1, across, rank, spread_ = means
    return HeldOut(
        intra_loss=loss,
        top1=top1,
        top1_across=across if per_batch > 1 else None,
        chance=float(hits.double().mean()),
        fixed_cell=float(hits.double().mean(0).max()),
        effective_rank=rank,
        spread=spread_,
    )


def position_top1(
    predicted: Float[Tensor, "*volumes crops bases"], labels: Float[Tensor, "*volumes crops bases"]
) -> float:
    """Share of crops whose most similar base crop overlaps them within 0.15 of the largest overlap."""
    chosen = labels.gather(-1, predicted.argmax(-1, keepdim=True))[..., 0]
    return float((chosen >= labels.amax(-1) - TOLERANCE).double().mean())


def _draw(volumes: Sequence[Volume], grid: CropGrid, random: int, batches: int, per_batch: int) -> Iterator[_Batch]:
    """One batch after the other: all at once would fill the memory."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(batches):
        chosen = torch.randperm(len(volumes), generator=generator)[:per_batch].tolist()
        blocks = torch.stack([random_block(volumes[i].data, grid.block_size, generator)[0] for i in chosen])
        starts = torch.stack([sample_starts(random, grid, generator) for _ in chosen])
        yield _Batch(
            extract_crops(blocks, starts, grid.random_size, grid.network_size),
            extract_crops(blocks, grid_starts(grid), grid.crop_size, grid.network_size),
            position_labels(starts, grid),
        )


def _measure(model: VoCo, batch: _Batch, device: torch.device) -> tuple[list[float], Tensor]:
    volumes, random = batch.random.shape[:2]
    crops = torch.cat([batch.random.flatten(0, 1), batch.base.flatten(0, 1)]).to(device)
    embedded = model.project(crops).float().cpu()
    first, rest = embedded.split([volumes * random, len(embedded) - volumes * random])
    k, q = first.unflatten(0, (volumes, random)), rest.unflatten(0, (volumes, -1))
    predicted, choice = position_similarity(k, q), model.objective
    terms = prediction_terms(predicted, batch.labels, choice.positive_weights, choice.negative_term)
    across = position_similarity(k, q.roll(-1, 0))
    values = [
        float(terms.total.mean()),
        position_top1(predicted, batch.labels),
        position_top1(across, batch.labels),
        effective_rank(embedded),
        spread(embedded),
    ]
    return values, batch.labels.flatten(0, 1)
