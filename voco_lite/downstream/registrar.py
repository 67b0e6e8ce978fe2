"""A trained registration network, as a file holds it, and how near ways to register come to the known truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from voco_lite.checkpoints import load_weights
from voco_lite.config import EncoderConfig, VolumeConfig
from voco_lite.downstream.affine import find_affine
from voco_lite.downstream.deformation import folded_share, target_errors_mm
from voco_lite.downstream.flow import FlowNetwork, joint_encoder
from voco_lite.downstream.pairs import Pair, in_a_ring, known_matches
from voco_lite.downstream.registration import Field, RegistrationConfig, find_field, overlap
from voco_lite.downstream.start import Start
from voco_lite.downstream.stored import read_stored
from voco_lite.encoders import build_encoder
from voco_lite.volumes import Volume

_NAME = "registration"
POINTS = 300
Register = Callable[[Pair], Field]


@dataclass(frozen=True, eq=False)
class Registrar:
    """A network with what it needs to register two scans.

    Attributes:
        network: In evaluation mode.
        config: How it was trained.
        volume: How scans have to be prepared.
    """

    network: FlowNetwork
    config: RegistrationConfig
    volume: VolumeConfig

    def register(self, pair: Pair) -> Field:
        """Displacement in voxels, (3, x, y, z): the fixed scan's voxel p matches p + u(p) of the moving one."""
        return find_field(self.network, pair, find_affine(pair) if self.config.affine else None)


def load_registrar(path: str | Path) -> Registrar:
    """The network of a checkpoint or run folder of a registration.

    Raises:
        FileNotFoundError: No such file, or a folder without a checkpoint.
        ValueError: The file is no readable checkpoint, or not that of a registration.
    """
    stored = read_stored(path, _NAME)
    config = stored.part(_NAME, RegistrationConfig)
    volume = stored.part("volume", VolumeConfig)
    encoder = stored.part("encoder", EncoderConfig)
    network = FlowNetwork(joint_encoder(Start(build_encoder(encoder, seed=0), encoder, volume), seed=0))
    load_weights(network, stored.weights, stored.file)
    return Registrar(network.eval(), config, volume)


@dataclass(frozen=True)
class PairScore:
    """One row: how well one way registered one pair.

    Attributes:
        way: Its name.
        fixed, moving: Sources of the two subjects.
        target_mm: Mean distance of known points from their true match, in mm of the moving scan.
        dice: Mean over the organs that the fixed scan shows, of warped labels.
        folded: Share of voxels where space folds over itself.
    """

    way: str
    fixed: str
    moving: str
    target_mm: float
    dice: float
    folded: float


@dataclass(frozen=True)
class RegistrationScores:
    """Every way on every pair; prints as a table of means.

    Attributes:
        rows: One by one.
    """

    rows: tuple[PairScore, ...]

    @property
    def ways(self) -> list[str]:
        """Their names, in order."""
        return list(dict.fromkeys(row.way for row in self.rows))

    def of(self, way: str, metric: str = "target_mm") -> Float[ndarray, " pairs"]:
        """One score of one way, pair by pair.

        Raises:
            ValueError: Unknown way or metric.
        """
        if way not in self.ways or metric not in ("target_mm", "dice", "folded"):
            raise ValueError(
                f"way must be one of {', '.join(self.ways)} and metric target_mm, dice or folded, got {way!r} and "
                f"{metric!r}."
            )
        return np.array([getattr(row, metric) for row in self.rows if row.way == way])

    def __str__(self) -> str:
        width = max(len(way) for way in self.ways)
        lines = [f"{'mean over pairs':{max(width, 15)}}  target error mm   Dice  folded"]
        for way in self.ways:
            error, dice, folded = (self.of(way, metric).mean() for metric in ("target_mm", "dice", "folded"))
            lines.append(f"{way:{max(width, 15)}}  {error:15.1f}  {dice:5.3f}  {folded:6.2%}")
        return "\n".join(lines)


def examine(
    ways: Mapping[str, Register],
    subjects: Sequence[Volume],
    organs: Sequence[str],
    points: int = POINTS,
    seed: int = 0,
) -> RegistrationScores:
    """Score ways to register against the known warps of made subjects, each once as the fixed scan.

    Args:
        ways: From a pair to a displacement in voxels, by name.
        subjects: At least two, of one source.
        organs: Whose labels are warped.
        points: Known matches of a pair; all ways are scored at the same ones.
        seed: Of their draw.

    Raises:
        ValueError: A single subject, sizes or sources that differ, a scan whose warp is unknown, or no way.
    """
    if not ways or len(subjects) == 0:
        raise ValueError(
            f"examine needs ways and subjects, got {len(ways)} and {len(subjects)}. Give at least one way."
        )
    rows = []
    for pair in in_a_ring(subjects):
        fixed, moving = known_matches(pair, points, seed)
        for way, register in ways.items():
            field = register(pair)
            error = float(target_errors_mm(field, fixed, moving, pair.moving.spacing).mean())
            dice = float(overlap(field, pair, organs).nanmean())
            rows.append(PairScore(way, pair.fixed.source, pair.moving.source, error, dice, folded_share(field)))
    return RegistrationScores(tuple(rows))
