"""Crops of several subjects as points in the plane, near where the encoder finds them alike."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.config import CropConfig, Size
from voco_lite.crops import CropGrid, extract_crops
from voco_lite.gauges import region_crops
from voco_lite.viewers.naming import organ_name, region_name
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
from voco_lite.viewers.sliding import By, grid_of, middles_of, pooled_features, projected
from voco_lite.viewers.stage import Stage

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from voco_lite.volumes import Volume

Method = Literal["pca", "umap"]
_COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, BLACK)
_MARKS = "os^vDPX*"
_SYMBOLS = ("circle", "square", "triangle-up", "triangle-down", "diamond", "cross", "x", "star")
_NEIGHBOURS = 5
_NEAR = 12  # pixels from a point
HINT = "Let the mouse rest on a point, or click it, to see its crop. Arrow keys step through the crops."


class EmbeddingMap(PictureBox):
    """A map with a choice of colour, and one crop that a slider or the mouse chooses; see `embedding_map`.

    Attributes:
        colour: "region", "subject" or "organ".
        chosen: Number of the crop that is shown beside the map.
        points: Places of the crops in the plane.
        groups: By colour: the group of every crop.
        shared: By colour: share of the five nearest crops *of other subjects* ("subject": of all crops) that belong to
            the same group, by cosine of the whole vectors, not of the plane.
        by_chance: The same for crops drawn at random.
    """

    def __init__(
        self, model: Any, volumes: Sequence[Volume], grid: CropGrid, crops: int, regions: Size, by: By, method: Method,
        seed: int, window: Window | None,
    ) -> None:  # fmt: skip
        self.volumes, self.grid, self.window, self.method = list(volumes), grid, window, method
        self.starts, self.subjects, numbers = self._draw_crops(crops, regions, seed)
        parts = [pooled_features(model, v, start, grid) for v, start in zip(self.volumes, self.starts, strict=True)]
        self.vectors = projected(model, torch.cat(parts), by)
        self.points = _in_the_plane(self.vectors, method, seed)
        self.groups = {
            "region": [region_name(number, regions) for number in numbers.tolist()],
            "subject": [f"subject {number}" for number in self.subjects.tolist()],
            "organ": [
                organ_name(v, start, grid)
                for v, table in zip(self.volumes, self.starts, strict=True)
                for start in table
            ],
        }
        self.shared, self.by_chance = self._neighbours()
        self.colour = ipywidgets.Dropdown(options=list(self.groups), value="region", description="colour")
        self.chosen = ipywidgets.IntSlider(0, 0, len(self.points) - 1, description="crop")
        self._stage = self._new_stage()
        super().__init__([ipywidgets.HBox([self.colour, self.chosen])], hint=HINT, hovers=True)
        for control in (self.colour, self.chosen):
            control.observe(self._draw, names="value")
        self._draw()

    def _draw_crops(
        self, crops: int, regions: Size, seed: int
    ) -> tuple[list[Tensor], Int[Tensor, " n"], Int[Tensor, " n"]]:
        """Where crops lie in each volume, and subject and region of each."""
        make, starts, numbers = torch.Generator().manual_seed(seed), [], []
        for volume in self.volumes:
            state = make.get_state()
            numbers.append(region_crops(volume, self.grid.crop_size, crops, make, regions).regions)
            # `region_crops` keeps the crops and not their places: its own draws, once more.
            make.set_state(state)
            spans = [have - want + 1 for have, want in zip(volume.shape, self.grid.crop_size, strict=True)]
            starts.append(torch.stack([torch.randint(span, (crops,), generator=make) for span in spans], dim=-1))
        subjects = torch.arange(len(self.volumes)).repeat_interleave(crops)
        return starts, subjects, torch.cat(numbers)

    def _neighbours(self) -> tuple[dict[str, float], dict[str, float]]:
        unit, same_subject = F.normalize(self.vectors, dim=-1), self.subjects[:, None] == self.subjects[None]
        cosine, shared, chance = unit @ unit.mT, {}, {}
        for colour, names in self.groups.items():
            known = sorted(set(names))
            numbers = torch.tensor([known.index(name) for name in names])
            allowed = ~torch.eye(len(unit), dtype=torch.bool) if colour == "subject" else ~same_subject
            nearest = cosine.masked_fill(~allowed, -2).topk(min(_NEIGHBOURS, int(allowed.sum(1).min())), dim=1).indices
            alike = numbers[:, None] == numbers[None]
            shared[colour] = float(alike.gather(1, nearest).double().mean())
            chance[colour] = float(alike[allowed].double().mean())
        return shared, chance

    def figure(self) -> Figure:
        """The map as a plotly figure whose points tell subject, region, organ and place when hovered over."""
        import plotly.graph_objects as go

        figure, groups = go.Figure(), self.groups[self.colour.value]
        for number, group in enumerate(sorted(set(groups))):
            rows = [i for i, name in enumerate(groups) if name == group]
            figure.add_scatter(
                x=self.points[rows, 0].tolist(), y=self.points[rows, 1].tolist(), mode="markers", name=group,
                marker={"color": _COLOURS[number % 8], "symbol": _SYMBOLS[(number + number // 8) % 8], "size": 8},
                text=[self.describe(i) for i in rows], hoverinfo="text",
            )  # fmt: skip
        figure.update_layout(template="plotly_white", title=self._title(), width=720, height=520)
        return figure

    def describe(self, number: int) -> str:
        """Subject, region, organ and place of a crop, in one line."""
        names = ", ".join(self.groups[colour][number] for colour in ("subject", "region", "organ"))
        return f"crop {number}: {names}, middle at voxel {tuple(int(v) for v in self._middle(number))}"

    def _middle(self, number: int) -> Tensor:
        return middles_of(torch.cat(self.starts)[number], self.grid.crop_size)

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
        figure.subplots_adjust(left=0.06, right=0.99, bottom=0.12, top=0.92, wspace=0.5)
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
                          label=name, alpha=0.85, linewidths=0)  # fmt: skip
        plane.scatter(*self.points[number].tolist(), s=170, facecolors="none", edgecolors=BLACK, linewidths=2)
        plane.legend(
            fontsize=7 if len(names) < 20 else 5.5, loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False
        )
        plane.set_title(self._title(), fontsize=10)
        self._draw_crop(crop, number)
        words = self._in_words(colour, number)
        self.show(self._stage.picture(words), words)

    def _draw_crop(self, axes: Any, number: int) -> None:
        volume, start = self.volumes[int(self.subjects[number])], torch.cat(self.starts)[number]
        crop = extract_crops(first_channel(volume)[None], start[None], self.grid.crop_size)[0, 0]
        draw_slice(axes, crop, crop.shape[2] // 2, self.window or default_window(volume), volume.spacing)
        axes.set_title(f"crop {number}, ringed in the map", fontsize=10)

    def _in_words(self, colour: str, number: int) -> str:
        among = "of all crops" if colour == "subject" else "of other subjects"
        return (
            f"{len(self.points)} crops of {len(self.volumes)} subjects. Of the nearest crops {among}, "
            f"{self.shared[colour]:.0%} have the same {colour}; at random {self.by_chance[colour]:.0%}. "
            f"{self.describe(number).capitalize()}."
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
    """Crops of several subjects in two dimensions, coloured by region of the body, subject or organ.

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
    return EmbeddingMap(model, volumes, grid_of(model, grid), crops, regions, by, method, seed, window)


def _in_the_plane(vectors: Float[Tensor, "crops dim"], method: Method, seed: int) -> Float[Tensor, "crops 2"]:
    # Length says nothing to the cosine, by which crops are compared.
    unit = F.normalize(vectors, dim=-1).double().numpy()
    if method == "umap":
        umap = import_module("umap")  # wanted by few, so no dependency
        return torch.as_tensor(umap.UMAP(random_state=seed, metric="cosine").fit_transform(unit)).float()
    from sklearn.decomposition import PCA

    return torch.from_numpy(PCA(2, svd_solver="full").fit_transform(unit)).float()
