"""Crops slid over a whole volume, what a model makes of them, and where a place lies in another subject."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from voco_lite.config import CropConfig, Size
from voco_lite.crops import CropGrid, extract_crops
from voco_lite.viewers.planes import Plane, channels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from voco_lite.volumes import Volume

By = Literal["projected", "pooled"]
HEAT_OPACITY = 0.55
_BATCH = 16  # fits a core's cache: 32 takes a tenth longer, 64 a third


@dataclass(frozen=True)
class Lattice:
    """Places of equal crops at equal steps over a volume, x outermost and z fastest.

    Attributes:
        shape: Of the volume, in voxels.
        size: Of a crop, in voxels.
        stride: Voxels between neighbouring places; what remains at the high border is not reached.

    Raises:
        ValueError: A stride below 1, or a crop larger than the volume.
    """

    shape: Size
    size: Size
    stride: int = 8

    def __post_init__(self) -> None:
        if self.stride < 1 or any(size > have for size, have in zip(self.size, self.shape, strict=True)):
            raise ValueError(
                f"crops must fit into the volume of {tuple(self.shape)} voxels and move by at least 1 voxel, got crops "
                f"of {tuple(self.size)} and stride {self.stride}. Take smaller crops, or a larger volume."
            )

    @property
    def counts(self) -> Size:
        """Places along (x, y, z)."""
        x, y, z = ((have - size) // self.stride + 1 for have, size in zip(self.shape, self.size, strict=True))
        return x, y, z

    @property
    def starts(self) -> Int[Tensor, "places 3"]:
        """First voxel of every crop."""
        return torch.cartesian_prod(*(torch.arange(n) * self.stride for n in self.counts))

    @property
    def middles(self) -> Float[Tensor, "places 3"]:
        """Middle of every crop, in voxel indices: 0 is the middle of the first voxel."""
        return middles_of(self.starts, self.size)

    def heat_slice(
        self, values: Float[Tensor, "nx ny nz"], plane: Plane, level: int
    ) -> tuple[Float[Tensor, "rows columns"], tuple[float, float, float, float]]:
        """Values between the crops' middles, on a slice, and their (right, left, bottom, top) ends in voxels."""
        fine: Size = tuple((n - 1) * self.stride + 1 for n in self.counts)  # type: ignore[assignment]
        index = min(max(int(level + 0.5 - self.size[plane.across] / 2), 0), fine[plane.across] - 1)
        whole = F.interpolate(values[None, None].float(), size=fine, mode="trilinear", align_corners=True)[0, 0]
        ends = [(self.size[axis] / 2 - 0.5, self.size[axis] / 2 + fine[axis] - 0.5) for axis in range(3)]
        (low, high), (bottom, top) = ends[plane.columns], ends[plane.rows]
        return whole.select(plane.across, index).T.flip(0, 1), (high, low, bottom, top)

    def levels(self, axis: int) -> tuple[int, int]:
        """First and last slice that some crop has its middle in, across an axis."""
        first = int(self.size[axis] / 2)
        return first, min(first + (self.counts[axis] - 1) * self.stride, self.shape[axis] - 1)


def draw_heat(
    axes: Any,
    lattice: Lattice,
    similarity: Float[Tensor, "nx ny nz"],
    plane: Plane,
    level: int,
    opacity: float = HEAT_OPACITY,
) -> None:
    """Similarity over a slice that is drawn already; black to yellow is 0 to 1."""
    heat, (right, left, bottom, top) = lattice.heat_slice(similarity, plane, level)
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(heat.numpy(), cmap="inferno", vmin=0, vmax=1, alpha=opacity, extent=(right, left, bottom, top),
                origin="upper", aspect=axes.get_aspect())  # fmt: skip
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])


def heat_scale(
    figure: Figure, place: tuple[float, float, float, float], label: str, opacity: float = HEAT_OPACITY
) -> Any:
    """The scale of `draw_heat`, at (left, bottom, width, height) of a figure; returns matplotlib's colour bar."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = figure.add_axes(place)
    axes.set_facecolor("black")  # heat lies over dark tissue, and is mixed with it
    return figure.colorbar(ScalarMappable(Normalize(0, 1), "inferno"), cax=axes, alpha=opacity, label=label)


def middles_of(starts: Int[Tensor, "crops 3"], size: Size) -> Float[Tensor, "crops 3"]:
    """Middles of crops, in voxel indices."""
    return starts + (torch.tensor(size) - 1) / 2


def grid_of(model: Any, grid: CropGrid | CropConfig | None) -> CropGrid:
    """The grid that was asked for, or the model's own.

    Raises:
        ValueError: None was given, and the model is no VoCo that knows its own.
    """
    chosen = grid if grid is not None else getattr(getattr(model, "config", None), "crops", None)
    if chosen is None:
        raise ValueError(
            "grid must say how large crops are where the model is no VoCo, got None. Give vl.CropGrid(crop_size=…)."
        )
    return CropGrid.from_config(chosen) if isinstance(chosen, CropConfig) else chosen


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards the mode from before."""
    training = isinstance(model, nn.Module) and model.training
    if training:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if training:
            model.train()


def encoder_of(model: Any) -> Any:
    """What makes features of crops: a VoCo's encoder, the teacher's where there is one, or the model itself."""
    return getattr(model, "teacher_encoder", None) or getattr(model, "encoder", model)


def pooled_features(
    model: Any, volume: Volume | Tensor, starts: Int[Tensor, "crops 3"], grid: CropGrid
) -> Float[Tensor, "crops features"]:
    """Pooled features of crops of a volume, in batches, on the CPU.

    Args:
        model: A VoCo (see `encoder_of`), an encoder, or a function from
            crops (crops, channel, x, y, z) to vectors.
        volume: Prepared as the model was trained.
        starts: First voxels.
        grid: Size of the crops, and the size to which they are brought for the network.
    """
    encoder = encoder_of(model)
    first = next(encoder.parameters(), None) if isinstance(encoder, nn.Module) else None
    device, data, found = first.device if first is not None else torch.device("cpu"), channels_of(volume), []
    with evaluating(encoder):
        for part in starts.split(_BATCH):
            output = encoder(extract_crops(data, part, grid.crop_size, grid.network_size).to(device))
            found.append(getattr(output, "pooled", output).float().cpu())
    return torch.cat(found)


def projected(model: Any, features: Float[Tensor, "crops features"], by: By) -> Float[Tensor, "crops dim"]:
    """Features by which crops are compared: as they are, or through the projector as one batch.

    The projector's statistics are those of the batch, so that all crops to be compared belong into one. A model without
    a projector keeps its features.

    Raises:
        ValueError: Another `by`.
    """
    if by not in ("projected", "pooled"):
        raise ValueError(f'by must be "projected" or "pooled", got {by!r}. The similarity of the loss is "projected".')
    projector = getattr(model, "teacher_projector", None) or getattr(model, "projector", None)
    if by == "pooled" or projector is None:
        return features
    with evaluating(projector):
        return projector(features.to(next(projector.parameters()).device)).float().cpu()


def to_mm(volume: Volume | Tensor, place: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 3"]:
    """RAS mm of voxel indices; voxels where a bare tensor tells nothing."""
    if isinstance(volume, Tensor):
        return place.double()
    return place.double() @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def true_place(
    subject_a: Volume | Tensor, place: Float[Tensor, "3"], subject_b: Volume | Tensor
) -> Float[Tensor, "3"] | None:
    """Where a place of one subject lies in another, in voxel indices of the other: A to the source, the source to B.

    It may lie outside B's field of view. None where either subject does not know its displacement.

    Raises:
        ValueError: Subjects that were made from different sources.
    """
    there, back = getattr(subject_a, "to_source", None), getattr(subject_b, "from_source", None)
    if isinstance(subject_b, Tensor) or there is None or back is None:
        return None
    sources = [getattr(getattr(field, "recipe", None), "source", None) for field in (there, back)]
    if sources[0] != sources[1]:
        raise ValueError(
            f"subjects must come from one source, got {sources[0]} and {sources[1]}. Take both of one population."
        )
    moved = _moved(back, _moved(there, to_mm(subject_a, place)))
    inverse = torch.linalg.inv(subject_b.affine.double())
    return moved @ inverse[:3, :3].T + inverse[:3, 3]


def _moved(field: Any, point: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """A point in mm after a displacement, which is computed at this point alone."""
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, 3] = point
    return point + field(affine, (1, 1, 1)).reshape(3).double()
