"""From prepared volumes to batches of crops, position labels and augmentation.

All chance of a draw comes from (seed, draw), whatever the loader's workers do. Workers only choose; cutting and
augmenting happen for the whole batch on its device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from voco_lite.augment import Augmentation, augment, draw_augmentation
from voco_lite.config import CropConfig, Size
from voco_lite.crops import CropGrid, crop_views, extract_crops, grid_starts, position_labels, sample_starts
from voco_lite.dataset.batches import Sample, Samples, VoCoBatch
from voco_lite.dataset.order import mixed_seed

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

_MOST_IN_A_ROW = 16  # volumes that cannot be used, before the whole set is given up


class VoCoDataset(Dataset[Sample]):
    """Endless draws from a set of volumes: draw ``epoch * len(dataset) + index`` shows volume ``index`` anew.

    Args:
        volumes: Prepared volumes of one number of channels, of any size: a list, or a `VolumeFolder`, which reads them
            when they are drawn.
        crops: Which crops to cut and how to augment them.
        seed: Seed of blocks, crops and augmentation.

    Attributes:
        left_out: Volumes that could not be used, met by this process so far: source and reason.

    Raises:
        ValueError: No volume, or volumes that are not (channel, x, y, z) with the same channels and type.
    """

    def __init__(self, volumes: Sequence[Volume], crops: CropConfig, seed: int = 0) -> None:
        if not volumes:
            raise ValueError("volumes must hold at least one volume, got none. Load a folder with load_volumes first.")
        # Volumes that are read when they are asked for are checked when they are drawn.
        self.volumes: Sequence[Volume] = list(volumes) if isinstance(volumes, list | tuple) else volumes
        self.crops, self.seed, self.grid = crops, seed, CropGrid.from_config(crops)
        self.left_out: dict[str, str] = {}
        self.kind: _Kind | None = None
        if isinstance(self.volumes, list):
            for volume in self.volumes:
                self._require_kind(volume)
        else:
            self._usable(0, taken=set())

    @property
    def sources(self) -> list[str]:
        """Where each volume comes from; no volume is read for it."""
        known: list[str] | None = getattr(self.volumes, "sources", None)
        return list(known) if known is not None else [volume.source for volume in self.volumes]

    def __len__(self) -> int:
        return len(self.volumes)

    def __iter__(self) -> Iterator[Sample]:
        """The first epoch, in the order of the volumes."""
        return (self[draw] for draw in range(len(self)))

    def __getitem__(self, draw: int) -> Sample:
        """What draw number ``draw`` decides; the same on every machine, process and occasion.

        A volume smaller than the block is padded with 0 on both sides (the released code would cut shorter crops).

        Raises:
            IndexError: A negative draw.
        """
        if draw < 0:
            raise IndexError(
                f"draw must be at least 0, got {draw}. Draw epoch * {len(self)} + index shows volume index."
            )
        volume = self.volumes[draw % len(self)]
        self._require_kind(volume)
        return self._sample(draw, volume)

    def __getitems__(self, draws: Sequence[int]) -> list[Sample]:
        """What the draws of one batch decide; a loader calls this.

        A volume that cannot be used is left out, and the next one that is not in the batch takes its place: which one
        depends on the draws and the volumes alone, so that a resumed run draws the same.

        Raises:
            ValueError: No other volume can take its place.
        """
        taken = {draw % len(self) for draw in draws}
        samples = []
        for draw in draws:
            known = len(self.left_out)
            sample = self._sample(draw, self._usable(draw % len(self), taken))
            sample.left_out = dict(list(self.left_out.items())[known:])
            samples.append(sample)
        return samples

    def _usable(self, index: int, taken: set[int]) -> Volume:
        """Volume ``index``, or the next one that can be used and is not taken; takes it."""
        others = (i % len(self) for i in range(index + 1, index + len(self)) if i % len(self) not in taken)
        tried = []
        for i in chain([index], islice(others, _MOST_IN_A_ROW - 1)):
            volume = self._read(i)
            if volume is not None:
                taken.add(i)
                return volume
            tried.append(i)
        raise ValueError(
            f"A volume that cannot be used must have another one in its place, got none: of {len(self)} volumes, "
            f"{len(tried)} were tried, {len(taken) - (index in taken)} are in the batch already. "
            f"{self.left_out[self._source(tried[0])]}"
        )

    def _read(self, index: int) -> Volume | None:
        """A volume; None where it cannot be used, which is noted."""
        source = self._source(index)
        if source in self.left_out:
            return None
        try:
            volume = self.volumes[index]
            self._require_kind(volume)
        except (ValueError, OSError) as error:
            if isinstance(self.volumes, list):
                raise
            self.left_out[source] = " ".join(str(error).split())
            return None
        return volume

    def _source(self, index: int) -> str:
        known: list[str] | None = getattr(self.volumes, "sources", None)
        return known[index] if known is not None else str(index)

    def _sample(self, draw: int, volume: Volume) -> Sample:
        config, grid = self.crops, self.grid
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, draw))
        block, first = random_block(volume.data, grid.block_size, generator)
        starts = sample_starts(config.random_crops, grid, generator, config.open_border)
        return Sample(
            block=block,
            starts=starts,
            position_labels=position_labels(starts, grid, config.official_odd),
            augmentation=draw_augmentation(config.random_crops + grid.bases, config, generator),
            source=f"{volume.source}, block from voxel {first}, draw {draw}",
        )

    def _require_kind(self, volume: Volume) -> None:
        """Raise ValueError unless a volume is (channel, x, y, z) with the channels and type of the first."""
        kind = _kind(volume)
        if kind != (self.kind or kind) or volume.data.ndim != 4:
            raise ValueError(
                "volumes must all be (channel, x, y, z) with the same channels and type, got (dimensions, channels, "
                f"type) {kind} in {volume.source} and {self.kind or kind} in the first. Prepare them with one VolumeConfig."
            )
        self.kind = kind

    @staticmethod
    def collate(samples: Sequence[Sample]) -> Samples:
        """Put samples together: the `collate_fn` of a loader."""
        # A view that a worker sends would take its whole volume along.
        in_worker = get_worker_info() is not None
        return Samples(
            blocks=[sample.block.clone() if in_worker else sample.block for sample in samples],
            starts=torch.stack([sample.starts for sample in samples]),
            position_labels=torch.stack([sample.position_labels for sample in samples]),
            augmentation=Augmentation.cat([sample.augmentation for sample in samples]),
            sources=[sample.source for sample in samples],
            left_out={source: why for sample in samples for source, why in sample.left_out.items()},
        )

    def cut(self, samples: Samples, device: torch.device | str = "cpu") -> VoCoBatch:
        """Cut and augment the crops of a whole batch on its device, without waiting for it."""
        grid, blocks = self.grid, [block.to(device, non_blocking=True) for block in samples.blocks]
        crops = self.crops.random_crops, grid.bases
        shape = len(blocks[0]), *grid.network_size
        random, bases = (blocks[0].new_empty(len(blocks), n, *shape) for n in crops)
        base_starts = grid_starts(grid)
        for i, block in enumerate(blocks):
            rows = samples.augmentation[i * sum(crops) : (i + 1) * sum(crops)]
            _cut(block, samples.starts[i], grid.random_size, rows[: crops[0]], random[i])
            _cut(block, base_starts, grid.crop_size, rows[crops[0] :], bases[i])
        labels = samples.position_labels.to(device, non_blocking=True)
        return VoCoBatch(random, bases, labels, samples.sources)

    def batch(self, draws: Sequence[int], device: torch.device | str = "cpu") -> VoCoBatch:
        """The batch of these draws, in this process."""
        return self.cut(self.collate([self[draw] for draw in draws]), device)


_Kind = tuple[int, int, torch.dtype]


def _kind(volume: Volume) -> _Kind:
    return volume.data.ndim, volume.data.shape[0], volume.data.dtype


def random_block(
    data: Float[Tensor, "channel x y z"], size: Size, generator: torch.Generator
) -> tuple[Float[Tensor, "channel block_x block_y block_z"], tuple[int, ...]]:
    """A block at a random place and its first voxel in the volume, negative where 0 was padded before it."""
    missing = [max(want - have, 0) for want, have in zip(size, data.shape[1:], strict=True)]
    before = [n // 2 for n in missing]
    if any(missing):
        data = F.pad(data, [n for axis in (2, 1, 0) for n in (before[axis], missing[axis] - before[axis])])
    spans = [have - want + 1 for want, have in zip(size, data.shape[1:], strict=True)]
    starts = [int(torch.randint(span, (), generator=generator)) for span in spans]
    x, y, z = (slice(first, first + length) for first, length in zip(starts, size, strict=True))
    return data[:, x, y, z], tuple(first - padded for first, padded in zip(starts, before, strict=True))


def _cut(
    block: Float[Tensor, "channel x y z"],
    starts: Int[Tensor, "crops 3"],
    size: Size,
    augmentation: Augmentation,
    out: Float[Tensor, "crops channel crop_x crop_y crop_z"],
) -> None:
    """Cut and augment into a place; crops that keep their size are not copied in between."""
    network_size: Size = tuple(out.shape[2:])  # type: ignore[assignment]
    keeps = network_size == size
    augment(
        crop_views(block, starts, size) if keeps else extract_crops(block, starts, size, network_size),
        augmentation,
        out,
    )
