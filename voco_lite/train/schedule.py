"""The learning rate and the seeds of a step, as pure functions of the step: nothing to store, nothing to restore."""

from __future__ import annotations

import hashlib
import math


def warmup_cosine(step: int, warmup_steps: int, steps: int, start_at_zero: bool = False) -> float:
    """Factor on the peak learning rate in optimizer step `step` (from 0): a linear warm-up, then half a cosine to 0.

    Released code: `WarmupCosineSchedule` in `optimizers/lr_scheduler.py`. Past `steps` it rises again there and here.

    Args:
        step: Optimizer steps completed before this one.
        warmup_steps: Steps of the warm-up.
        steps: Steps of the whole run.
        start_at_zero: The released warm-up, whose first step has the factor 0 and so learns nothing; False: every
            step of the warm-up lies one step further up the ramp.
    """
    if step < warmup_steps:
        return (step if start_at_zero else step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))


def step_seed(seed: int, micro_batch: int) -> int:
    """Seed of the chances of one micro-batch, in [0, 2^63).

    Args:
        seed: Seed of the run.
        micro_batch: Number of the micro-batch over all steps, accumulation and processes.
    """
    # A hash, because neighbouring seeds give correlated first draws in some generators.
    digest = hashlib.blake2b(f"{seed}/{micro_batch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
