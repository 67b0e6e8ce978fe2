"""Where a fine-tuning starts: a pre-trained encoder, or the same one untrained."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from voco_lite.checkpoints import load_model
from voco_lite.config import EncoderConfig, PretrainConfig, VolumeConfig
from voco_lite.encoders import Encoder, build_encoder
from voco_lite.model import VoCo


@dataclass(frozen=True, eq=False)
class Start:
    """An encoder with what has to be known about it.

    Attributes:
        encoder: A copy, on the CPU; a network built on it trains it.
        config: What it is.
        volume: How the volumes were prepared that it was pre-trained on.
    """

    encoder: Encoder
    config: EncoderConfig
    volume: VolumeConfig

    def fresh(self) -> Encoder:
        """A copy for one network."""
        return copy.deepcopy(self.encoder)


def pretrained(model: VoCo | str | Path) -> Start:
    """The encoder of a model, or of a checkpoint or run folder of `pretrain`.

    Raises:
        FileNotFoundError, ValueError: As `load_model`.
    """
    model = model if isinstance(model, VoCo) else load_model(model)
    return Start(copy.deepcopy(model.encoder).cpu(), model.config.encoder, model.config.volume)


def untrained(config: PretrainConfig, seed: int) -> Start:
    """The encoder of a configuration with fresh weights: training from scratch."""
    return Start(build_encoder(config.encoder, seed=seed), config.encoder, config.volume)
