"""How a pre-trained encoder is fine-tuned: the same choices as for pre-training, and a few more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from voco_lite.config import TrainConfig

Mode = Literal["full", "frozen", "linear-probe"]


@dataclass(frozen=True)
class FinetuneConfig(TrainConfig):
    """How long, how fast and which part of a network to fine-tune; the other fields are those of `TrainConfig`.

    Here `batch_size` counts examples, `learning_rate` is the head's, and `gauge_every` lies between two looks at the
    validation subjects.

    Attributes:
        mode: "full" trains everything; "frozen" leaves the encoder as it is, batch statistics included;
            "linear-probe" does so under a head that is linear in the encoder's features.
        encoder_rate: Learning rate of the encoder's last stage, as a share of `learning_rate`.
        layer_decay: Each earlier stage of the encoder learns at this share of the next one's rate.
        patience: End after so many looks at the validation subjects without a better score; 0: never.
    """

    steps: int = 300
    batch_size: int = 4
    weight_decay: float = 1e-5
    warmup_steps: int = 20
    gauge_every: int = 50
    checkpoint_every: int = 0
    mode: Mode = "full"
    encoder_rate: float = 1.0
    layer_decay: float = 1.0
    patience: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("full", "frozen", "linear-probe"):
            raise ValueError(f'mode must be "full", "frozen" or "linear-probe", got {self.mode!r}. Start with "full".')
        for name in ("encoder_rate", "layer_decay"):
            share = getattr(self, name)
            if not 0 < share <= 1:
                raise ValueError(f'{name} must lie in (0, 1], got {share}. Use mode="frozen" for a rate of 0.')
        if self.patience < 0:
            raise ValueError(f"patience must be at least 0, got {self.patience}. 0 never ends early.")
