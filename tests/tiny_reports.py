"""Scans with everything that a report may say about them, and a text encoder of no meaning, both made in no time."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from voco_lite.downstream.classes import POPULATION
from voco_lite.samples.lesions import KINDS
from voco_lite.volumes import Volume

AFFINE = torch.eye(4, dtype=torch.float64)
ORGANS = {5: "liver", 2: "kidney_right", 10: "lung_upper_lobe_left", 52: "aorta"}


class Hashed:
    """A random direction for every sentence, always the same; paraphrases have nothing in common."""

    name = "hashed"
    width = 16

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, sentences: Sequence[str]) -> Tensor:
        self.asked += sentences
        seeds = [zlib.crc32(sentence.encode()) for sentence in sentences]
        drawn = [torch.randn(self.width, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return F.normalize(torch.stack(drawn), dim=-1)


def lesion(organ: str, kind: str = "hypodense") -> dict[str, str]:
    return {"organ": organ, "kind": kind}


def scan(seed: int, lesions: Sequence[dict[str, str]] | None = None, size: tuple[int, ...] = (16, 16, 16)) -> Volume:
    """Noise around the level of its contrast phase; a lesion in the liver where the seed is odd, unless given."""
    phase = seed % 4
    found = [lesion("liver", [*KINDS][seed // 2 % 2])] * (seed % 2) if lesions is None else list(lesions)
    noise = torch.rand(1, *size, generator=torch.Generator().manual_seed(seed))
    labels = torch.zeros(size, dtype=torch.int64)
    for place, number in enumerate(ORGANS):
        labels[place] = number
    return Volume(
        0.2 * noise + 0.25 * phase,
        AFFINE,
        f"scan {seed}",
        "prepared",
        labels=labels,
        label_names=dict(ORGANS) | {1: "spleen"},
        attributes={
            "contrast_phase": POPULATION["contrast_phase"][phase],
            "body_shape": {"name": POPULATION["body_shape"][seed % 3]},
            "lesions": found,
        },
    )
