"""Where a fine-tuning starts: a pre-trained encoder, or the same one untrained."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

from voco_lite.checkpoints import load_model, newest
from voco_lite.config import EncoderConfig, PretrainConfig, VolumeConfig
from voco_lite.encoders import Encoder, build_encoder
from voco_lite.model import VoCo

_NAMED = 5  # runs that an error lists


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

    def from_scratch(self, seed: int) -> Start:
        """The same encoder and preparation with fresh weights: the control of a fine-tuning that starts here."""
        return replace(self, encoder=build_encoder(self.config, seed=seed))


def pretrained(model: VoCo | str | Path) -> Start:
    """The encoder of a model, or of a checkpoint or run folder of `pretrain`.

    Raises:
        FileNotFoundError: As `load_model`; names the runs that lie further down in a folder.
        ValueError: As `load_model`.
    """
    model = model if isinstance(model, VoCo) else _load(Path(model))
    return Start(copy.deepcopy(model.encoder).cpu(), model.config.encoder, model.config.volume)


def untrained(config: PretrainConfig, seed: int) -> Start:
    """The encoder of a configuration with fresh weights: training from scratch."""
    return Start(build_encoder(config.encoder, seed=seed), config.encoder, config.volume)


def _load(path: Path) -> VoCo:
    try:
        return load_model(path)
    except FileNotFoundError as error:
        # A notebook's folder holds its run one level down.
        inside = [folder for folder in sorted([*path.glob("*/"), *path.glob("*/*/")]) if newest(folder)]
        if inside:
            error.add_note(f"Such a run lies in {', '.join(map(str, inside[:_NAMED]))}: give one of these.")
        raise
