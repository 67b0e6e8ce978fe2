"""Retrieval: how often the right one is among the first k, in which interval, and against which chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.stats import binomtest

Similarity = Float[ndarray, "texts scans"]
Fits = Bool[ndarray, "texts scans"]
Query = Literal["text", "scan"]
_LEVEL = 0.95


@dataclass(frozen=True)
class Recall:
    """How often a right one was found.

    Attributes:
        name: Of what was asked.
        hits: Queries that found a right one.
        queries: All of them.
        low, high: 95 % interval of Clopper and Pearson. It takes queries as independent, which those that share their
            candidates are only nearly.
        chance: Mean recall where scans are permuted among the others, so that nothing about a scan is known.
        p_value: Share of such permutations that find as many or more.
    """

    name: str
    hits: int
    queries: int
    low: float
    high: float
    chance: float
    p_value: float

    @property
    def value(self) -> float:
        """Recall: the share of queries that found a right one."""
        return self.hits / self.queries


def ranks(similarity: Similarity, fits: Fits, query: Query) -> Int[ndarray, " queries"]:
    """Place of the best right candidate of each query, from 1; equal similarities count against it.

    Args:
        similarity: Of each text to each scan.
        fits: Which belong together.
        query: "text" looks for scans, "scan" for texts.

    Raises:
        ValueError: Shapes that differ, similarities that are no numbers, or a query without a right candidate.
    """
    if similarity.shape != fits.shape or similarity.ndim != 2 or not np.isfinite(similarity).all():
        raise ValueError(
            f"similarity and fits must be (texts, scans) of finite numbers, got {similarity.shape} and {fits.shape}. "
            "Compare every text with every scan."
        )
    found, right = (similarity, fits) if query == "text" else (similarity.T, fits.T)
    if not right.any(1).all():
        raise ValueError(
            f"Every {query} needs a right candidate, got none for number {int(np.argmin(right.any(1)))}. Leave it out."
        )
    best = np.where(right, found, -np.inf).max(1, keepdims=True)
    return 1 + ((found >= best) & ~right).sum(1)


def recall_at(
    k: int, similarity: Similarity, fits: Fits, query: Query, name: str, permutations: int = 2000, seed: int = 0
) -> Recall:
    """Recall at k, its interval and its chance.

    Args:
        k: A query hits where a right candidate is among its first k.
        similarity, fits, query: As in `ranks`.
        name: Of what is asked.
        permutations: Of the scans.
        seed: Of the permutations.

    Raises:
        ValueError: As `ranks`; k below 1 or above the number of candidates; no permutations.
    """
    places = ranks(similarity, fits, query)
    candidates = similarity.shape[1] if query == "text" else similarity.shape[0]
    if not 1 <= k <= candidates or permutations < 1:
        raise ValueError(
            f"k must be 1 to {candidates}, the candidates, and permutations at least 1, got {k} and {permutations}."
        )
    hits, queries = int((places <= k).sum()), len(places)
    draws = np.random.default_rng(seed)
    by_chance = np.array(
        [
            (ranks(similarity[:, draws.permutation(similarity.shape[1])], fits, query) <= k).sum()
            for _ in range(permutations)
        ]
    )
    interval = binomtest(hits, queries).proportion_ci(_LEVEL, method="exact")
    p_value = (1 + int((by_chance >= hits).sum())) / (1 + permutations)
    return Recall(name, hits, queries, interval.low, interval.high, float(by_chance.mean()) / queries, p_value)
