"""Move a crop through a volume and watch its position label, and what a model makes of the crop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import torch
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.config import CropConfig
from voco_lite.crops import CropGrid, extract_crops, grid_starts, position_labels, sample_starts
from voco_lite.losses import position_similarity
from voco_lite.viewers.movable import MovableBox
from voco_lite.viewers.pictures import new_figure
from voco_lite.viewers.planes import PLANES, Window, default_window, first_channel, spacing_of
from voco_lite.viewers.positions import draw_bars, draw_grid, in_words, take_block
from voco_lite.viewers.sliding import encoder_of, evaluating, projected
from voco_lite.viewers.stage import Stage

if TYPE_CHECKING:
    from voco_lite.model import VoCo
    from voco_lite.volumes import Volume

_COMPANIONS = 4


class PositionExplorer(MovableBox):
    """A crop that sliders, clicks and arrow keys move; see `explore_positions`.

    Attributes:
        sliders: First voxel of the crop along x, y and z, counted from the block's.
        depth: First slice of the block in a volume that is deeper than it; the middle at first.
        labels: True overlaps with the base crops.
        predicted: Predicted overlaps; None without a model.
    """

    def __init__(
        self, model: VoCo | None, volume: Volume | Tensor, grid: CropGrid, window: Window | None = None
    ) -> None:
        take_block(volume, grid)
        self.model, self.volume, self.grid, self.window = model, volume, grid, window or default_window(volume)
        spans = [block - size for block, size in zip(grid.block_size, grid.random_size, strict=True)]
        sliders = [
            ipywidgets.IntSlider(
                span // 2, 0, span, description=name, disabled=span == 0, continuous_update=model is None
            )
            for name, span in zip("xyz", spans, strict=True)
        ]
        self.labels: Float[Tensor, "bases"] = torch.zeros(grid.bases)
        self.predicted: Float[Tensor, "bases"] | None = None
        self._kept: tuple[Any, Tensor] | None = None
        # Where crops cannot move along z, an axial slice shows all that there is.
        self._planes = [PLANES[name] for name in (("axial", "coronal") if spans[2] else ("axial",))]
        self._stage = _new_stage(len(self._planes))
        deeper = first_channel(volume).shape[2] - grid.block_size[2]
        self.depth = ipywidgets.IntSlider(
            deeper // 2, 0, deeper, description="block z", continuous_update=model is None
        )
        x, y, z = (size // 2 for size in grid.random_size)
        super().__init__(sliders, [self.depth] if deeper else [], offset=(x, y, z))
        self.depth.observe(self._draw, names="value")
        self._draw()

    @property
    def start(self) -> Int[Tensor, "3"]:
        """First voxel of the crop."""
        return torch.tensor(self.point)

    def refresh(self) -> None:
        """Predict and draw anew, while the model is trained or after; any callback of `pretrain` may do so."""
        self._draw()

    def _companions(self, model: VoCo, block: Float[Tensor, "channel x y z"]) -> Float[Tensor, "crops features"]:
        """Features of the other crops, computed once for each block and state of the encoder: most of a move's time."""
        weights = [float(values.sum()) for values in encoder_of(model).state_dict().values()]
        if self._kept is None or self._kept[0] != (self.depth.value, weights):
            self._kept = (self.depth.value, weights), companion_features(model, block, self.grid)
        return self._kept[1]

    def _draw(self, _: Any = None) -> None:
        self.labels = position_labels(self.start[None], self.grid)[0]
        block = take_block(self.volume, self.grid, (0, 0, int(self.depth.value)))
        if self.model is not None:
            companions = self._companions(self.model, block[None])
            self.predicted = predict_overlaps(self.model, block[None], self.start, self.grid, companions)
        self._stage.clear()
        *slices, bars = self._stage.axes
        x, y, z = block.shape
        self.panels = []
        for axes, plane in zip(slices, self._planes, strict=True):
            level = draw_grid(axes, block, self.start, self.grid, self.window, spacing_of(self.volume), plane)
            self.panels.append(self._stage.panel(axes, plane, level, (x, y, z)))
        draw_bars(bars, self.labels, self.grid, self.predicted)
        words = f"{in_words(self.start, self.labels)} Sum {float(self.labels.sum()):.2f}."
        if self.predicted is not None:
            words += f" The model's largest prediction: base crop {int(self.predicted.argmax())}."
        self.show(self._stage.picture(words), words)


def _new_stage(slices: int) -> Stage:
    """Axes for slices, and for bars on their right."""
    width = 4.7 + 3.4 * slices
    figure = new_figure(width, 3.4, quick=True)  # a computed layout would double the time of every move
    figure.subplots_adjust(left=0.55 / width, right=1 - 0.1 / width, bottom=0.14, top=0.91, wspace=0.2)
    return Stage(figure, figure.subplots(1, slices + 1, width_ratios=[*[1] * slices, 1.3]))


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


def predict_overlaps(
    model: VoCo,
    block: Float[Tensor, "channel x y z"],
    start: Int[Tensor, "3"],
    grid: CropGrid,
    companions: Float[Tensor, "crops features"] | None = None,
) -> Float[Tensor, "bases"]:
    """Predicted overlaps of one crop, by the teacher's embeddings as in `gauges.measure_held_out`.

    Args:
        model: It keeps its mode.
        block: What the grid tiles.
        start: First voxel of the crop.
        grid: Where the base crops lie.
        companions: Of `companion_features`, where they are at hand.
    """
    others = companion_features(model, block, grid) if companions is None else companions
    own = _pooled(model, extract_crops(block, start[None], grid.random_size, grid.network_size))
    embedded = projected(model, torch.cat([own, others]), "projected")
    return position_similarity(embedded[:1], embedded[-grid.bases :])[0]


def companion_features(
    model: VoCo, block: Float[Tensor, "channel x y z"], grid: CropGrid
) -> Float[Tensor, "crops features"]:
    """Pooled features of the crops that a crop is projected with: a few at fixed places, and the base crops.

    The projector's statistics are those of its batch, so that neighbouring places are compared under like conditions.
    """
    places = sample_starts(_COMPANIONS, grid, torch.Generator().manual_seed(0))
    random = extract_crops(block, places, grid.random_size, grid.network_size)
    bases = extract_crops(block, grid_starts(grid), grid.crop_size, grid.network_size)
    return _pooled(model, torch.cat([random, bases]))


def _pooled(model: VoCo, crops: Float[Tensor, "crops channel x y z"]) -> Float[Tensor, "crops features"]:
    encoder = encoder_of(model)
    with evaluating(encoder):
        return encoder(crops.to(next(encoder.parameters()).device)).pooled.float().cpu()
