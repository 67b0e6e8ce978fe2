"""Drag a crop through a volume and watch its position label, and what a model makes of the crop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import torch
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.config import CropConfig
from voco_lite.crops import CropGrid, extract_crops, grid_starts, position_labels, sample_starts
from voco_lite.losses import position_similarity
from voco_lite.viewers.pictures import PictureBox, figure_picture, new_figure
from voco_lite.viewers.planes import Window, default_window, first_channel, spacing_of
from voco_lite.viewers.positions import draw_bars, draw_grid, in_words, take_block

if TYPE_CHECKING:
    from voco_lite.model import VoCo
    from voco_lite.volumes import Volume

_COMPANIONS = 4


class PositionExplorer(PictureBox):
    """Sliders that move a crop; see `explore_positions`.

    Attributes:
        sliders: First voxel of the crop along x, y and z, counted from the block's.
        depth: First slice of the block in a volume that is deeper than it.
        labels: True overlaps with the base crops.
        predicted: Predicted overlaps; None without a model.
    """

    def __init__(
        self, model: VoCo | None, volume: Volume | Tensor, grid: CropGrid, window: Window | None = None
    ) -> None:
        take_block(volume, grid)
        self.model, self.volume, self.grid, self.window = model, volume, grid, window or default_window(volume)
        spans = [block - size for block, size in zip(grid.block_size, grid.random_size, strict=True)]
        self.sliders = [
            ipywidgets.IntSlider(
                span // 2, 0, span, description=name, disabled=span == 0, continuous_update=model is None
            )
            for name, span in zip("xyz", spans, strict=True)
        ]
        self.labels: Float[Tensor, "bases"] = torch.zeros(grid.bases)
        self.predicted: Float[Tensor, "bases"] | None = None
        deeper = first_channel(volume).shape[2] - grid.block_size[2]
        self.depth = ipywidgets.IntSlider(0, 0, deeper, description="block z", continuous_update=model is None)
        super().__init__([ipywidgets.HBox(self.sliders), *([self.depth] if deeper else [])])
        for slider in (*self.sliders, self.depth):
            slider.observe(self._draw, names="value")
        self._draw()

    @property
    def start(self) -> Int[Tensor, "3"]:
        """First voxel of the crop."""
        return torch.tensor([int(slider.value) for slider in self.sliders])

    def move(self, x: int | None = None, y: int | None = None, z: int | None = None) -> None:
        """Put the crop somewhere, as the sliders do."""
        for slider, value in zip(self.sliders, (x, y, z), strict=True):
            if value is not None:
                slider.value = value

    def _draw(self, _: Any = None) -> None:
        self.labels = position_labels(self.start[None], self.grid)[0]
        block = take_block(self.volume, self.grid, (0, 0, int(self.depth.value)))
        if self.model is not None:
            self.predicted = predict_overlaps(self.model, block[None], self.start, self.grid)
        figure = new_figure(8, 3.4, quick=True)  # a computed layout would double the time of every move
        figure.subplots_adjust(left=0.07, right=0.99, bottom=0.14, top=0.91, wspace=0.15)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
        draw_grid(left, block, self.start, self.grid, self.window, spacing_of(self.volume))
        draw_bars(right, self.labels, self.grid, self.predicted)
        words = f"{in_words(self.start, self.labels)} Sum {float(self.labels.sum()):.2f}."
        if self.predicted is not None:
            words += f" The model's largest prediction: base crop {int(self.predicted.argmax())}."
        self.show(figure_picture(figure, words), words)


def explore_positions(
    model: VoCo | None, volume: Volume | Tensor, grid: CropGrid | CropConfig | None = None, window: Window | None = None
) -> PositionExplorer:
    """Drag a crop: true overlaps and, with a model, predicted ones, live.

    Args:
        model: A model, or None to look at labels only.
        volume: A prepared volume; where it is deeper than the grid's block, one more slider moves the block.
        grid: Where the base crops lie; None: as the model was configured.
        window: Values shown black and white; None: as in `slices`.

    Raises:
        ValueError: Neither model nor grid, or a volume smaller than the block.
    """
    if grid is None:
        if model is None:
            raise ValueError("explore_positions needs a model or a grid, got neither. Give grid=vl.CropGrid(…).")
        grid = model.config.crops
    return PositionExplorer(model, volume, CropGrid.from_config(grid) if isinstance(grid, CropConfig) else grid, window)


@torch.no_grad()
def predict_overlaps(
    model: VoCo, block: Float[Tensor, "channel x y z"], start: Int[Tensor, "3"], grid: CropGrid
) -> Float[Tensor, "bases"]:
    """Predicted overlaps of one crop, by the teacher's embeddings as in `gauges.measure_held_out`.

    The projector's batch statistics are those of the crop, the base crops and a few random crops at fixed places, so
    that neighbouring places are compared under like conditions.
    """
    others = sample_starts(_COMPANIONS, grid, torch.Generator().manual_seed(0))
    device, training = next(model.parameters()).device, model.training
    random = extract_crops(block, torch.cat([start[None], others]), grid.random_size, grid.network_size)
    bases = extract_crops(block, grid_starts(grid), grid.crop_size, grid.network_size)
    crops = torch.cat([random, bases]).to(device)
    model.eval()
    try:
        embedded = model.project(crops)
    finally:
        model.train(training)
    return position_similarity(embedded[:1], embedded[len(random) :])[0].cpu()
