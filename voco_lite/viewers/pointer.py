"""Point at a place in one subject; the encoder finds it in another, and the population knows where it truly is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from voco_lite.config import CropConfig
from voco_lite.crops import CropGrid
from voco_lite.viewers.movable import MovableBox
from voco_lite.viewers.pictures import ORANGE, PINK, SKY, new_figure
from voco_lite.viewers.planes import PLANES, Window, channels_of, default_window, first_channel, spacing_of
from voco_lite.viewers.point_errors import PointErrors
from voco_lite.viewers.positions import draw_slice, outline
from voco_lite.viewers.sliding import (
    By,
    Lattice,
    draw_heat,
    grid_of,
    heat_scale,
    pooled_features,
    projected,
    to_mm,
    true_place,
)
from voco_lite.viewers.stage import Stage

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

_TRIES = 200  # candidates for each point that is asked for
_SHOWN = ("axial", "coronal")
_OPACITY = 0.35


class CrossPatientPointer(MovableBox):
    """Sliders, clicks and arrow keys that point at a voxel of A; see `point_across`.

    Attributes:
        sliders: The voxel in A, as far from the border as half a crop.
        found: Middle of the most similar crop of B, in voxel indices.
        truth: The same place in B by the known deformations, in voxel indices; None where they are not known.
        distance_mm: Between the two; None where the truth is not known.
        reachable: Whether some crop of B has its middle near the truth, within half a stride on each axis.
    """

    def __init__(
        self,
        model: Any,
        subject_a: Volume | Tensor,
        subject_b: Volume | Tensor,
        grid: CropGrid,
        stride: int,
        by: By,
        window: Window | None,
    ) -> None:
        self.model, self.subject_a, self.subject_b, self.grid, self.by = model, subject_a, subject_b, grid, by
        self.windows = [window or default_window(subject) for subject in (subject_a, subject_b)]
        shape_a, shape_b = (channels_of(subject).shape[1:] for subject in (subject_a, subject_b))
        self.lattice = Lattice((shape_b[0], shape_b[1], shape_b[2]), grid.crop_size, stride)
        self._slid = self._slid_features(model)
        self.found, self.similarity = torch.zeros(3), torch.zeros(self.lattice.counts)
        self.truth: Tensor | None = None
        self.distance_mm: float | None = None
        self.reachable = False
        self._stage = _new_stage()
        super().__init__([_slider(name, n, size) for name, n, size in zip("xyz", shape_a, grid.crop_size, strict=True)])
        self._draw()

    def error_table(self, points: int = 100, seed: int = 0, rivals: Mapping[str, Any] | None = None) -> PointErrors:
        """Distances over many points, beside those of other ways to find them.

        Points are drawn in A where there is tissue (intensity above the lowest), and where B's crops can reach the true
        place. "nearest crop" is the least that a search on this lattice can reach; "same share of the box" looks at no
        voxel.

        Args:
            points: How many.
            seed: Of the draw.
            rivals: Other models by name; None: for a VoCo, one that was never trained (the same first weights).

        Raises:
            ValueError: The truth is not known, or too few such points were found.
        """
        places, truths = self._draw_points(points, seed)
        if rivals is None:
            from voco_lite.model import VoCo

            rivals = {"untrained encoder": _fresh(self.model)} if isinstance(self.model, VoCo) else {}
        found = {"this encoder": self._found_by(self.model, places, self._slid)}
        found |= {name: self._found_by(rival, places, self._slid_features(rival)) for name, rival in rivals.items()}
        shapes = [torch.tensor(channels_of(s).shape[1:]).double() for s in (self.subject_a, self.subject_b)]
        found["same share of the box"] = (places + 0.5) / shapes[0] * shapes[1] - 0.5
        middles = self.lattice.middles.double()
        apart = to_mm(self.subject_b, middles)[None] - to_mm(self.subject_b, truths)[:, None]
        found["nearest crop"] = middles[apart.norm(dim=-1).argmin(1)]
        return PointErrors({way: self._offsets(place, truths) for way, place in found.items()})

    def _offsets(
        self, found: Float[Tensor, "points 3"], truths: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "points 3"]:
        return to_mm(self.subject_b, found) - to_mm(self.subject_b, truths)

    def _draw_points(self, points: int, seed: int) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "points 3"]]:
        if points < 1:
            raise ValueError(f"points must be at least 1, got {points}. 100 give a steady median.")
        make, data = torch.Generator().manual_seed(seed), first_channel(self.subject_a)
        places, truths = [], []
        for _ in range(_TRIES * points):
            place = torch.tensor([int(torch.randint(s.min, s.max + 1, (), generator=make)) for s in self.sliders])
            if float(data[tuple(place.tolist())]) <= float(data.min()):
                continue
            truth = true_place(self.subject_a, place, self.subject_b)
            if truth is None:
                raise ValueError(
                    "errors need subjects whose deformation is known, got at least one without. "
                    "Take both of vl.samples.population."
                )
            if self._reaches(truth):
                places.append(place.double())
                truths.append(truth)
            if len(places) == points:
                return torch.stack(places), torch.stack(truths)
        raise ValueError(
            f"{points} points must lie in tissue that both subjects show, got {len(places)}. Ask for fewer, or take "
            "smaller crops."
        )

    def _reaches(self, truth: Float[Tensor, "3"]) -> bool:
        middles = self.lattice.middles
        slack = self.lattice.stride / 2
        return bool(((truth >= middles.amin(0) - slack) & (truth <= middles.amax(0) + slack)).all())

    def _slid_features(self, model: Any) -> Float[Tensor, "crops features"]:
        """Features of the crops slid over B and, for the statistics of a projector, over A, as in a batch of a run."""
        found = [pooled_features(model, self.subject_b, self.lattice.starts, self.grid)]
        if self.by != "pooled":
            x, y, z = channels_of(self.subject_a).shape[1:]
            own = Lattice((x, y, z), self.grid.crop_size, self.lattice.stride)
            found.append(pooled_features(model, self.subject_a, own.starts, self.grid))
        return torch.cat(found)

    def _similarity(
        self, model: Any, places: Float[Tensor, "points 3"], slid: Float[Tensor, "crops features"]
    ) -> Float[Tensor, "points places"]:
        """Cosine of the crop around each place of A to every slid crop of B."""
        starts = places.long() - torch.tensor(self.grid.crop_size) // 2
        around = pooled_features(model, self.subject_a, starts, self.grid)
        vectors = projected(model, torch.cat([around, slid]), self.by)
        first, other = vectors[: len(around)], vectors[len(around) :][: len(self.lattice.starts)]
        return F.normalize(first, dim=-1) @ F.normalize(other, dim=-1).mT

    def _found_by(
        self, model: Any, places: Float[Tensor, "points 3"], slid: Float[Tensor, "crops features"]
    ) -> Float[Tensor, "points 3"]:
        return self.lattice.middles[self._similarity(model, places, slid).argmax(-1)]

    def _draw(self, _: Any = None) -> None:
        place = torch.tensor(self.point)
        similarity = self._similarity(self.model, place[None], self._slid)[0]
        self.found, self.similarity = self.lattice.middles[similarity.argmax()], similarity.reshape(self.lattice.counts)
        self.truth = true_place(self.subject_a, place, self.subject_b)
        self.reachable = self.truth is not None and self._reaches(self.truth)
        self.distance_mm = None if self.truth is None else float(self._offsets(self.found, self.truth).norm())
        self._stage.clear()
        self.panels, axes = [], self._stage.axes
        for number, name in enumerate(_SHOWN):
            self._draw_slice(axes[number], 0, name, place)
            self._draw_slice(axes[2 + number], 1, name, self.found)
        words = self._in_words()
        self.show(self._stage.picture(words), words)

    def _draw_slice(self, axes: Any, which: int, name: str, place: Tensor) -> None:
        plane, subject = PLANES[name], (self.subject_a, self.subject_b)[which]
        data, level = first_channel(subject), int(place[plane.across] + 0.5)
        draw_slice(axes, data, level, self.windows[which], spacing_of(subject), plane)
        marks = [(place, "+", ORANGE)] if which == 0 else [(place, "x", PINK)]
        if which == 0:
            x, y, z = data.shape
            self.panels.append(self._stage.panel(axes, plane, level, (x, y, z)))
        else:
            # Stretched: pooled features are all much alike, and what counts is where they are most so.
            low, high = self.similarity.amin(), self.similarity.amax()
            heat = (self.similarity - low) / (high - low).clamp(min=1e-6)
            draw_heat(axes, self.lattice, heat, plane, level, opacity=_OPACITY)
            if self.truth is not None:
                marks.append((self.truth, "o", SKY))
        for spot, mark, colour in marks:
            axes.plot(float(spot[plane.columns]) + 0.5, float(spot[plane.rows]) + 0.5, mark, color=colour,
                      markersize=11, markeredgewidth=2.5, fillstyle="none", path_effects=outline())  # fmt: skip
        title = "A: the place" if which == 0 else "B: found ×" + ("" if self.truth is None else ", truth ○")
        axes.set_title(f"{title}, {plane.name} {level}", fontsize=9)

    def _in_words(self) -> str:
        found = f"Voxel {self.point} of A is found at voxel {tuple(int(v + 0.5) for v in self.found)} of B"
        if self.truth is None or self.distance_mm is None:
            return f"{found}, similarity {float(self.similarity.max()):.2f}. Where it truly lies is not known."
        truth = tuple(round(float(v)) for v in self.truth)
        if not self.reachable:
            return f"{found}; in truth it lies at {truth}, which no crop of B reaches: too near the border, or outside."
        return f"{found}; in truth it lies at {truth}, {self.distance_mm:.0f} mm away."


def point_across(
    model: Any,
    subject_a: Volume | Tensor,
    subject_b: Volume | Tensor,
    grid: CropGrid | CropConfig | None = None,
    stride: int = 8,
    by: By = "pooled",
    window: Window | None = None,
) -> CrossPatientPointer:
    """Point at a voxel in one subject, and let the model find the place in another by the most similar crop.

    The crop around the voxel is compared with crops slid over B, by cosine. Where both subjects are warps of one source
    their deformations tell the truth: A to the source, the source to B.

    Args:
        model: A VoCo, an encoder, or a function from crops to vectors.
        subject_a: Where to point; prepared.
        subject_b: Where to look; prepared alike.
        grid: Size of the crops (`crop_size`, `network_size`); None: the model's, which is a VoCo.
        stride: Voxels between the crops of B.
        by: Compare "pooled" features or "projected" embeddings.
        window: Values shown black and white; None: as in `slices`.

    Raises:
        ValueError: No grid, crops that do not fit, or subjects of different sources.
    """
    return CrossPatientPointer(model, subject_a, subject_b, grid_of(model, grid), stride, by, window)


def _new_stage() -> Stage:
    """Axes for two slices of each subject, and the scale of the heat."""
    figure = new_figure(12, 3.1, quick=True)
    figure.subplots_adjust(left=0.04, right=0.925, bottom=0.14, top=0.9, wspace=0.2)
    axes = figure.subplots(1, 4)
    scale = heat_scale(figure, (0.937, 0.2, 0.01, 0.6), "", _OPACITY)
    scale.ax.set_facecolor("grey")  # most of what such thin heat lies over is soft tissue
    scale.ax.set_title("B's crops", fontsize=9)
    scale.set_ticks([0, 1], labels=["different", "similar"], fontsize=8)
    return Stage(figure, axes)


def _slider(name: str, voxels: int, size: int) -> ipywidgets.IntSlider:
    low, high = size // 2, voxels - size + size // 2
    return ipywidgets.IntSlider((low + high) // 2, low, high, description=name, continuous_update=False)


def _fresh(model: Any) -> Any:
    """A VoCo with the weights that this one started from, on its device."""
    from voco_lite.model import VoCo

    first = next(model.parameters())
    channels = next(p for p in model.encoder.parameters() if p.ndim == 5).shape[1]
    return VoCo(model.config, channels).to(first.device)
