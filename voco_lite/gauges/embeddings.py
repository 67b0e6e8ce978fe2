"""Is there variety in the embeddings? Two measures of collapse."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def effective_rank(embeddings: Float[Tensor, "crops dim"]) -> float:
    """Number of directions in use: the exponential of the entropy of the normalised singular values, after centring.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007. 1 when all embeddings lie on one line, at most
    min(crops - 1, dim).
    """
    values = torch.linalg.svdvals((embeddings - embeddings.mean(0)).double())
    if float(values.sum()) == 0:
        return 1.0
    share = values / values.sum()
    return float(torch.special.entr(share).sum().exp())


def spread(embeddings: Float[Tensor, "crops dim"]) -> float:
    """Mean of 1 - cosine over all pairs of crops: 0 when all point the same way, about 1 when they are orthogonal."""
    n = len(embeddings)
    unit = F.normalize(embeddings.double(), dim=-1)
    return float((n * n - unit.sum(0).square().sum()) / max(n * (n - 1), 1))
