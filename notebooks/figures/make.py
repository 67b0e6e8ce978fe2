"""Make the pictures of the README: `python notebooks/figures/make.py [RUN_FOLDER]`.

`voco.png` explains the method on one slice, `position_labels.gif` is the position explorer while its sliders move, and
`training.png` shows the run of a folder that `pretrain` wrote, or of `make demo`, whose model also predicts in the
explorer. With a run folder, `voco.png` shows its predictions too. `benefit.png` draws committed results of the benchmark.
Pictures have at most 60 kB, the moving one 400 kB, and a white ground, so that dark pages show them too. The slices come
from a subject of the sample population: the real CT of `voco_lite.samples` where it was fetched.
"""

from __future__ import annotations

import argparse
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

import voco_lite as vl
from voco_lite import viewers
from voco_lite.benchmark.committed import find_results
from voco_lite.benchmark.report import read_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

HERE = Path(__file__).resolve().parent
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#767676", "#222222"  # Okabe and Ito: told apart by everyone
GRID = vl.CropGrid(cells=(3, 3, 1), crop_size=(64, 64, 64))
SUBJECT_SEED = 1006  # held out from training
START = (40, 80, 0)
GIF_COLOURS = 96


def main() -> None:
    """Write every picture that can be made, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "run_folder", nargs="?", type=Path, help="a folder that pretrain wrote; default: of `make demo`"
    )
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = arguments.run_folder or next((file.parent for file in Path("runs/demo").glob("*/final.pt")), None)
    image = slice_of(vl.samples.population_subject(SUBJECT_SEED, GRID.block_size))
    predicted = prediction(arguments.run_folder) if arguments.run_folder else None
    save_png(rendered(draw_voco(image, predicted)), arguments.out / "voco.png")
    save_gif(run, arguments.out / "position_labels.gif")
    save_png(Image.open(io.BytesIO(draw_benefit().png)), arguments.out / "benefit.png")
    if run is None:
        print("training.png needs a run, and runs/demo holds none: `make demo`, or name its folder.")
    else:
        curves = viewers.plot_history(vl.History.load(run))
        save_png(Image.open(io.BytesIO(curves.png)), arguments.out / "training.png")


def draw_benefit(labelled: int = 5) -> viewers.Picture:
    """What single settings of pre-training change on real people, by Dice, with so many labelled subjects."""
    found = read_report(find_results("screen-hippocampus"), "validation").screened()
    return viewers.plot_differences([c for c in found if (c.metric, c.labelled) == ("dice", labelled)], screening=True)


def slice_of(volume: vl.Volume) -> Tensor:
    """The middle axial slice in the abdominal window, (x, y) in [0, 1]."""
    hu = volume.data[0, :, :, GRID.block_size[2] // 2]
    return ((hu + 175) / 425).clamp(0, 1)


def prediction(run_folder: Path) -> Tensor:
    """What a trained model says about the crop of the picture: its similarity to every base crop.

    Raises:
        ValueError: The run has another grid than the picture.
    """
    model = vl.load_model(run_folder / "final.pt")
    grid = vl.CropGrid.from_config(model.config.crops)
    if grid.cells != GRID.cells:
        raise ValueError(f"the run's grid must be {GRID.cells}, got {grid.cells}. Take a run of the laptop preset.")
    data = vl.samples.population(1, model.config.volume, first_seed=SUBJECT_SEED)[0].data
    first = [(have - want) // 2 for have, want in zip(data.shape[1:], grid.block_size, strict=True)]
    block = data[(slice(None), *(slice(a, a + n) for a, n in zip(first, grid.block_size, strict=True)))]
    scale = grid.crop_size[0] / GRID.crop_size[0]
    return viewers.predict_overlaps(model, block, torch.tensor([round(n * scale) for n in START]), grid)


def draw_voco(image: Tensor, predicted: Tensor | None) -> Figure:
    """The method in one picture: cut, embed, compare."""
    from matplotlib.figure import Figure

    labels = vl.position_labels(torch.tensor([START]), GRID)[0]
    figure = Figure(figsize=(10, 3.9), dpi=110, facecolor="white")
    cut = figure.add_axes((0.012, 0.03, 0.335, 0.86))
    draw_slice(cut, image, START, labels)
    embed = figure.add_axes((0.355, 0.03, 0.36, 0.86))
    draw_networks(embed, image)
    compare = figure.add_axes((0.765, 0.17, 0.222, 0.65))
    draw_bars(compare, labels, predicted)
    compared = "3 · Target: their overlap" if predicted is None else "3 · Predict their overlap"
    titles = ("1 · Cut crops from a volume", "2 · Embed them", compared)
    for left, title in zip((0.012, 0.372, 0.695), titles, strict=True):
        figure.text(left, 0.935, title, fontsize=12, fontweight="bold", color=INK)
    return figure


def draw_slice(axes: Axes, image: Tensor, start: tuple[int, int, int], labels: Tensor) -> None:
    """A slice with its base crops tinted by overlap and the random crop's box; patient's right on the left."""
    from matplotlib.patches import Rectangle

    (width, height, _), (side, _, _) = GRID.block_size, GRID.crop_size
    axes.imshow(image.T, cmap="gray", origin="lower", extent=(0, width, 0, height), vmin=0, vmax=1)
    for cell, (x, y, _) in enumerate(vl.grid_starts(GRID).tolist()):
        overlap = float(labels[cell])
        axes.add_patch(Rectangle((x, y), side, side, facecolor=BLUE, alpha=0.65 * overlap, edgecolor="none"))
        axes.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor="white", linewidth=1.2))
        outlined(axes, (x + side - 4, y + side - 4), str(cell), 8, va="top", ha="left")
        if overlap > 0:
            place = (x + side / 2, y + side / 2)
            outlined(axes, place, f"{overlap:.0%}", 11, fontweight="bold", va="center", ha="center")
    axes.add_patch(Rectangle(start[:2], side, side, fill=False, edgecolor=ORANGE, linewidth=2.6))
    axes.set(xlim=(width, 0), ylim=(0, height))
    axes.axis("off")
    for letter, x in (("R", width - 7), ("L", 7)):
        outlined(axes, (x, height / 2), letter, 9, "#FFD166", ha="center", va="center")


def outlined(
    axes: Axes, place: tuple[float, float], text: str, fontsize: float, color: str = "white", **look: Any
) -> None:
    """Text with a dark edge, readable on bone and on air."""
    from matplotlib.patheffects import withStroke

    axes.text(
        *place, text, color=color, fontsize=fontsize, path_effects=[withStroke(linewidth=2, foreground=INK)], **look
    )


def draw_networks(axes: Axes, image: Tensor) -> None:
    """Crops, encoder, student and teacher, from left to right."""
    axes.set(xlim=(0, 10), ylim=(0, 9.3), aspect="auto")
    axes.axis("off")
    (x, y, _), (side, _, _) = START, GRID.crop_size
    framed(axes, image[x : x + side, y : y + side], (0.62, 6.1, 2.0, 2.15), ORANGE)
    axes.text(1.62, 5.62, "random crop", ha="center", va="center", fontsize=9, color=ORANGE)
    for i in range(3):
        for j in range(3):
            crop = image[i * side : (i + 1) * side, j * side : (j + 1) * side]
            framed(axes, crop, (0.35 + (2 - i) * 0.88, 1.35 + j * 1.06, 0.78, 0.94), BLUE, 1.0)
    axes.text(1.62, 0.75, "9 base crops", ha="center", va="center", fontsize=9, color=BLUE)
    box(axes, (3.75, 1.4, 1.5, 6.8), "encoder", INK, rotation=90)
    box(axes, (6.35, 6.1, 2.4, 2.1), "student\nprojector", ORANGE)
    box(axes, (6.35, 1.75, 2.4, 2.1), "teacher\nprojector", GREY)
    for color, height in ((ORANGE, 7.15), (BLUE, 2.8)):
        arrow(axes, (2.95, height), (3.7, height), color)
        arrow(axes, (5.3, height), (6.3, height), color)
        arrow(axes, (8.8, height), (9.95, height), color)
    arrow(axes, (7.55, 6.0), (7.55, 3.95), GREY, style="dashed")
    axes.text(7.75, 5.25, "moving", fontsize=9, color=GREY, va="center")
    axes.text(7.75, 4.7, "average", fontsize=9, color=GREY, va="center")
    axes.text(7.55, 1.15, "no gradient", fontsize=9, color=GREY, ha="center", va="center")
    axes.text(7.55, 8.65, "learns", fontsize=9, color=ORANGE, ha="center", va="center")


def framed(axes: Axes, crop: Tensor, place: tuple[float, float, float, float], color: str, width: float = 2.2) -> None:
    """A crop at (left, bottom, width, height), patient's right on the left."""
    inset = axes.inset_axes(place, transform=axes.transData)
    inset.imshow(crop.T.flip(1), cmap="gray", origin="lower", vmin=0, vmax=1, aspect="auto")
    inset.set(xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set(edgecolor=color, linewidth=width)


def box(axes: Axes, place: tuple[float, float, float, float], text: str, color: str, rotation: int = 0) -> None:
    """A network: a rounded box with its name."""
    from matplotlib.patches import FancyBboxPatch

    left, bottom, width, height = place
    style = "round,pad=0,rounding_size=0.25"
    axes.add_patch(
        FancyBboxPatch((left, bottom), width, height, boxstyle=style, facecolor="white", edgecolor=color, linewidth=1.8)
    )
    centre = (left + width / 2, bottom + height / 2)
    axes.text(*centre, text, ha="center", va="center", fontsize=10.5, color=color, rotation=rotation)


def arrow(axes: Axes, tail: tuple[float, float], head: tuple[float, float], color: str, style: str = "solid") -> None:
    """A straight arrow."""
    look = {"arrowstyle": "-|>", "color": color, "linewidth": 1.7, "linestyle": style, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=head, xytext=tail, arrowprops=look)


def draw_bars(axes: Axes, labels: Tensor, predicted: Tensor | None = None) -> None:
    """The position label, and beside it what a model predicts, one pair of bars a base crop."""
    cells = torch.arange(len(labels))
    width = 0.8 if predicted is None else 0.4
    axes.bar(cells - (0 if predicted is None else 0.2), labels, width, color=BLUE, label="overlap (label)")
    if predicted is not None:
        axes.bar(cells + 0.2, predicted, width, color=ORANGE, label="similarity (predicted)")
        axes.legend(fontsize=8, frameon=False, loc="upper left", handlelength=1.2, borderpad=0)
    top = 1.0 if predicted is None else 1.3  # room for the legend
    axes.set(xticks=cells.tolist(), yticks=[0, 0.2, 0.4, 0.6, 0.8, 1], ylim=(0, top), xlim=(-0.6, len(labels) - 0.4))
    axes.set_xlabel("base crop", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def save_gif(run_folder: Path | None, path: Path, frames: int = 32) -> None:
    """The position explorer, whose sliders take its crop along a closed path; few colours keep the file small."""
    explorer = explorer_of(run_folder)
    pictures = [explorer_frame(explorer, i / frames) for i in range(frames)]
    palette = mosaic(pictures[::6]).quantize(GIF_COLOURS, Image.Quantize.MAXCOVERAGE)
    small = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    small[0].save(path, save_all=True, append_images=small[1:], duration=150, loop=0, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def explorer_of(run_folder: Path | None) -> viewers.PositionExplorer:
    """The explorer of a subject that was not trained on; with a run's model, it predicts too."""
    if run_folder is None:
        volume = vl.samples.population_subject(SUBJECT_SEED, GRID.block_size)
        return viewers.explore_positions(None, volume, GRID)
    model = vl.load_model(run_folder / "final.pt")
    explorer = viewers.explore_positions(
        model, vl.samples.population(1, model.config.volume, first_seed=SUBJECT_SEED)[0]
    )
    explorer.depth.value = explorer.depth.max // 2
    return explorer


def explorer_frame(explorer: viewers.PositionExplorer, turn: float) -> Image.Image:
    """The explorer's picture after a share of a figure of eight that reaches every border."""
    shares = (1 + math.sin(2 * math.pi * turn)) / 2, (1 + math.sin(4 * math.pi * turn)) / 2
    for slider, share in zip(explorer.sliders, shares, strict=False):
        slider.value = round(share * slider.max)
    return Image.open(io.BytesIO(explorer.picture.png)).convert("RGB")


def mosaic(pictures: list[Image.Image]) -> Image.Image:
    """Pictures below each other, for a palette that serves them all."""
    width, height = pictures[0].size
    whole = Image.new("RGB", (width, height * len(pictures)))
    for row, picture in enumerate(pictures):
        whole.paste(picture, (0, row * height))
    return whole


def rendered(figure: Figure) -> Image.Image:
    """A figure as a picture in memory."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def save_png(picture: Image.Image, path: Path, colours: int = 128) -> None:
    """A PNG of few colours, which is a third of the size and looks the same."""
    small = picture.convert("RGB").quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
