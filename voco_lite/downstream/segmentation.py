"""Segmentation: one class of several organs for every voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from monai.losses import DiceCELoss
from monai.transforms import (
    RandCropByLabelClasses,
    RandCropByPosNegLabel,
    SpatialPad,
    map_binary_to_indices,
    map_classes_to_indices,
)
from torch import Tensor

from voco_lite.config import Size
from voco_lite.config.plain import plain
from voco_lite.downstream.metrics import dice
from voco_lite.downstream.organs import organ_classes, require_organs
from voco_lite.downstream.predicting import predict
from voco_lite.downstream.split import Split
from voco_lite.downstream.start import Start
from voco_lite.downstream.task import Task
from voco_lite.downstream.unet import build_segmenter
from voco_lite.volumes import Volume

_KEPT = 2**30  # bytes of training subjects that each loader process holds: padded, with every voxel by its class


@dataclass(frozen=True)
class SegmentationConfig:
    """What is segmented, and how patches are cut.

    Attributes:
        organs: Names of the structures, as in the label names of the subjects.
        patch_size: Voxels of a training patch, and of the window that slides over a whole scan.
        foreground_share: Share of patches with an organ's voxel in the middle; published: 0.5 to 0.9.
        by_organ: Cut as many of these patches around each organ; else around each voxel of any organ, as published, so that
            large organs are shown far more often.
        shift: Largest offset added to prepared intensities, in half of the patches; published: 0.1 in a tenth.
        overlap: Share of the window that neighbouring windows share; published: 0.75.
        linear: A linear head in place of the decoder, for linear probes.
    """

    organs: tuple[str, ...] = ("spleen", "kidney_right", "kidney_left", "liver", "urinary_bladder", "aorta")
    patch_size: Size = (64, 64, 64)
    foreground_share: float = 0.5
    by_organ: bool = False
    shift: float = 0.1
    overlap: float = 0.5
    linear: bool = False

    def __post_init__(self) -> None:
        require_organs(self.organs)
        if not 0 <= self.foreground_share <= 1 or not 0 <= self.overlap < 1 or self.shift < 0:
            raise ValueError(
                "foreground_share must lie in [0, 1], overlap in [0, 1) and shift be at least 0, got "
                f"{self.foreground_share}, {self.overlap} and {self.shift}. Take the defaults: 0.5, 0.5 and 0.1."
            )


class SegmentationTask(Task):
    """Give every voxel its organ; the score of a subject is its mean Dice over the organs that it shows.

    Loss: MONAI's `DiceCELoss` without the background, as in the released code.

    Args:
        start: The encoder.
        split: Prepared subjects with labels.
        config: What and how.
        seed: Of the head's weights.

    Raises:
        ValueError: A patch size that the encoder cannot take.
    """

    def __init__(self, start: Start, split: Split, config: SegmentationConfig, seed: int = 0) -> None:
        encoder = start.fresh()
        encoder.require_size(config.patch_size)
        super().__init__(build_segmenter(encoder, len(config.organs) + 1, config.linear, seed), split)
        self.start, self.config = start, config
        self.loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
        self.crop = _cutter(config)
        self._kept: dict[int, tuple[Tensor, dict[str, Any]]] = {}

    def describe(self) -> dict[str, Any]:
        """Encoder, preparation and choices."""
        parts: dict[str, Any] = {"encoder": self.start.config, "volume": self.start.volume, "segmentation": self.config}
        return {"name": "segmentation", **{name: plain(asdict(part)) for name, part in parts.items()}}

    def sample(self, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """A patch, and its classes: (channel, x, y, z) each."""
        whole, where = self._material(index)
        seed, offset = torch.randint(2**31, (), generator=generator), torch.rand(2, generator=generator)
        self.crop.set_random_state(seed=int(seed))
        patch = _plain(self.crop(whole, whole[-1:], **where)[0])
        shift = self.config.shift * (2 * offset[0] - 1) * (offset[1] < 0.5)
        return {"image": patch[:-1] + shift, "classes": patch[-1:].to(torch.uint8)}

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Dice loss plus cross-entropy."""
        logits = self.network(batch["image"]).float()
        return {"dice_ce": self.loss(logits, batch["classes"].long())}

    def scores(self, subjects: Sequence[Volume]) -> list[float]:
        """Mean Dice by subject; NaN for one that shows no organ."""
        return [float(self._dice(subject).nanmean()) for subject in subjects]

    def predict(self, volume: Volume) -> UInt8[Tensor, "x y z"]:
        """Class of every voxel of a prepared volume, by a window that slides over it."""
        return predict(self.network, volume, self.config.patch_size, self.config.overlap)

    def _dice(self, subject: Volume) -> Float[Tensor, " organs"]:
        truth = organ_classes(subject, self.config.organs)
        return dice(self.predict(subject), truth, len(self.config.organs))

    def _material(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        """What `_read` gives, of as many subjects as there is memory for."""
        if index not in self._kept:
            self._kept[index] = self._read(index)
            while len(self._kept) > 1 and sum(_held(whole) for whole, _ in self._kept.values()) > _KEPT:
                del self._kept[next(iter(self._kept))]
        return self._kept[index]

    def _read(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        """Image and classes of a training subject, at least as large as a patch, and where patches may be cut."""
        volume: Volume = self.split.training[index]
        classes = organ_classes(volume, self.config.organs)
        whole = SpatialPad(self.config.patch_size)(torch.cat([volume.data, classes[None].to(volume.data.dtype)]))
        whole = _plain(whole)
        if self.config.by_organ:
            indices: list[Any] = map_classes_to_indices(whole[-1:], len(self.config.organs) + 1)
            if not any(len(found) for found, share in zip(indices, self.crop.ratios, strict=True) if share > 0):
                # Such as a subject without an organ: any voxel will do, as it does where organs are not told apart.
                indices = [torch.cat(indices)] * len(indices)
            return whole, {"indices": indices}
        foreground, background = map_binary_to_indices(whole[-1:])
        return whole, {"fg_indices": foreground, "bg_indices": background}


def _cutter(config: SegmentationConfig) -> Any:
    """Cuts a patch around a voxel of the foreground or of the background, in their shares."""
    organs, share = len(config.organs), config.foreground_share
    if config.by_organ:
        ratios = [1 - share, *(share / organs for _ in config.organs)]
        # A subject need not show every organ; the others share its patches.
        return RandCropByLabelClasses(config.patch_size, ratios, num_classes=organs + 1, num_samples=1, warn=False)
    return RandCropByPosNegLabel(config.patch_size, pos=share, neg=1 - share, num_samples=1)


def _held(whole: Tensor) -> int:
    """Bytes of a subject, and of the indices of its voxels."""
    return whole.nbytes + 8 * whole[0].numel()


def _plain(tracked: Any) -> Tensor:
    """MONAI's tensors without what they remember."""
    return tracked.as_tensor()
