"""Registration: bend one scan until it looks like another, by a loss that looks at no label."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from monai.losses import DiffusionLoss, LocalNormalizedCrossCorrelationLoss
from torch import Tensor
from torch.utils.data import get_worker_info

from voco_lite.config.plain import plain
from voco_lite.downstream.affine import AffineMap, find_affine, no_displacement
from voco_lite.downstream.deformation import follow
from voco_lite.downstream.flow import FlowNetwork, build_flow, warp_labels, warp_scans
from voco_lite.downstream.metrics import dice
from voco_lite.downstream.organs import organ_classes, require_organs
from voco_lite.downstream.pairs import Pair, in_a_ring
from voco_lite.downstream.split import Split
from voco_lite.downstream.start import Start
from voco_lite.downstream.task import Task
from voco_lite.volumes import Volume

Field = Float[Tensor, "3 x y z"]


@dataclass(frozen=True)
class RegistrationConfig:
    """What counts as alike and as smooth.

    Attributes:
        window: Side in voxels of the cubes in which intensities are correlated, odd; published: 9.
        smoothness: Weight of the diffusion loss, the mean squared slope of the displacement; published: 1.
        affine: Align each pair by an affine map first, so that the network has to find only what is left.
        organs: Their overlap after warping decides which weights are kept; training does not see them.
    """

    window: int = 9
    smoothness: float = 1.0
    affine: bool = True
    organs: tuple[str, ...] = ("spleen", "kidney_right", "kidney_left", "liver", "urinary_bladder", "aorta")

    def __post_init__(self) -> None:
        require_organs(self.organs)
        if self.window < 3 or self.window % 2 == 0 or self.smoothness < 0:
            raise ValueError(
                f"window must be odd and at least 3 and smoothness at least 0, got {self.window} and "
                f"{self.smoothness}. Take the defaults: 9 and 1."
            )


class RegistrationTask(Task):
    """Learn to register any two subjects; the score of a subject is the mean Dice of labels warped onto it.

    Loss: local normalised cross-correlation plus diffusion, as in the released code. Each validation subject is the
    fixed scan once, with the next one as the moving scan.

    Args:
        start: The encoder, of one channel.
        split: Prepared subjects of one size: at least two to train on, and two or none to validate with.
        config: What and how.
        seed: Of the new weights.

    Raises:
        ValueError: A size that the encoder cannot take, sizes that differ, or a group of one subject.
    """

    network: FlowNetwork

    def __init__(self, start: Start, split: Split, config: RegistrationConfig, seed: int = 0) -> None:
        start.encoder.require_size(in_a_ring(split.training)[0].fixed.shape)
        in_a_ring([split.training[0], *split.validation] if split.validation else split.training)
        in_a_ring(split.validation)
        super().__init__(build_flow(start, seed), split)
        self.start, self.config = start, config
        self.similarity = LocalNormalizedCrossCorrelationLoss(kernel_size=config.window)
        self.diffusion = DiffusionLoss()
        self._affine: dict[tuple[str | int, ...], AffineMap] = {}

    def describe(self) -> dict[str, Any]:
        """Encoder, preparation and choices."""
        parts: dict[str, Any] = {"encoder": self.start.config, "volume": self.start.volume, "registration": self.config}
        return {"name": "registration", **{name: plain(asdict(part)) for name, part in parts.items()}}

    def sample(self, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """A subject as the fixed scan, and another one, aligned, as the moving scan: (channel, x, y, z) each.

        The affine map of two subjects is found when they first meet.

        Raises:
            ValueError: A loader process asks for an affine map that is not found yet.
        """
        others = len(self.split.training) - 1
        other = (index + 1 + int(torch.randint(others, (), generator=generator))) % (others + 1)
        pair = Pair(self.split.training[other], self.split.training[index])
        affine = self._affine_map(pair, ("training", other, index))
        return {"moving": pair.moving.data if affine is None else aligned(pair, affine), "fixed": pair.fixed.data}

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Negative local correlation, and the weighted diffusion."""
        fields = self.network(batch["moving"], batch["fixed"])
        warped = warp_scans(batch["moving"], fields)
        with torch.autocast(fields.device.type, enabled=False), warnings.catch_warnings():
            # MONAI 1.6 indexes in a way that torch 2.13 warns of at every call.
            warnings.filterwarnings("ignore", message=".*non-tuple sequence")
            unlike = self.similarity(warped, batch["fixed"].float())
            return {"similarity": unlike, "diffusion": self.config.smoothness * self.diffusion(fields)}

    def scores(self, subjects: Sequence[Volume]) -> list[float]:
        """Mean Dice of the organs that the subject shows, after warping the next subject's onto it.

        Affine maps of validation subjects, which are scored at every look, are kept.
        """
        kept, scores = subjects is self.split.validation, []
        for number, pair in enumerate(in_a_ring(subjects)):
            affine = self._affine_map(pair, ("validation", number) if kept else None)
            field = find_field(self.network, pair, affine)
            scores.append(float(overlap(field, pair, self.config.organs).nanmean()))
        return scores

    def register(self, pair: Pair) -> Field:
        """Displacement in voxels, on the CPU; the network has to be in evaluation mode."""
        return find_field(self.network, pair, self._affine_map(pair))

    def _affine_map(self, pair: Pair, key: tuple[str | int, ...] | None = None) -> AffineMap | None:
        """Aligns a pair; with a key it is found once. None where pairs are not aligned."""
        if not self.config.affine:
            return None
        if key is not None and key in self._affine:
            return self._affine[key]
        if get_worker_info() is not None:
            # Gradients cannot be computed in a forked process once a GPU has computed some.
            raise ValueError(
                "Affine maps must be found in the main process, got a loader process. Fine-tune with workers=0, or set "
                "affine=False."
            )
        found = find_affine(pair)
        if key is not None:
            self._affine[key] = found
        return found


@torch.no_grad()
def find_field(network: FlowNetwork, pair: Pair, affine: AffineMap | None) -> Field:
    """Displacement that a network in evaluation mode finds, in voxels, on the CPU.

    Args:
        network: In evaluation mode.
        pair: What is registered.
        affine: Aligns the pair first, if given; the displacement is that of both, one after the other.
    """
    device = network.velocity.weight.device
    moving = pair.moving.data if affine is None else aligned(pair, affine)
    field = network(moving[None].to(device), pair.fixed.data[None].to(device))[0].cpu()
    return field if affine is None else follow(field, affine)


def aligned(pair: Pair, affine: AffineMap) -> Float[Tensor, "channel x y z"]:
    """The moving scan in the fixed one's place, by an affine map alone."""
    return warp_scans(pair.moving.data[None], follow(no_displacement(pair), affine)[None])[0]


def overlap(field: Field, pair: Pair, organs: Sequence[str]) -> Float[Tensor, " organs"]:
    """Dice of each organ between the fixed scan and the warped moving one; NaN where the fixed scan lacks it."""
    moved = warp_labels(organ_classes(pair.moving, organs), field)
    return dice(moved, organ_classes(pair.fixed, organs), len(organs))
