"""Random crops of several subjects, what each is called, and whether crops that a model finds alike share a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.config import Size
from voco_lite.crops import CropGrid
from voco_lite.gauges import region_crops
from voco_lite.viewers.naming import organ_name, region_name
from voco_lite.viewers.sliding import middles_of

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

_NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class NamedCrops:
    """Crops of one size, as many of each subject.

    Attributes:
        grid: Whose base crops give the size.
        starts: First voxel of every crop, by subject.
        subjects: Number of the subject of every crop, in the order of ``starts``.
        groups: "region", "subject" and, where every subject is labelled, "organ": the group of every crop.
    """

    grid: CropGrid
    starts: tuple[Int[Tensor, "crops 3"], ...]
    subjects: Int[Tensor, " n"]
    groups: dict[str, list[str]]

    def start(self, number: int) -> Int[Tensor, "3"]:
        """First voxel of a crop."""
        return torch.cat(self.starts)[number]

    def middle(self, number: int) -> Float[Tensor, "3"]:
        """Middle of a crop, in voxel indices."""
        return middles_of(self.start(number), self.grid.crop_size)

    def describe(self, number: int) -> str:
        """Subject, region, organ and place of a crop, in one line."""
        names = ", ".join(self.groups[kind][number] for kind in ("subject", "region", "organ") if kind in self.groups)
        return f"crop {number}: {names}, middle at voxel {tuple(int(v) for v in self.middle(number))}"


def draw_named_crops(volumes: Sequence[Volume], grid: CropGrid, crops: int, regions: Size, seed: int) -> NamedCrops:
    """Draw crops that lie anywhere in each subject, and name them.

    Args:
        volumes: Prepared subjects.
        grid: Size of the crops.
        crops: Of each subject.
        regions: Cells of the body along (x, y, z), as in `gauges.region_crops`.
        seed: Of the places.
    """
    make, starts, numbers = torch.Generator().manual_seed(seed), list[Tensor](), list[Tensor]()
    for volume in volumes:
        state = make.get_state()
        numbers.append(region_crops(volume, grid.crop_size, crops, make, regions).regions)
        # `region_crops` keeps the crops and not their places: its own draws, once more.
        make.set_state(state)
        spans = [have - want + 1 for have, want in zip(volume.shape, grid.crop_size, strict=True)]
        starts.append(torch.stack([torch.randint(span, (crops,), generator=make) for span in spans], dim=-1))
    subjects = torch.arange(len(volumes)).repeat_interleave(crops)
    groups = {
        "region": [region_name(number, regions) for number in torch.cat(numbers).tolist()],
        "subject": [f"subject {number}" for number in subjects.tolist()],
    }
    if all(volume.labels is not None for volume in volumes):
        pairs = zip(volumes, starts, strict=True)
        groups["organ"] = [organ_name(volume, start, grid) for volume, places in pairs for start in places]
    return NamedCrops(grid, tuple(starts), subjects, groups)


def shared_names(vectors: Float[Tensor, "n dim"], crops: NamedCrops) -> tuple[dict[str, float], dict[str, float]]:
    """Share of each crop's five nearest crops that belong to its group, by cosine, and the same for crops at random.

    Neighbours are sought among crops of other subjects; for "subject", among all.
    """
    unit, same_subject = F.normalize(vectors, dim=-1), crops.subjects[:, None] == crops.subjects[None]
    cosine, shared, chance = unit @ unit.mT, {}, {}
    for kind, names in crops.groups.items():
        known = sorted(set(names))
        numbers = torch.tensor([known.index(name) for name in names])
        allowed = ~torch.eye(len(unit), dtype=torch.bool) if kind == "subject" else ~same_subject
        nearest = cosine.masked_fill(~allowed, -2).topk(min(_NEIGHBOURS, int(allowed.sum(1).min())), dim=1).indices
        alike = numbers[:, None] == numbers[None]
        shared[kind] = float(alike.gather(1, nearest).double().mean())
        chance[kind] = float(alike[allowed].double().mean())
    return shared, chance
