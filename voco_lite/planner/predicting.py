"""From a measured step to a whole run: multiplication, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from voco_lite.config import PretrainConfig
from voco_lite.model import VoCo
from voco_lite.planner.table import MeasuredStep


@dataclass(frozen=True)
class RunPlan:
    """What a run will take.

    Attributes:
        row: The measured step that it rests on; None: none fits, and so no time and no memory are known.
        seconds, fastest, slowest: Of all steps; None without a row.
        gauge_seconds: Of all held-out measurements; None without a row.
        peak_memory: Bytes, as in the row; None without one.
        checkpoint: Bytes of one step checkpoint.
        checkpoints: Bytes of all that a run folder ever holds: two, one more while it is written, and `final.pt`.
    """

    row: MeasuredStep | None
    seconds: float | None
    fastest: float | None
    slowest: float | None
    gauge_seconds: float | None
    peak_memory: int | None
    checkpoint: int
    checkpoints: int


def plan(config: PretrainConfig, row: MeasuredStep | None, held_out: int = 0) -> RunPlan:
    """Multiply a measured step.

    Args:
        config: The whole run.
        row: What `find_row` found.
        held_out: Volumes of the held-out gauges.
    """
    train, factor = config.train, config.train.steps
    model, optimizer = _state_bytes(config)
    stored = train.steps // train.checkpoint_every if train.checkpoint_every else 0
    kept = min(stored, 3)  # while the third is written, the first is still there
    gauges = 0
    if held_out:
        gauges = 2 if not train.gauge_every else 1 + train.steps // train.gauge_every
        gauges += bool(train.gauge_every and train.steps % train.gauge_every)
    return RunPlan(
        row=row,
        seconds=row.seconds * factor if row else None,
        fastest=row.fastest * factor if row else None,
        slowest=row.slowest * factor if row else None,
        gauge_seconds=row.gauge_seconds * gauges if row else None,
        peak_memory=row.peak_memory if row else None,
        checkpoint=model + optimizer,
        checkpoints=kept * (model + optimizer) + model,
    )


def _state_bytes(config: PretrainConfig) -> tuple[int, int]:
    """Bytes of the model's state and of the optimizer's."""
    with torch.device("meta"):
        model = VoCo(config)
    state = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    learnt = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return state, learnt * (3 if config.train.amsgrad else 2)
