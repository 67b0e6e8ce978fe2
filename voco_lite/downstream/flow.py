"""The network that registers two scans: a pre-trained encoder that sees both, and a displacement for every voxel.

Layers of warping and integration are MONAI's (`Warp`, `DVF2DDF`); they compute in float32 under autocast too, since
half precision cannot tell neighbouring voxels of a scan apart.
"""

from __future__ import annotations

import math
import warnings

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from monai.networks.blocks import DVF2DDF, Warp
from torch import Tensor, nn

from voco_lite.downstream.start import Start
from voco_lite.downstream.task import TaskNetwork
from voco_lite.downstream.unet import climb, upward
from voco_lite.encoders import Encoder, build_encoder
from voco_lite.encoders.seeding import seeded
from voco_lite.official_weights.loading import match_names

Scans = Float[Tensor, "pairs channel x y z"]
Fields = Float[Tensor, "pairs 3 x y z"]
_SEEN_AT_ONCE = 2  # scans


def joint_encoder(start: Start, seed: int) -> Encoder:
    """The encoder of a start for two channels: moving and fixed scan.

    The mean of both scans passes the pre-trained first convolutions (copied for each channel and halved), their
    difference passes fresh ones. So two equal scans get the features that one of them had, and yet the network can tell
    which of the two moves; copies alone would see the mean and nothing else.

    Args:
        start: With one input channel.
        seed: Of the fresh weights.
    """
    joint = build_encoder(start.config, _SEEN_AT_ONCE, seed)
    fresh = joint.state_dict()
    match = match_names(fresh, start.encoder.state_dict(), inflate_channels=True)
    weights = dict(match.fitting)
    for name in match.inflated:
        difference = (fresh[name][:, :1] - fresh[name][:, 1:]) / 2
        weights[name] = weights[name] + torch.cat([difference, -difference], dim=1)
    joint.load_state_dict(weights)
    return joint


class FlowNetwork(TaskNetwork):
    """Where each voxel of the fixed scan lies in the moving one.

    A U-Net's decoder gives a velocity at the resolution of the encoder's finest map; its flow is the displacement, which
    cannot fold where the velocity is smooth. It starts as no displacement at all.

    Args:
        encoder: Of two channels.
    """

    encoder: Encoder

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.ups = upward(encoder.channels, encoder.strides)
        self.velocity = nn.Conv3d(encoder.channels[0], 3, 3, padding=1)
        for parameter in self.velocity.parameters():
            nn.init.zeros_(parameter)

    def forward(self, moving: Scans, fixed: Scans) -> Fields:
        """Displacement in voxels, float32: what lies at p in the fixed scan lies at p + u(p) in the moving one.

        Raises:
            ValueError: A single voxel in the coarsest map, of which batch norm can learn no variance.
        """
        self._require_statistics(moving)
        maps = self.encoder(torch.cat([moving, fixed], dim=1)).maps
        return flow(self.velocity(climb(self.ups, maps)), self.encoder.strides[0])

    def _require_statistics(self, scans: Scans) -> None:
        voxels = len(scans) * math.prod(n // self.encoder.strides[-1] for n in scans.shape[2:])
        batch_norm = any(isinstance(layer, nn.BatchNorm3d) for layer in self.encoder.modules())
        if self.encoder.training and batch_norm and voxels < 2:
            raise ValueError(
                f"Batch norm needs at least 2 voxels of the coarsest map in a batch, got 1: one pair of "
                f"{tuple(scans.shape[2:])} voxels at stride {self.encoder.strides[-1]}. Take larger scans or a larger "
                "batch_size."
            )


def flow(velocity: Fields, stride: int = 1) -> Float[Tensor, "pairs 3 X Y Z"]:
    """Displacement after unit time, on a grid that is `stride` times as fine, in voxels of that grid."""
    with torch.autocast(velocity.device.type, enabled=False):
        coarse = _layer(DVF2DDF)(velocity.float())
        return stride * F.interpolate(coarse, scale_factor=stride, mode="trilinear") if stride > 1 else coarse


def warp_scans(scans: Scans, fields: Fields) -> Scans:
    """The moving scans as the fixed ones show them, float32; beyond the border its value there."""
    with torch.autocast(scans.device.type, enabled=False):
        return _layer(Warp)(scans.float(), fields.float())


def warp_labels(labels: Shaped[Tensor, "x y z"], field: Float[Tensor, "3 x y z"]) -> Shaped[Tensor, "x y z"]:
    """The moving scan's labels where the fixed one would show them; each voxel takes its nearest."""
    return _layer(Warp, mode="nearest")(labels[None, None].float(), field[None].float())[0, 0].to(labels.dtype)


def build_flow(start: Start, seed: int) -> FlowNetwork:
    """The network on an encoder, which is copied; the seed decides the new weights."""
    encoder = joint_encoder(start, seed)
    with seeded(seed):
        return FlowNetwork(encoder)


def _layer(kind: type[nn.Module], **options: str) -> nn.Module:
    """A layer made for one use: kept ones remember the device of their first."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*native grid_sample")
        return kind(padding_mode="border", **options)
