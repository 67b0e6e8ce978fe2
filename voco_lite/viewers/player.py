"""What the network really sees: the crops of a draw before and after augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import torch
from jaxtyping import Float
from torch import Tensor

from voco_lite.augment import Augmentation, augment
from voco_lite.config import CropConfig, PretrainConfig
from voco_lite.crops import extract_crops, grid_starts
from voco_lite.dataset import VoCoDataset
from voco_lite.viewers.pictures import BLUE, ORANGE, YELLOW, PictureBox, figure_picture, new_figure
from voco_lite.viewers.planes import PLANES, Window, channels_of, default_window, take_slice
from voco_lite.viewers.positions import outline

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

_BASES = 3  # base crops that are shown beside the random ones
_MOST = 4  # random crops
_BORDERS = ((0.06, 0.5), (0.94, 0.5), (0.5, 0.94), (0.5, 0.06))
_TURNS = ("not turned", "turned 90°", "turned 180°", "turned 270°")


class AugmentationPlayer(PictureBox):
    """Sliders for the draw and the slice; see `augmentation_player`.

    Attributes:
        draw: Number of the draw.
        level: Slice of the crops.
        cut: Crops as they were cut: random ones, then base crops.
        seen: The same as the network gets them.
        augmentation: What happened to each of them.
        source: Where the draw's block lies.
    """

    def __init__(self, volume: Volume, crops: CropConfig, draws: int, seed: int, window: Window | None) -> None:
        self.dataset, self.window = VoCoDataset([volume], crops, seed=seed), window or default_window(volume)
        self.cut, self.seen = torch.empty(0), torch.empty(0)
        self.augmentation, self.source = Augmentation.identity(0), ""
        depth = self.dataset.grid.network_size[2]
        self.draw = ipywidgets.IntSlider(0, 0, draws - 1, description="draw")
        self.level = ipywidgets.IntSlider(depth // 2, 0, depth - 1, description="slice z")
        super().__init__([ipywidgets.HBox([self.draw, self.level])])
        self.draw.observe(self._take, names="value")
        self.level.observe(self._draw, names="value")
        self._take()

    def _take(self, _: Any = None) -> None:
        sample, crops, grid = self.dataset[int(self.draw.value)], self.dataset.crops, self.dataset.grid
        random = extract_crops(sample.block, sample.starts, grid.random_size, grid.network_size)[:_MOST]
        bases = extract_crops(sample.block, grid_starts(grid)[:_BASES], grid.crop_size, grid.network_size)
        self.cut = torch.cat([random, bases])
        first, rest = sample.augmentation[: len(random)], sample.augmentation[crops.random_crops :][: len(bases)]
        self.augmentation, self.source = Augmentation.cat([first, rest]), sample.source
        self.seen = augment(self.cut, self.augmentation)
        self.titles = [f"random crop {i}" for i in range(len(random))] + [f"base crop {i}" for i in range(len(bases))]
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
        n = len(self.cut)
        figure = new_figure(1.75 * n, 4.3, quick=True)
        figure.subplots_adjust(left=0.03, right=0.995, bottom=0.13, top=0.93, wspace=0.06, hspace=0.08)
        axes = figure.subplots(2, n, squeeze=False)
        for i in range(n):
            for row, crops in enumerate((self.cut, self.seen)):
                self._draw_crop(axes[row, i], crops[i, 0], ORANGE if self.titles[i].startswith("random") else BLUE)
                for spot, letter in zip(_BORDERS, self.letters(i, seen=row == 1), strict=True):
                    axes[row, i].text(*spot, letter, transform=axes[row, i].transAxes, color=YELLOW, fontsize=8,
                                      ha="center", va="center", path_effects=outline())  # fmt: skip
            axes[0, i].set_title(self.titles[i], fontsize=9)
            axes[1, i].set_xlabel(self.describe(i).replace("; ", "\n"), fontsize=8)
        for row, name in enumerate(("as cut", "as seen")):
            axes[row, 0].set_ylabel(name, fontsize=9)
        words = self._in_words()
        self.show(figure_picture(figure, words), words)

    def _draw_crop(self, axes: Any, crop: Float[Tensor, "x y z"], colour: str) -> None:
        low, high = self.window
        piece = take_slice(crop.float(), PLANES["axial"], int(self.level.value))
        axes.imshow(piece.numpy(), cmap="gray", vmin=low, vmax=high)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=2)

    def _in_words(self) -> str:
        told = "; ".join(f"{title} {self.describe(i).replace('; ', ', ')}" for i, title in enumerate(self.titles))
        again = (
            ""
            if self.dataset.crops.seeded
            else " The operating system decides: the same draw looks different each time."
        )
        return f"{self.source}, slice {self.level.value}: {told}.{again}"


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
        volume: Prepared.
        config: Crops and augmentation; None: the published ones of 64 voxels (smaller volumes are padded with 0).
        draws: Draws to choose from.
        seed: Of the draws, as in `VoCoDataset`.
        window: Values shown black and white; None: as in `slices`.

    Raises:
        ValueError: Fewer than 1 draw, or a volume that is not (channel, x, y, z).
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}. 50 are a good number.")
    channels_of(volume)
    crops = config.crops if isinstance(config, PretrainConfig) else config or CropConfig()
    return AugmentationPlayer(volume, crops, draws, seed, window)
