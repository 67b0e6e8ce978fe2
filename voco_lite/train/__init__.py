"""Training: `pretrain` and what it leaves behind."""

from voco_lite.train.guard import NonFiniteLossError
from voco_lite.train.history import History
from voco_lite.train.loop import pretrain
from voco_lite.train.schedule import step_seed, warmup_cosine

__all__ = ["History", "NonFiniteLossError", "pretrain", "step_seed", "warmup_cosine"]
