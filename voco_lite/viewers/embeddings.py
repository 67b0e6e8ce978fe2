"""Crops of several subjects as points in the plane, near where the encoder finds them alike."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from voco_lite.config import CropConfig, Size
from voco_lite.crops import CropGrid, extract_crops
from voco_lite.viewers.named_crops import NamedCrops, draw_named_crops, shared_names
from voco_lite.viewers.pictures import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    RED,
    SKY,
    YELLOW,
    PictureBox,
    new_figure,
)
from voco_lite.viewers.planes import Window, default_window, first_channel
from voco_lite.viewers.positions import draw_slice
from voco_lite.viewers.sliding import By, grid_of, pooled_features, projected
from voco_lite.viewers.stage import Stage

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from voco_lite.volumes import Volume

Method = Literal["pca", "umap"]
_COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, BLACK)
_MARKS = "os^vDPX*"
_SYMBOLS = ("circle", "square", "triangle-up", "triangle-down", "diamond", "cross", "x", "star")
_RIM = 0.5  # of every mark, dark: yellow is not seen on white
_NEAR = 12  # pixels from a point
HINT = "Let the mouse rest on a point, or click it, to see its crop. Arrow keys step through the crops."


class EmbeddingMap(PictureBox):
    """A map with a choice of colour, and one crop that a slider or the mouse chooses; see `embedding_map`.

    Attributes:
        colour: "region", "subject" or, where every subject is labelled, "organ".
        chosen: Number of the crop that is shown beside the map.
        crops: Where the crops lie, and what they are called.
        points: Places of the crops in the plane.
        groups: By colour: the group of every crop.
        shared: By colour: share of the five nearest crops *of other subjects* ("subject": of all crops) that belong to
            the same group, by cosine of the whole vectors, not of the plane.
        by_chance: The same for crops drawn at random.
    """

    def __init__(
        self, model: Any, volumes: Sequence[Volume], crops: NamedCrops, by: By, method: Method, seed: int,
        window: Window | None,
    ) -> None:  # fmt: skip
        self.volumes, self.crops, self.window, self.method = list(volumes), crops, window, method
        pairs = zip(self.volumes, crops.starts, strict=True)
        parts = [pooled_features(model, volume, starts, crops.grid) for volume, starts in pairs]
        self.vectors = projected(model, torch.cat(parts), by)
        self.points = _in_the_plane(self.vectors, method, seed)
        self.groups = crops.groups
        self.shared, self.by_chance = shared_names(self.vectors, crops)
        self.colour = ipywidgets.Dropdown(options=list(self.groups), value="region", description="colour")
        self.chosen = ipywidgets.IntSlider(0, 0, len(self.points) - 1, description="crop")
        self._stage = self._new_stage()
        super().__init__([ipywidgets.HBox([self.colour, self.chosen])], hint=HINT, hovers=True)
        for control in (self.colour, self.chosen):
            control.observe(self._draw, names="value")
        self._draw()

    def figure(self) -> Figure:
        """The map as a plotly figure whose points tell what they are called when hovered over."""
        import plotly.graph_objects as go

        figure, groups = go.Figure(), self.groups[self.colour.value]
        for number, group in enumerate(sorted(set(groups))):
            rows = [i for i, name in enumerate(groups) if name == group]
            figure.add_scatter(
                x=self.points[rows, 0].tolist(), y=self.points[rows, 1].tolist(), mode="markers", name=group,
                marker={"color": _COLOURS[number % 8], "symbol": _SYMBOLS[(number + number // 8) % 8], "size": 8,
                        "line": {"color": BLACK, "width": _RIM}},
                text=[self.crops.describe(i) for i in rows], hoverinfo="text",
            )  # fmt: skip
        figure.update_layout(template="plotly_white", title=self._title(), width=720, height=520)
        return figure

    def _title(self) -> str:
        axes = {"pca": "principal components of crops", "umap": "UMAP of crops"}[self.method]
        return f"{axes}, coloured by {self.colour.value}"

    def click(self, x: float, y: float) -> None:
        """Choose the crop whose point lies at a pixel, within some pixels."""
        plane = self._stage.axes[0]
        spots = torch.from_numpy(plane.transData.transform(self.points.double().numpy()))
        spots[:, 1] = self._stage.figure.bbox.height - spots[:, 1]
        apart = (spots - torch.tensor([x, y])).norm(dim=-1)
        if float(apart.min()) <= _NEAR:
            self.chosen.value = int(apart.argmin())

    def hover(self, x: float, y: float) -> None:
        """As a click."""
        self.click(x, y)

    def press(self, key: str) -> None:
        """The next crop by arrows right and up, the one before by the others."""
        self.chosen.value += 1 if key in ("ArrowRight", "ArrowUp") else -1

    def _new_stage(self) -> Stage:
        """Axes for the map, with room for the legend, and for one crop."""
        figure = new_figure(10, 4.2, quick=True)
        figure.subplots_adjust(left=0.08, right=0.99, bottom=0.12, top=0.92, wspace=0.5)
        plane, crop = figure.subplots(1, 2, width_ratios=(1.9, 1))
        plane.tick_params(labelsize=7)
        plane.set_xlabel("first direction, no unit", fontsize=8)
        plane.set_ylabel("second direction, no unit", fontsize=8)
        low, high = self.points.amin(0), self.points.amax(0)
        margin = 0.05 * (high - low).clamp(min=1e-6)
        plane.set_xlim(*torch.stack([low - margin, high + margin])[:, 0].tolist())
        plane.set_ylim(*torch.stack([low - margin, high + margin])[:, 1].tolist())
        return Stage(figure, [plane, crop])

    def _draw(self, _: Any = None) -> None:
        colour, number = str(self.colour.value), int(self.chosen.value)
        self._stage.clear()
        plane, crop = self._stage.axes
        names = sorted(set(self.groups[colour]))
        for i, name in enumerate(names):
            rows = [row for row, group in enumerate(self.groups[colour]) if group == name]
            # Eight colours times eight marks: groups differ in at least one.
            plane.scatter(*self.points[rows].T.tolist(), s=22, color=_COLOURS[i % 8], marker=_MARKS[(i + i // 8) % 8],
                          label=name, alpha=0.85, edgecolors=BLACK, linewidths=_RIM)  # fmt: skip
        plane.scatter(*self.points[number].tolist(), s=170, facecolors="none", edgecolors=BLACK, linewidths=2)
        plane.legend(
            fontsize=7 if len(names) < 20 else 5.5, loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False
        )
        plane.set_title(self._title(), fontsize=10)
        self._draw_crop(crop, number)
        words = self._in_words(colour, number)
        self.show(self._stage.picture(words), words)

    def _draw_crop(self, axes: Any, number: int) -> None:
        volume, start = self.volumes[int(self.crops.subjects[number])], self.crops.start(number)
        crop = extract_crops(first_channel(volume)[None], start[None], self.crops.grid.crop_size)[0, 0]
        draw_slice(axes, crop, crop.shape[2] // 2, self.window or default_window(volume), volume.spacing)
        axes.set_title(f"crop {number}, ringed in the map", fontsize=10)

    def _in_words(self, colour: str, number: int) -> str:
        among = "of all crops" if colour == "subject" else "of other subjects"
        return (
            f"{len(self.points)} crops of {len(self.volumes)} subjects. Of the nearest crops {among}, "
            f"{self.shared[colour]:.0%} have the same {colour}; at random {self.by_chance[colour]:.0%}. "
            f"{self.crops.describe(number).capitalize()}."
        )


def embedding_map(
    model: Any,
    volumes: Sequence[Volume],
    crops: int = 60,
    regions: Size = (3, 3, 1),
    grid: CropGrid | CropConfig | None = None,
    by: By = "projected",
    method: Method = "pca",
    seed: int = 0,
    window: Window | None = None,
) -> EmbeddingMap:
    """Crops of several subjects in two dimensions, coloured by region of the body, subject or, where all are labelled, organ.

    Regions are those of `gauges.region_crops`: the same anatomy in all warps of one source. A plane shows little of
    hundreds of dimensions; the shares of neighbours in the caption come from the whole vectors.

    Args:
        model: A VoCo, an encoder, or a function from crops to vectors.
        volumes: Prepared subjects, at least two.
        crops: Random crops of each.
        regions: Cells along (x, y, z).
        grid: Size of the crops; None: the model's, which is a VoCo.
        by: "projected" embeddings or "pooled" features.
        method: "pca" or, where the package umap-learn is installed, "umap".
        seed: Of the crops.
        window: Values shown black and white; None: as in `slices`.

    Raises:
        ValueError: Fewer than two subjects, another method, or too few crops.
        ModuleNotFoundError: "umap" without the package.
    """
    if len(volumes) < 2 or crops < 2:
        raise ValueError(
            f"a map needs at least 2 subjects with 2 crops each, got {len(volumes)} and {crops}. Give more."
        )
    if method not in ("pca", "umap"):
        raise ValueError(f'method must be "pca" or "umap", got {method!r}.')
    if method == "umap" and find_spec("umap") is None:
        raise ModuleNotFoundError('method "umap" needs umap-learn, which is not installed. Use "pca", or install it.')
    named = draw_named_crops(volumes, grid_of(model, grid), crops, regions, seed)
    return EmbeddingMap(model, volumes, named, by, method, seed, window)


def _in_the_plane(vectors: Float[Tensor, "crops dim"], method: Method, seed: int) -> Float[Tensor, "crops 2"]:
    # Length says nothing to the cosine, by which crops are compared.
    unit = F.normalize(vectors, dim=-1).double().numpy()
    if method == "umap":
        umap = import_module("umap")  # wanted by few, so no dependency
        return torch.as_tensor(umap.UMAP(random_state=seed, metric="cosine").fit_transform(unit)).float()
    from sklearn.decomposition import PCA

    return torch.from_numpy(PCA(2, svd_solver="full").fit_transform(unit)).float()
