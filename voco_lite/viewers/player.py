"""What the network really sees: the crops of a draw before and after augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ipywidgets
import torch
from jaxtyping import Float
from torch import Tensor

from voco_lite.augment import Augmentation, augment
from voco_lite.config import CropConfig, PretrainConfig
from voco_lite.crops import CropGrid, extract_crops, grid_starts
from voco_lite.dataset import VoCoDataset
from voco_lite.viewers.pictures import BLUE, ORANGE, YELLOW, PictureBox, new_figure
from voco_lite.viewers.planes import PLANES, Window, channels_of, default_window, take_slice
from voco_lite.viewers.positions import outline
from voco_lite.viewers.slices import window_slider
from voco_lite.viewers.stage import Stage

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

_BASES = 3  # base crops that are shown beside the random ones
_MOST = 4  # random crops
_BORDERS = ((0.06, 0.5), (0.94, 0.5), (0.5, 0.94), (0.5, 0.06))
_TURNS = ("not turned", "turned 90°", "turned 180°", "turned 270°")


class AugmentationPlayer(PictureBox):
    """Sliders for the draw, the slice and the window; see `augmentation_player`.

    Attributes:
        draw: Number of the draw.
        level: Slice of the crops.
        window: Of a volume in HU: what becomes 0 and 1 for the network. Else: what is shown black and white.
        cut: Crops as they were cut: random ones, then base crops.
        seen: The same as the network gets them.
        augmentation: What happened to each of them.
        source: Where the draw's block lies.
    """

    def __init__(self, volume: Volume, crops: CropConfig, draws: int, seed: int, window: Window | None) -> None:
        self.volume, self.crops, self.seed = volume, crops, seed
        self.cut, self.seen = torch.empty(0), torch.empty(0)
        self.augmentation, self.source = Augmentation.identity(0), ""
        grid = CropGrid.from_config(crops)
        self.titles = [f"random crop {i}" for i in range(min(crops.random_crops, _MOST))]
        self.titles += [f"base crop {i}" for i in range(min(grid.bases, _BASES))]
        self.draw = ipywidgets.IntSlider(0, 0, draws - 1, description="draw")
        self.level = ipywidgets.IntSlider(grid.network_size[2] // 2, 0, grid.network_size[2] - 1, description="slice z")
        self.window = window_slider(volume, window or default_window(volume))
        self._stage = _new_stage(self.titles)
        super().__init__([ipywidgets.HBox([self.draw, self.level, self.window])])
        for control in (self.draw, self.window):
            control.observe(self._take, names="value")
        self.level.observe(self._draw, names="value")
        self._take()

    @property
    def dataset(self) -> VoCoDataset:
        """What the draws come from: the volume, in the window where it is in HU."""
        return VoCoDataset([self._windowed()], self.crops, seed=self.seed)

    def _windowed(self) -> Volume:
        if self.volume.units != "HU":
            return self.volume
        low, high = self.window.value
        data = ((self.volume.data - low) / max(high - low, 1)).clamp(0, 1)
        return replace(self.volume, data=data, units="prepared")

    def _take(self, _: Any = None) -> None:
        dataset = self.dataset
        sample, crops, grid = dataset[int(self.draw.value)], self.crops, dataset.grid
        random = extract_crops(sample.block, sample.starts, grid.random_size, grid.network_size)[:_MOST]
        bases = extract_crops(sample.block, grid_starts(grid)[:_BASES], grid.crop_size, grid.network_size)
        self.cut = torch.cat([random, bases])
        first, rest = sample.augmentation[: len(random)], sample.augmentation[crops.random_crops :][: len(bases)]
        self.augmentation, self.source = Augmentation.cat([first, rest]), sample.source
        self.seen = augment(self.cut, self.augmentation)
        self._draw()

    def describe(self, number: int) -> str:
        """What happened to a crop, in words."""
        mirrored = "".join(
            axis for axis, flip in zip("xyz", self.augmentation.flips[number].tolist(), strict=True) if flip
        )
        turns, shift = int(self.augmentation.quarter_turns[number]), float(self.augmentation.shifts[number])
        parts = [f"flipped along {', '.join(mirrored)}"] if mirrored else []
        parts += [_TURNS[turns]] if turns else []
        parts += [f"shifted by {shift:+.3f}"] if shift else []
        return "; ".join(parts) or "unchanged"

    def letters(self, number: int, seen: bool) -> tuple[str, str, str, str]:
        """Sides of the patient at the left, right, top and bottom of a crop's picture, as it was cut or as it is seen."""
        place = torch.stack(torch.meshgrid(*[torch.arange(2.0)] * 3, indexing="ij"))
        if seen:
            rows = self.augmentation[number : number + 1]
            place = augment(place[None], Augmentation(rows.flips, rows.quarter_turns, torch.zeros(1)))[0]
        left, top = ((place.select(axis, 1) - place.select(axis, 0)).mean((1, 2)) for axis in (1, 2))
        return _side(left), _side(-left), _side(top), _side(-top)

    def _draw(self, _: Any = None) -> None:
        self._stage.clear()
        rows = self._stage.axes[: len(self.cut)], self._stage.axes[len(self.cut) :]
        for row, crops in zip(rows, (self.cut, self.seen), strict=True):
            for axes, crop in zip(row, crops, strict=True):
                self._draw_crop(axes, crop[0])
        _write_sides(rows[0][0], self.letters(0, seen=False))  # the same for all that is only cut
        for i, axes in enumerate(rows[1]):
            _write_sides(axes, self.letters(i, seen=True))
            told = self.describe(i).replace("; ", "\n")
            axes.text(0.5, -0.04, told, transform=axes.transAxes, fontsize=8, ha="center", va="top")
        words = self._in_words()
        self.show(self._stage.picture(words), words)

    def _draw_crop(self, axes: Any, crop: Float[Tensor, "x y z"]) -> None:
        # HU are in [0, 1] after the window; what was prepared already keeps its values, and the window is for the eye.
        low, high = (0.0, 1.0) if self.volume.units == "HU" else self.window.value
        piece = take_slice(crop.float(), PLANES["axial"], int(self.level.value))
        axes.imshow(piece.numpy(), cmap="gray", vmin=low, vmax=high)

    def _in_words(self) -> str:
        told = "; ".join(f"{title} {self.describe(i).replace('; ', ', ')}" for i, title in enumerate(self.titles))
        again = "" if self.crops.seeded else " The operating system decides: the same draw looks different each time."
        low, high = self.window.value
        window = f", {low:.0f} to {high:.0f} HU" if self.volume.units == "HU" else ""
        return f"{self.source}, slice {self.level.value}{window}: {told}.{again}"


def _write_sides(axes: Any, letters: tuple[str, str, str, str]) -> None:
    for spot, letter in zip(_BORDERS, letters, strict=True):
        axes.text(*spot, letter, transform=axes.transAxes, color=YELLOW, fontsize=8, ha="center", va="center",
                  path_effects=outline())  # fmt: skip


def _new_stage(titles: Sequence[str]) -> Stage:
    """Two rows of axes, one column for each title, framed by what they show."""
    figure = new_figure(1.75 * len(titles), 4.3, quick=True)
    figure.subplots_adjust(left=0.03, right=0.995, bottom=0.13, top=0.93, wspace=0.06, hspace=0.08)
    rows = figure.subplots(2, len(titles), squeeze=False)
    for axes, title in zip(rows[0], titles, strict=True):
        # A label belongs to the frame, a title would be drawn anew for every picture.
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(title, fontsize=9)
    for row, name in zip(rows, ("as cut", "as seen"), strict=True):
        row[0].set_ylabel(name, fontsize=9)
        for axes, title in zip(row, titles, strict=True):
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set(color=ORANGE if title.startswith("random") else BLUE, linewidth=2)
    return Stage(figure, list(rows.flatten()))


def _side(direction: Float[Tensor, "3"]) -> str:
    """Letter of the side of the patient toward which a direction in (x, y, z) points."""
    axis = int(direction.abs().argmax())
    return ("RAS" if direction[axis] > 0 else "LPI")[axis]


def augmentation_player(
    volume: Volume,
    config: CropConfig | PretrainConfig | None = None,
    draws: int = 50,
    seed: int = 0,
    window: Window | None = None,
) -> AugmentationPlayer:
    """Draw after draw: crops as they are cut, and as the network gets them, with what happened to each below it.

    Random crops are framed in orange, base crops in blue. Both rows share one window, so that a shift of intensity is
    seen as such; position labels stay what they were.

    Args:
        volume: Prepared; or in HU, and then the window of its preparation is yours to move.
        config: Crops and augmentation; None: the published ones of 64 voxels (smaller volumes are padded with 0).
        draws: Draws to choose from.
        seed: Of the draws, as in `VoCoDataset`.
        window: At the start; None: as in `slices`.

    Raises:
        ValueError: Fewer than 1 draw, or a volume that is not (channel, x, y, z).
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}. 50 are a good number.")
    channels_of(volume)
    crops = config.crops if isinstance(config, PretrainConfig) else config or CropConfig()
    return AugmentationPlayer(volume, crops, draws, seed, window)
