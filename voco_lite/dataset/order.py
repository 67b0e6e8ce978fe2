"""Which volumes a batch shows, and the seed of each draw."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Sampler


class DrawSampler(Sampler[list[int]]):
    """Batches of draws without end, each volume once an epoch; the `batch_sampler` of a loader.

    The micro-batches of all epochs stand in one row; process ``rank`` of ``world`` takes every ``world``-th. Together
    the processes see what one process sees that accumulates ``world`` micro-batches.

    Args:
        length: Number of volumes.
        batch_size: Volumes per micro-batch.
        seed: Seed of the order.
        first_batch: Micro-batches that all processes together have taken already.
        world: Number of processes.
        rank: This process.
        drop_last: Leave out an epoch's last, smaller batch.
        reshuffle: A new order every epoch; False: one order for all epochs, as in the released code.

    Raises:
        ValueError: Fewer volumes than `batch_size`, or a rank outside the world.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int = 0,
        first_batch: int = 0,
        world: int = 1,
        rank: int = 0,
        drop_last: bool = True,
        reshuffle: bool = True,
    ) -> None:
        if not 1 <= batch_size <= length:
            raise ValueError(
                f"batch_size must lie between 1 and the {length} volumes at hand, got {batch_size}. "
                "Add volumes or take a smaller batch."
            )
        if not 0 <= rank < world or first_batch < 0:
            raise ValueError(
                f"rank must lie in 0..world-1 and first_batch be at least 0, got rank {rank} of {world} and "
                f"first_batch {first_batch}. A single process is rank 0 of 1."
            )
        self.length, self.batch_size, self.seed, self.first_batch = length, batch_size, seed, first_batch
        self.world, self.rank, self.drop_last, self.reshuffle = world, rank, drop_last, reshuffle

    @property
    def batches_per_epoch(self) -> int:
        """Micro-batches of all processes in one epoch."""
        return self.length // self.batch_size if self.drop_last else -(-self.length // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        batch, shown, order = self.first_batch + self.rank, -1, torch.empty(0, dtype=torch.int64)
        while True:
            epoch, place = divmod(batch, self.batches_per_epoch)
            if epoch != shown:
                shown, order = epoch, self._order(epoch)
            chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
            yield (epoch * self.length + chosen).tolist()
            batch += self.world

    def _order(self, epoch: int) -> Int[Tensor, " length"]:
        # The complement keeps the order's stream apart from the streams of the draws.
        generator = torch.Generator().manual_seed(mixed_seed(~self.seed, epoch if self.reshuffle else 0))
        return torch.randperm(self.length, generator=generator)


def mixed_seed(seed: int, draw: int) -> int:
    """A seed in which neighbouring (seed, draw) share nothing (the finalizer of SplitMix64, once for each)."""
    state = 0
    for value in (seed, draw):
        state = (state + value + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state
