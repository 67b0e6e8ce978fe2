"""How far found places are from true ones: a table with intervals, and a curve for each way to find them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from voco_lite.viewers.curves import plot_curves
from voco_lite.viewers.pictures import Picture

_RESAMPLES = 2000


@dataclass(frozen=True)
class PointErrors:
    """How far found places are from true ones, for several ways to find them; shows itself as a table.

    Attributes:
        offsets: By way: found minus true place of each point, in mm along (x, y, z).
    """

    offsets: dict[str, Float[Tensor, "points 3"]]

    def distances(self, way: str, axes: str = "xyz") -> Float[Tensor, " points"]:
        """Distances in mm, or their part along some axes: "xy" in the axial plane, "z" along the body."""
        return self.offsets[way][:, ["xyz".index(axis) for axis in axes]].norm(dim=-1)

    def median(self, way: str, axes: str = "xyz") -> float:
        """Median distance in mm."""
        return float(self.distances(way, axes).quantile(0.5))

    def interval(self, way: str) -> tuple[float, float]:
        """95 % interval of the median distance: percentiles over points drawn anew with replacement (seed 0).

        It speaks of other points in the same two subjects, not of other subjects.
        """
        values = self.distances(way)
        draws = torch.randint(len(values), (_RESAMPLES, len(values)), generator=torch.Generator().manual_seed(0))
        medians = values[draws].quantile(0.5, dim=1)
        low, high = medians.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
        return low, high

    @property
    def picture(self) -> Picture:
        """Share of points that are found within a distance."""
        curves = {}
        for way in self.offsets:
            ordered = self.distances(way).sort().values
            curves[way] = (ordered, torch.arange(1, len(ordered) + 1) / len(ordered))
        return plot_curves(curves, "distance to the true place in mm", "share of points")

    def __str__(self) -> str:
        width = max(len(way) for way in self.offsets)
        lines = [f"{'median distance in mm':{width}}    all  95 % interval  axial plane  along z"]
        for way in self.offsets:
            interval = "{:.1f} to {:.1f}".format(*self.interval(way))
            parts = f"{self.median(way, 'xy'):11.1f}  {self.median(way, 'z'):7.1f}"
            lines.append(f"{way:{width}}  {self.median(way):5.1f}  {interval:13}  {parts}")
        return "\n".join([*lines, f"{len(next(iter(self.offsets.values())))} points"])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))
