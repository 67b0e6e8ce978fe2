"""New weights from a seed, and nothing else that draws random numbers notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let modules draw their first weights, on the CPU, from a seed; afterwards all generators stand where they stood.

    `torch.manual_seed` would seed those of GPUs too, which `fork_rng(devices=[])` does not put back.

    Args:
        seed: Of torch's global generator of the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
