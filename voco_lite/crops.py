"""Where crops lie and how they are cut: pure geometry, no chance except through a generator.

A volume's block is tiled by base crops that do not overlap; random crops lie anywhere in the block, and a random
crop's position label says how much of it each base crop contains. The 2024 and 2025 code tile x and y only
(one cell along z); grids that divide z as well are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from voco_lite.config import CropConfig, Size


@dataclass(frozen=True)
class CropGrid:
    """The base crops of a block: a grid of equal boxes that do not overlap, and the sizes of the other crops.

    Attributes:
        cells: Number of base crops along (x, y, z); (4, 4, 1) in the 2024 code, (3, 3, 1) in the 2025 code.
        crop_size: Size of a base crop along (x, y, z), in voxels.
        random_size: Size of a random crop in voxels; left out: as a base crop.
        network_size: Size in voxels to which both kinds are resized; left out: the size of a base crop.
    """

    cells: Size = (3, 3, 1)
    crop_size: Size = (64, 64, 64)
    random_size: Size = None  # type: ignore[assignment]  # replaced by crop_size below
    network_size: Size = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name in ("cells", "crop_size", "random_size", "network_size"):
            size = self.crop_size if getattr(self, name) is None else tuple(getattr(self, name))
            if len(size) != 3 or min(size) < 1 or not all(isinstance(n, int) for n in size):
                raise ValueError(
                    f"{name} must be three whole numbers of at least 1, got {size}. Give (x, y, z), such as (3, 3, 1)."
                )
            object.__setattr__(self, name, size)
        if any(random > block for random, block in zip(self.random_size, self.block_size, strict=True)):
            raise ValueError(
                f"random_size must fit into the block of {self.block_size} voxels, got {self.random_size}. "
                "Take smaller random crops, or more or larger cells."
            )

    @classmethod
    def from_config(cls, config: CropConfig) -> CropGrid:
        """The grid that a configuration describes."""
        return cls(config.cells, config.crop_size, config.random_size, config.network_size)  # type: ignore[arg-type]

    @property
    def bases(self) -> int:
        """Number of base crops."""
        return math.prod(self.cells)

    @property
    def block_size(self) -> Size:
        """Size of the whole grid along (x, y, z), in voxels."""
        (i, j, k), (x, y, z) = self.cells, self.crop_size
        return i * x, j * y, k * z


def grid_starts(grid: CropGrid) -> Int[Tensor, "bases 3"]:
    """First voxel of every base crop, x outermost and z fastest: cell (i, j, k) is row (i * ny + j) * nz + k."""
    steps = zip(grid.cells, grid.crop_size, strict=True)
    return torch.cartesian_prod(*(torch.arange(n) * size for n, size in steps))


def sample_starts(
    n: int, grid: CropGrid, generator: torch.Generator, open_border: bool = False
) -> Int[Tensor, "crops 3"]:
    """Draw where ``n`` random crops start, uniformly over every position inside the block.

    Args:
        n: Number of random crops.
        grid: Block to stay in and size of the random crops.
        generator: Source of chance, on the CPU.
        open_border: Released rule, whose `randint(h, block - h)` with h = size // 2 never draws the last position of
            an even size. It acts on each axis that leaves a choice.

    Returns:
        First voxels within the block, int64, on the CPU.
    """
    spans = []
    for size, block in zip(grid.random_size, grid.block_size, strict=True):
        positions = block - 2 * (size // 2) if open_border else block - size + 1
        spans.append(max(positions, 1))
    return torch.stack([torch.randint(span, (n,), generator=generator) for span in spans], dim=-1)


def position_labels(
    starts: Int[Tensor, "*volumes crops 3"], grid: CropGrid, official_odd: bool = False
) -> Float[Tensor, "*volumes crops bases"]:
    """Share of each random crop's volume that lies inside each base crop, float64.

    Paper: VoCo (CVPR 2024), the overlap proportions y. Released code: `get_position_label`; it divides areas in
    (x, y) by the random crop's area, which is the same where crops fill z.

    Args:
        starts: First voxel of each random crop, in voxels of the block.
        grid: Where the base crops lie, and the size of the random crops.
        official_odd: Released rule for odd sizes: in x and y the box ends one voxel early, and its volume is not
            reduced, so that a row sums to ((R - 1) / R)^2.

    Returns:
        Overlaps in [0, 1] on the device of the starts; a row sums to 1 when its crop lies inside the block.

    Raises:
        ValueError: Starts that are not rows of three.
    """
    if starts.ndim < 2 or starts.shape[-1] != 3:
        raise ValueError(
            f"starts must be rows of (x, y, z), shape (crops, 3), got {tuple(starts.shape)}. Add a row with starts[None]."
        )
    odd = [size % 2 if official_odd and axis < 2 else 0 for axis, size in enumerate(grid.random_size)]
    box = torch.tensor(grid.random_size, device=starts.device) - torch.tensor(odd, device=starts.device)
    base_low = grid_starts(grid).to(starts.device)
    base_high = base_low + torch.tensor(grid.crop_size, device=starts.device)
    low = torch.maximum(starts[..., None, :], base_low)  # (*volumes, crops, bases, 3), in voxels
    high = torch.minimum((starts + box)[..., None, :], base_high)
    return (high - low).clamp(min=0).prod(-1).double() / math.prod(grid.random_size)


def crop_views(
    block: Float[Tensor, "channel x y z"], starts: Int[Tensor, "crops 3"], size: Size
) -> list[Float[Tensor, "channel crop_x crop_y crop_z"]]:
    """The crops of one block without copying; a crop that leaves the block is cut at its high border.

    Args:
        block: Volume data of any floating type, on any device.
        starts: First voxels, on the CPU (reading them from a GPU would wait for it).
        size: Size of a whole crop along (x, y, z), in voxels.

    Raises:
        ValueError: A block that is not (channel, x, y, z), or a start outside it.
    """
    if block.ndim != 4:
        raise ValueError(
            f"block must be (channel, x, y, z), got shape {tuple(block.shape)}. Add a channel with block[None]."
        )
    views = []
    for start in starts.tolist():
        if any(not 0 <= first < length for first, length in zip(start, block.shape[1:], strict=True)):
            raise ValueError(
                f"starts must lie inside the block of {tuple(block.shape[1:])} voxels, got {tuple(start)}. "
                "Draw them with sample_starts, or pad the block to grid.block_size."
            )
        view = block
        for axis, (first, length) in enumerate(zip(start, size, strict=True), start=1):
            view = view.narrow(axis, first, min(length, block.shape[axis] - first))
        views.append(view)
    return views


def extract_crops(
    block: Float[Tensor, "*volumes channel x y z"],
    starts: Int[Tensor, "*volumes crops 3"],
    size: Size,
    network_size: Size | None = None,
) -> Float[Tensor, "*volumes crops channel crop_x crop_y crop_z"]:
    """Cut crops out of one block, or out of a batch of blocks.

    Released code: 64 voxels cut and kept (2025); 96 cut and resized to 64, trilinear with aligned corners (2024).

    Args:
        block: One block or a batch of blocks.
        starts: First voxels on the CPU: rows of three for all blocks, or a table for each block.
        size: Size of a crop along (x, y, z), in voxels. A crop is cut at the high border of a smaller block, as in
            the released code; `VoCoDataset` pads blocks with 0 beforehand, so that it never happens there.
        network_size: Resize to this; None, or equal to the crop: the voxels as they are.

    Returns:
        The crops; `flatten(0, 1)` of a batch's is volume-major.

    Raises:
        ValueError: Wrong shapes, a start outside the block, or crops that the border cuts to different sizes.
    """
    if block.ndim == 5:
        tables = starts if starts.ndim == 3 else starts.expand(len(block), *starts.shape)
        pairs = zip(block, tables, strict=True)
        return torch.stack([extract_crops(one, table, size, network_size) for one, table in pairs])
    views = crop_views(block, starts, size)
    shapes = {tuple(view.shape[1:]) for view in views}
    if network_size is not None and shapes != {tuple(network_size)}:
        return torch.cat(
            [F.interpolate(view[None], size=network_size, mode="trilinear", align_corners=True) for view in views]
        )
    if len(shapes) > 1:
        raise ValueError(
            f"crops must have one size, got {sorted(shapes)} after the block of {tuple(block.shape[1:])} voxels cut them. "
            "Pad the block to grid.block_size, or give network_size."
        )
    return torch.stack(views)
