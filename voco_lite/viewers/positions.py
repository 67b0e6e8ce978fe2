"""Position labels made visible: the grid on a slice, the random crop in it, and its overlaps as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.config import Size
from voco_lite.crops import CropGrid, grid_starts, position_labels
from voco_lite.viewers.pictures import BLACK, BLUE, ORANGE, SKY, Picture, figure_picture, new_figure
from voco_lite.viewers.planes import PLANES, Plane, Window, default_window, first_channel, spacing_of, take_slice

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

_MANY = 4


def show_position_labels(
    volume: Volume | Tensor,
    starts: Int[Tensor, "crops 3"],
    grid: CropGrid,
    predicted: Float[Tensor, "crops bases"] | None = None,
    window: Window | None = None,
    first: Size = (0, 0, 0),
) -> Picture:
    """A row for each random crop: the grid on a slice through the crop's middle, and the crop's label as bars.

    Args:
        volume: A prepared volume that holds the grid's block.
        starts: First voxel of each random crop, counted from the block's; at most four are shown.
        grid: Where the base crops lie.
        predicted: Predicted overlaps, drawn beside the true ones.
        window: Values shown black and white; None: as in `slices`.
        first: First voxel of the block in the volume.

    Raises:
        ValueError: A block that leaves the volume, or starts that are not rows of three.
    """
    block = take_block(volume, grid, first)
    spacing, shades = spacing_of(volume), window or default_window(volume)
    labels = position_labels(starts, grid)
    shown = min(len(starts), _MANY)
    figure = new_figure(8, 3.4 * shown)
    axes = figure.subplots(shown, 2, squeeze=False, width_ratios=(1, 1.3))
    for row in range(shown):
        draw_grid(axes[row, 0], block, starts[row], grid, shades, spacing)
        draw_bars(axes[row, 1], labels[row], grid, None if predicted is None else predicted[row])
    return figure_picture(figure, " ".join(in_words(starts[row], labels[row]) for row in range(shown)))


def take_block(volume: Volume | Tensor, grid: CropGrid, first: Size = (0, 0, 0)) -> Float[Tensor, "x y z"]:
    """The part of a volume that a grid tiles.

    Raises:
        ValueError: It leaves the volume.
    """
    data = first_channel(volume)
    ends = [start + length for start, length in zip(first, grid.block_size, strict=True)]
    if min(first) < 0 or any(end > have for end, have in zip(ends, data.shape, strict=True)):
        raise ValueError(
            f"volume must hold the grid's block of {grid.block_size} voxels from {tuple(first)} on, got a volume of "
            f"{tuple(data.shape)}. Take smaller crops, or prepare the volume with a larger size."
        )
    x, y, z = (slice(start, end) for start, end in zip(first, ends, strict=True))
    return data[x, y, z]


def in_words(start: Tensor, label: Tensor) -> str:
    """What a label says, in a sentence."""
    parts = [f"{share:.0%} in base crop {i}" for i, share in enumerate(label.tolist()) if share > 0]
    return f"Random crop at voxel {tuple(int(v) for v in start)}: {', '.join(parts) or 'no overlap'}."


def draw_grid(
    axes: Any,
    block: Float[Tensor, "x y z"],
    start: Int[Tensor, "3"],
    grid: CropGrid,
    window: Window,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    plane: Plane = PLANES["axial"],
) -> int:
    """A slice through the crop's middle, base crops coloured by overlap, the crop in orange; returns the slice's index."""
    from matplotlib.patches import Rectangle

    level = min(int(start[plane.across]) + grid.random_size[plane.across] // 2, grid.block_size[plane.across] - 1)
    draw_slice(axes, block, level, window, spacing, plane)
    label = position_labels(torch.as_tensor(start)[None], grid)[0]
    width, height = grid.crop_size[plane.columns], grid.crop_size[plane.rows]
    for number, first in enumerate(grid_starts(grid).tolist()):
        if not first[plane.across] <= level < first[plane.across] + grid.crop_size[plane.across]:
            continue
        x, y = first[plane.columns], first[plane.rows]
        axes.add_patch(Rectangle((x, y), width, height, facecolor=SKY, alpha=0.75 * float(label[number]), linewidth=0))
        axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor="white", linewidth=1))
        axes.text(x + width / 2, y + height / 2, str(number), color="white", ha="center", va="center", fontsize=11,
                  path_effects=outline())  # fmt: skip
    corner, size = [(int(values[plane.columns]), int(values[plane.rows])) for values in (start, grid.random_size)]
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=ORANGE, linewidth=3))
    axes.set_title(f"random crop at voxel {tuple(int(v) for v in start)}, {plane.name}", fontsize=9)
    return level


def draw_slice(
    axes: Any,
    block: Float[Tensor, "x y z"],
    level: int,
    window: Window,
    spacing: tuple[float, float, float],
    plane: Plane = PLANES["axial"],
) -> None:
    """A slice of the block with the patient's sides at its borders; the axes count voxels."""
    low, high = window
    columns, rows = block.shape[plane.columns], block.shape[plane.rows]
    piece = take_slice(block, plane, level)
    axes.imshow(piece.numpy(), cmap="gray", vmin=low, vmax=high, extent=(columns, 0, 0, rows), origin="upper",
                aspect=spacing[plane.rows] / spacing[plane.columns])  # fmt: skip
    axes.set_xlim(columns, 0)
    axes.set_ylim(0, rows)
    axes.set_xlabel(f"{'xyz'[plane.columns]} in voxels", fontsize=8)
    axes.set_ylabel(f"{'xyz'[plane.rows]} in voxels", fontsize=8)
    axes.tick_params(labelsize=7)
    spots = ((0.03, 0.5), (0.97, 0.5), (0.5, 0.96), (0.5, 0.04))
    for letter, spot in zip(plane.letters, spots, strict=True):
        axes.text(
            *spot, letter, transform=axes.transAxes, color="#F0E442", ha="center", va="center", path_effects=outline()
        )


def draw_bars(
    axes: Any, label: Float[Tensor, "bases"], grid: CropGrid, predicted: Float[Tensor, "bases"] | None = None
) -> None:
    """True overlaps in blue and, beside them, predicted ones in orange."""
    numbers, width = torch.arange(len(label)).tolist(), 0.8 if predicted is None else 0.4
    bars = axes.bar([n - (0.8 - width) / 2 for n in numbers], label.tolist(), width, color=BLUE, label="true overlap")
    if predicted is not None:
        axes.bar([n + 0.2 for n in numbers], predicted.tolist(), width, color=ORANGE, hatch="//", edgecolor=BLACK,
                 linewidth=0.5, label="predicted")  # fmt: skip
        axes.legend(fontsize=8, loc="upper right", ncols=2)
    axes.bar_label(bars, labels=[f"{share:.2f}" if share > 0 else "" for share in label.tolist()], fontsize=8)
    axes.set_ylim(0, 1.12 if predicted is None else 1.25)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xticks(numbers if len(numbers) <= 16 else numbers[:: -(-len(numbers) // 14)])
    axes.set_xlabel(f"base crop (grid {' x '.join(str(n) for n in grid.cells)})", fontsize=8)
    axes.set_title(f"position label, sum {float(label.sum()):.2f}", fontsize=10)
    axes.tick_params(labelsize=8)


def outline() -> list[Any]:
    """A black rim, so that bright marks remain seen on bright tissue."""
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=2.5, foreground="black")]
