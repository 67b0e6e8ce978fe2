"""Similarity of one base crop to crops slid over a whole volume, as heat over anatomy, for one or several models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets
import torch
from jaxtyping import Float
from torch import Tensor

from voco_lite.config import CropConfig, Size
from voco_lite.crops import CropGrid, grid_starts
from voco_lite.losses import position_similarity
from voco_lite.viewers.pictures import ORANGE, PINK, PictureBox, new_figure
from voco_lite.viewers.planes import Panel, Plane, Window, default_window, first_channel, plane_named, spacing_of
from voco_lite.viewers.positions import draw_slice, outline, take_block
from voco_lite.viewers.sliding import (
    By,
    Lattice,
    draw_heat,
    grid_of,
    heat_scale,
    middles_of,
    pooled_features,
    projected,
    to_mm,
    true_place,
)
from voco_lite.viewers.stage import Stage

if TYPE_CHECKING:
    from voco_lite.volumes import Volume


HINT = "Click a place to choose the base crop that lies there. Arrow keys step through base crops, page keys through slices."


class SimilarityMap(PictureBox):
    """Sliders for the base crop and the slice, and a picture that chooses the base crop at a click; see `similarity_map`.

    Attributes:
        base: Number of the base crop.
        level: Slice across the plane.
        similarity: By model: similarity of every base crop to every slid crop, (bases, nx, ny, nz).
        peaks: By model: middle of the most similar crop, in voxel indices.
        distance_mm: By model: from there to where the base crop truly lies; None where that is not known.
        elsewhere: By model: mean similarity to crops that do not overlap the place; the lower, the sharper.
    """

    def __init__(
        self,
        models: Mapping[str, Any],
        volume: Volume | Tensor,
        grid: CropGrid,
        base: int,
        slid_over: Volume | Tensor,
        stride: int,
        by: By,
        plane: Plane,
        window: Window | None,
    ) -> None:
        self.volume, self.slid_over, self.grid, self.plane = volume, slid_over, grid, plane
        self.window = window or default_window(slid_over)
        self.lattice = Lattice(_shape(slid_over), grid.crop_size, stride)
        self.starts = grid_starts(grid) + torch.tensor(_first(_shape(volume), grid, stride))
        self.similarity = {name: self._measure(model, by) for name, model in models.items()}
        self.truths = [self._truth(number) for number in range(grid.bases)]
        self.peaks: dict[str, Tensor] = {}
        self.distance_mm: dict[str, float | None] = {}
        self.elsewhere: dict[str, float] = {}
        self.base = ipywidgets.IntSlider(base, 0, grid.bases - 1, description="base crop")
        low, high = self.lattice.levels(plane.across)
        middle = int(middles_of(self.starts, grid.crop_size)[base, plane.across] + 0.5)
        self.level = ipywidgets.IntSlider(
            min(max(middle, low), high), low, high, description=f"slice {'xyz'[plane.across]}"
        )
        self._stage = _new_stage(len(self.similarity))
        self.panels: list[Panel] = []
        super().__init__([ipywidgets.HBox([self.base, self.level])], hint=HINT)
        for slider in (self.base, self.level):
            slider.observe(self._draw, names="value")
        self._draw()

    def click(self, x: float, y: float) -> None:
        """Choose the base crop that truly lies at a pixel, or nearest to it; outside the slices, none."""
        for panel in self.panels:
            voxel = panel.voxel(x, y)
            if voxel is not None:
                self.base.value = self._nearest(torch.tensor(voxel))

    def press(self, key: str) -> None:
        """The next base crop or the one before by arrows left and up or right and down, slices by page up and down."""
        slider = self.level if key.startswith("Page") else self.base
        slider.value += {"ArrowLeft": 1, "ArrowUp": 1, "PageUp": 1}.get(key, -1)

    def _nearest(self, place: Tensor) -> int:
        """Base crop whose place is nearest, in widths of a crop; by its own place where the true one is not known."""
        middles = middles_of(self.starts, self.grid.crop_size)
        truths = [own if true is None else true for own, true in zip(middles.double(), self.truths, strict=True)]
        apart = (torch.stack(truths) - place).abs() / torch.tensor(self.grid.crop_size)
        return int(apart.amax(-1).argmin())

    def _measure(self, model: Any, by: By) -> Float[Tensor, "bases nx ny nz"]:
        slid = pooled_features(model, self.slid_over, self.lattice.starts, self.grid)
        bases = pooled_features(model, self.volume, self.starts, self.grid)
        vectors = projected(model, torch.cat([bases, slid]), by)
        found = position_similarity(vectors[: len(bases)], vectors[len(bases) :])
        return found.reshape(len(bases), *self.lattice.counts)

    def _truth(self, number: int) -> Tensor | None:
        middle = middles_of(self.starts, self.grid.crop_size)[number]
        if self.slid_over is self.volume:
            return middle.double()
        return true_place(self.volume, middle, self.slid_over)

    def _draw(self, _: Any = None) -> None:
        number, truth = int(self.base.value), self.truths[int(self.base.value)]
        self._stage.clear()
        self.panels = []
        for axes, (name, similarity) in zip(self._stage.axes, self.similarity.items(), strict=True):
            self._count(name, similarity[number], truth)
            self._draw_one(axes, similarity[number], self.peaks[name], truth)
            axes.set_title(f"{name}\nelsewhere {self.elsewhere[name]:.2f}{self._apart(name)}", fontsize=9)
        words = self._in_words(number)
        self.show(self._stage.picture(words), words)

    def _count(self, name: str, similarity: Float[Tensor, "nx ny nz"], truth: Tensor | None) -> None:
        middles = self.lattice.middles
        self.peaks[name] = peak = middles[similarity.argmax()]
        # Without a known place, the peak's own surroundings are left out.
        around = peak if truth is None else truth
        apart = (middles - around).abs() >= torch.tensor(self.grid.crop_size)
        outside = similarity.flatten()[apart.any(-1)]
        self.elsewhere[name] = float(outside.mean()) if len(outside) else 0.0
        mm = None if truth is None else to_mm(self.slid_over, peak) - to_mm(self.slid_over, truth)
        self.distance_mm[name] = None if mm is None else float(mm.norm())

    def _draw_one(self, axes: Any, similarity: Tensor, peak: Tensor, truth: Tensor | None) -> None:
        from matplotlib.patches import Rectangle

        plane, level = self.plane, int(self.level.value)
        draw_slice(axes, first_channel(self.slid_over), level, self.window, spacing_of(self.slid_over), plane)
        draw_heat(axes, self.lattice, similarity, plane, level)
        self.panels.append(self._stage.panel(axes, plane, level, _shape(self.slid_over)))
        columns, rows = plane.columns, plane.rows
        if truth is not None:
            corner = [float(truth[axis]) + 0.5 - self.grid.crop_size[axis] / 2 for axis in range(3)]
            inside = corner[plane.across] <= level <= corner[plane.across] + self.grid.crop_size[plane.across]
            axes.add_patch(Rectangle((corner[columns], corner[rows]), self.grid.crop_size[columns],
                                     self.grid.crop_size[rows], fill=False, edgecolor=ORANGE, linewidth=2.5,
                                     linestyle="-" if inside else ":"))  # fmt: skip
        axes.plot(float(peak[columns]) + 0.5, float(peak[rows]) + 0.5, "x", color=PINK, markersize=10,
                  markeredgewidth=2.5, path_effects=outline())  # fmt: skip

    def _apart(self, name: str) -> str:
        distance, unit = self.distance_mm[name], "voxels" if isinstance(self.slid_over, Tensor) else "mm"
        return "" if distance is None else f", peak {distance:.0f} {unit} off"

    def _in_words(self, number: int) -> str:
        parts = [
            f"{name}: largest at voxel {tuple(int(v) for v in self.peaks[name])}{self._apart(name)}, "
            f"mean elsewhere {self.elsewhere[name]:.2f}"
            for name in self.similarity
        ]
        over = "the same volume" if self.slid_over is self.volume else "another volume"
        return (
            f"Similarity of base crop {number} to crops slid over {over}, {self.plane.name} slice {self.level.value}. "
            f"{'; '.join(parts)}. Orange box: its true place; pink cross: the largest similarity."
        )


def similarity_map(
    models: Any,
    volume: Volume | Tensor,
    base: int | None = None,
    slid_over: Volume | Tensor | None = None,
    grid: CropGrid | CropConfig | None = None,
    stride: int = 8,
    by: By = "projected",
    plane: str = "axial",
    window: Window | None = None,
) -> SimilarityMap:
    """What in a volume looks like one of its base crops: similarity as heat over anatomy, models side by side.

    Crops of the base crops' size are slid over the whole volume, without gradient and in batches. Heat lies at their
    middles, so that half a crop at each border has none. Similarity is that of the loss: cosine, negatives set to 0.

    Args:
        models: A model, or several by title, such as ``{"untrained": …, "trained": …}``. A model is a VoCo, an encoder,
            or a function from crops to vectors.
        volume: Prepared; its grid of base crops lies in the middle.
        base: Number of the base crop at the start; None: the middle one.
        slid_over: Where crops are slid; None: the same volume. Another subject shares no voxel with the base crop.
        grid: Base crops; None: those of the first model, a VoCo.
        stride: Voxels between slid crops.
        by: Compare "projected" embeddings, as the loss does, or "pooled" features.
        plane: "axial", "coronal" or "sagittal".
        window: Values shown black and white; None: as in `slices`.

    Raises:
        ValueError: No model, no grid, a base crop that is not there, or a volume smaller than the grid.
    """
    named = dict(models) if isinstance(models, Mapping) else {"model": models}
    if not named:
        raise ValueError("models must hold at least one, got none. Give a model, or {title: model}.")
    chosen = grid_of(next(iter(named.values())), grid)
    take_block(volume, chosen)
    number = chosen.bases // 2 if base is None else base
    if not 0 <= number < chosen.bases:
        raise ValueError(f"base must be a base crop from 0 to {chosen.bases - 1}, got {base}.")
    over = volume if slid_over is None else slid_over
    return SimilarityMap(named, volume, chosen, number, over, stride, by, plane_named(plane), window)


def _new_stage(models: int) -> Stage:
    """Axes for the models side by side, and one scale of colours."""
    width = 4.0 * models + 0.9
    figure = new_figure(width, 3.9, quick=True)
    figure.subplots_adjust(left=0.6 / width, right=1 - 0.95 / width, bottom=0.12, top=0.86, wspace=0.2)
    axes = figure.subplots(1, models, squeeze=False)[0]
    heat_scale(figure, (1 - 0.8 / width, 0.15, 0.15 / width, 0.66), "similarity")
    return Stage(figure, axes)


def _shape(volume: Volume | Tensor) -> Size:
    x, y, z = first_channel(volume).shape
    return x, y, z


def _first(shape: Size, grid: CropGrid, stride: int) -> Size:
    """First voxel of a grid in the middle, at a place where a slid crop lies too."""
    x, y, z = ((have - block) // 2 // stride * stride for have, block in zip(shape, grid.block_size, strict=True))
    return x, y, z
