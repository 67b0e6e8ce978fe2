"""The losses of one step against loops over pairs of crops, forward and backward.

    python tests/benchmarks/losses.py [--rounds 40]

4 volumes, 4 random crops, 9 base crops, 1024 features: intra-volume, inter-volume and regularization terms. The loops
call `cosine_similarity` for every pair, as one writes it down from the paper.
"""

from __future__ import annotations

import argparse
import math

import torch
import torch.nn.functional as F
from rounds import measure, print_table
from torch import Tensor

from voco_lite import PretrainConfig, VoCo
from voco_lite.crops import CropGrid, position_labels, sample_starts
from voco_lite.model import Embeddings

VOLUMES, RANDOM, BASES, WIDTH, EPS = 4, 4, 9, 1024, 1e-6


def by_loops(student: Embeddings, teacher: Embeddings, labels: Tensor) -> Tensor:
    """The 2025 loss, one pair after the other."""
    total = torch.zeros(())
    for i in range(VOLUMES):
        j = (i + 1) % VOLUMES
        own = [[_similarity(k, q) for q in teacher.base[i]] for k in student.random[i]]
        other = [[_similarity(k, q) for q in student.base[j]] for k in student.random[i]]
        target = [[float(_similarity(k, q)) for q in teacher.base[j]] for k in teacher.random[i]]
        pairs = [(a, b) for a in range(BASES) for b in range(a + 1, BASES)]
        apart = [_similarity(student.base[i][a], student.base[i][b]) ** 2 for a, b in pairs]
        total = total + _prediction(own, labels[i].tolist()) + _prediction(other, target) + sum(apart) / len(pairs)
    return total / VOLUMES


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a, b, dim=0).relu()


def _prediction(similarity: list[list[Tensor]], labels: list[list[float]]) -> Tensor:
    flat = [(s, y) for row, ys in zip(similarity, labels, strict=True) for s, y in zip(row, ys, strict=True)]
    positive = sum((-y * (1 - (s - y).abs() + EPS).log() for s, y in flat if y > 0), torch.zeros(()))
    absent = [s for s, y in flat if y == 0]
    negative = sum((-(1 - s + EPS).log() for s in absent), torch.zeros(()))
    return positive / (sum(y for _, y in flat) + EPS) + negative / (len(absent) + EPS)


def main() -> None:
    """Check that both sides agree, then print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, make = VoCo(PretrainConfig.preset("ci")), torch.Generator().manual_seed(0)
    embedded = torch.randn(2, VOLUMES, RANDOM + BASES, WIDTH, generator=make)
    embedded += torch.randn(2, VOLUMES, 1, WIDTH, generator=make) * 0.5
    student = Embeddings(*(x.clone().requires_grad_() for x in embedded[0].split([RANDOM, BASES], 1)))
    teacher = Embeddings(*embedded[1].split([RANDOM, BASES], 1))
    grid = CropGrid((3, 3, 1), (64, 64, 64))
    labels = torch.stack([position_labels(sample_starts(RANDOM, grid, make), grid) for _ in range(VOLUMES)]).float()
    ours, loops = model.losses(student, teacher, labels).total, by_loops(student, teacher, labels)
    if not math.isclose(ours.item(), loops.item(), rel_tol=1e-4):
        raise SystemExit(f"The two sides disagree: {ours.item()} and {loops.item()}.")
    sides = {
        "voco_lite": lambda _: model.losses(student, teacher, labels).total.backward(),
        "loops over pairs": lambda _: by_loops(student, teacher, labels).backward(),
    }
    print_table(measure(sides, arguments.rounds), "voco_lite")


if __name__ == "__main__":
    main()
