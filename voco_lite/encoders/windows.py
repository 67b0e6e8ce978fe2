"""Windows of a shifted-window transformer, as index tables: which voxels attend to each other, and under which bias.

MONAI pads a grid to whole windows, rolls it, masks what the roll brought together, and attends in windows of one
size. The same function follows from fewer voxels: a window is cut where its mask would be, so that nothing needs a
mask, and the padded voxels of a window, which all hold the same key and value, are left out; `attention` lets one
virtual key stand for them. On a 16³ grid with 7³ windows that leaves a third of the pairs.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from voco_lite.config import Size

_ON_CPU = torch.device("cpu")  # tables are kept: made inside `with torch.device("meta")` they would stay empty


@dataclass(frozen=True)
class WindowGroup:
    """Windows of one size and one padding, which share one table of biases.

    Attributes:
        windows: How many.
        voxels: Voxels of each.
        pairs: Row of the bias table for every (query, key), query slowest, flattened.
        padded: Row of the bias table for every (query, padded key); None where nothing is padded.
    """

    windows: int
    voxels: int
    pairs: Int[Tensor, " pairs"]
    padded: Int[Tensor, "voxels padded"] | None


@dataclass(frozen=True)
class WindowPlan:
    """All windows of a grid: every voxel lies in exactly one.

    Attributes:
        order: Raster index (x slowest) of the voxels in window order: group by group, window by window.
        groups: The groups, in this order.
        pairs: `pairs` of all groups, one after the other.
    """

    order: Int[Tensor, " voxels"]
    groups: tuple[WindowGroup, ...]
    pairs: Int[Tensor, " pairs"]


@dataclass(frozen=True)
class _Cut:
    """Windows along one axis that look alike: places inside the window of their voxels, and with padding."""

    voxels: tuple[tuple[int, ...], ...]
    places: tuple[int, ...]
    extent: tuple[int, ...]


def fit_window(grid: Size, window: Size, shifted: bool) -> tuple[Size, Size]:
    """Window and shift on a grid: an axis no longer than the window becomes one window, without shift.

    MONAI: `get_window_size` in `monai/networks/nets/swin_unetr.py`.
    """
    fitted = tuple(min(size, extent) for size, extent in zip(window, grid, strict=True))
    shift = tuple(w // 2 if shifted and size > w else 0 for size, w in zip(grid, window, strict=True))
    return fitted, shift  # type: ignore[return-value]


@functools.lru_cache(maxsize=8)
def relative_position_index(window: Size) -> Int[Tensor, "voxels voxels"]:
    """Row of the bias table for every (query, key) of a full window, x slowest; a buffer of every attention module."""
    _, y, z = (2 * size - 1 for size in window)
    with _ON_CPU:
        places = torch.cartesian_prod(*(torch.arange(size) for size in window))
        offsets = places[:, None] - places[None] + torch.tensor(window) - 1
        return (offsets * torch.tensor([y * z, z, 1])).sum(-1)


@functools.lru_cache(maxsize=64)
def window_plan(grid: Size, window: Size, shifted: bool, device: torch.device) -> WindowPlan:
    """The windows of a grid.

    Args:
        grid: Voxels along (x, y, z).
        window: Nominal window in voxels.
        shifted: Windows shifted by half their size, in both directions separated where the shift wraps around.
        device: Where the index tables shall lie.
    """
    fitted, shift = fit_window(grid, window, shifted)
    cuts = [_cuts(size, w, s) for size, w, s in zip(grid, fitted, shift, strict=True)]
    rows = relative_position_index(window)
    orders, groups = [], []
    with _ON_CPU:
        for x, y, z in itertools.product(*cuts):
            order = _raster(grid, x, y, z)
            places = _flat(fitted, x.places, y.places, z.places)
            extent = _flat(fitted, x.extent, y.extent, z.extent)
            padded = rows[places][:, extent[~torch.isin(extent, places)]]
            pairs = rows[places][:, places].flatten().to(device)
            orders.append(order.flatten())
            groups.append(
                WindowGroup(order.shape[0], order.shape[1], pairs, padded.to(device) if padded.numel() else None)
            )
    every_pair = torch.cat([group.pairs for group in groups])
    return WindowPlan(torch.cat(orders).to(device), tuple(groups), every_pair)


def _cuts(size: int, window: int, shift: int) -> list[_Cut]:
    """The windows along one axis, cut where the shift wraps around, alike ones together."""
    padded = -(-size // window) * window
    alike: dict[tuple[tuple[int, ...], tuple[int, ...]], list[tuple[int, ...]]] = {}
    for first in range(0, padded, window):
        # The last window of a shifted axis holds both ends of the grid: two windows that may not see each other.
        wrap = padded - shift if shift and first + window == padded else first
        for begin, end in ((first, wrap), (wrap, first + window)):
            extent = tuple(range(begin - first, end - first))
            sources = [(first + place + shift) % padded for place in extent]
            places = tuple(place for place, source in zip(extent, sources, strict=True) if source < size)
            if places:
                alike.setdefault((places, extent), []).append(tuple(s for s in sources if s < size))
    return [_Cut(tuple(voxels), places, extent) for (places, extent), voxels in alike.items()]


def _raster(grid: Size, x: _Cut, y: _Cut, z: _Cut) -> Int[Tensor, "windows voxels"]:
    """Raster index of every voxel of every window of a group."""
    i, j, k = (torch.tensor(cut.voxels) for cut in (x, y, z))
    index = (i[:, None, None, :, None, None] * grid[1] + j[None, :, None, None, :, None]) * grid[2]
    index = index + k[None, None, :, None, None, :]
    return index.flatten(0, 2).flatten(1)


def _flat(window: Size, x: tuple[int, ...], y: tuple[int, ...], z: tuple[int, ...]) -> Int[Tensor, " voxels"]:
    """Flat places in the fitted window. MONAI reads the bias table of a shrunken window by these, not by distance."""
    places = torch.cartesian_prod(*(torch.tensor(axis) for axis in (x, y, z)))
    return (places[:, 0] * window[1] + places[:, 1]) * window[2] + places[:, 2]


@dataclass(frozen=True)
class Move:
    """A new order for the rows of a table.

    Attributes:
        source: Old row of every new row.
        target: New row of every old row.
    """

    source: Int[Tensor, " rows"]
    target: Int[Tensor, " rows"]


@functools.lru_cache(maxsize=32)
def stage_moves(grid: Size, window: Size, crops: int, device: torch.device) -> tuple[Move, Move, Move]:
    """Moves of a stage's (crops x voxels, channels) table: raster to windows, to shifted windows, to merged corners.

    Windows lie group by group over all crops. Corners: for every voxel of the halved grid its eight voxels, in MONAI's
    order since 1.5: (000), (100), (010), (001), (110), (101), (011), (111).
    """
    count = math.prod(grid)
    with _ON_CPU:
        first = torch.arange(crops)[:, None] * count
        orders = []
        for shifted in (False, True):
            plan = window_plan(grid, window, shifted, _ON_CPU)
            parts = plan.order.split([group.windows * group.voxels for group in plan.groups])
            orders.append(torch.cat([(first + part).flatten() for part in parts]))
        orders.append((first + _corners(grid)).flatten())
        held = torch.arange(crops * count)  # raster index of every row of the table
    moves = []
    for order in orders:
        row, new_row = torch.argsort(held), torch.argsort(order)
        moves.append(Move(row[order].int().to(device), new_row[held].int().to(device)))
        held = order
    return moves[0], moves[1], moves[2]


def _corners(grid: Size) -> Int[Tensor, " voxels"]:
    """Raster index of the voxels that patch merging joins."""
    corners = torch.tensor([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)])
    coarse = torch.cartesian_prod(*(torch.arange(0, size, 2) for size in grid))
    x, y, z = (coarse[:, None] + corners).unbind(-1)
    return ((x * grid[1] + y) * grid[2] + z).flatten()
