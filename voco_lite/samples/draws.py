"""Random numbers that stay the same across library versions, from a seed and a purpose."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import ndtri

T = TypeVar("T")


class Draws:
    """A stream of random numbers that only the seed and the purpose decide.

    NumPy promises that PCG64's raw stream never changes, but not that `Generator.normal` draws the same from it, so
    numbers are made from the raw stream here. One purpose, one stream: a new kind of draw does not move the others.

    Args:
        seed: A whole number of at least 0.
        purpose: What is drawn, such as "lesions".

    Raises:
        ValueError: The seed is negative.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}. Give a whole number such as 0 or 1000.")
        entropy = [seed, zlib.crc32(purpose.encode())]
        self._stream = np.random.PCG64(np.random.SeedSequence(entropy))

    def unit(self, *shape: int) -> Float[ndarray, "..."]:
        """Uniform float64 inside (0, 1)."""
        raw = self._stream.random_raw(int(np.prod(shape, dtype=np.int64)))
        return ((raw >> np.uint64(11)).astype(np.float64) + 0.5).reshape(shape) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        """One number, uniform in (low, high)."""
        return low + (high - low) * float(self.unit(1)[0])

    def normal(self, *shape: int) -> Float[ndarray, "..."]:
        """Standard normal float64, by the inverse of its distribution function."""
        return np.asarray(ndtri(self.unit(*shape)))

    def choose(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the options, with chances in proportion to the weights."""
        shares = np.cumsum(np.ones(len(options)) if weights is None else np.asarray(weights, dtype=np.float64))
        return options[int(np.searchsorted(shares, self.uniform(0.0, float(shares[-1]))))]
