"""The encoders by name. An encoder turns crops into feature maps and one pooled vector per crop.

A new one needs a module with the attributes of `Encoder` and one line, `@register("my-encoder")`, over a function that
builds it from an `EncoderConfig`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from voco_lite.config import EncoderConfig
from voco_lite.encoders.seeding import seeded


class EncoderOutput(NamedTuple):
    """What an encoder gives.

    Attributes:
        maps: Feature maps from fine to coarse, each (crops, channels, x, y, z).
        pooled: One vector per crop, what the projector gets.
    """

    maps: list[Float[Tensor, "crops channels x y z"]]
    pooled: Float[Tensor, "crops feature_dim"]


class Encoder(nn.Module):
    """Base of all encoders.

    Attributes:
        feature_dim: Width of the pooled vector.
        channels: Channels of each feature map.
        strides: Voxels of the input per voxel of each feature map.
        size_multiple: Crop sizes must be multiples of it.
        minimum_size: Side of the smallest cube that can be trained with.
    """

    feature_dim: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    size_multiple: int
    minimum_size: int

    def require_size(self, size: tuple[int, ...]) -> None:
        """Check a crop size.

        Raises:
            ValueError: A size that the encoder cannot halve to its coarsest map.
        """
        if any(n % self.size_multiple or n < self.minimum_size for n in size):
            raise ValueError(
                f"{type(self).__name__} takes crops whose sizes are multiples of {self.size_multiple} and at least "
                f"{self.minimum_size} voxels, got {tuple(size)}. Change crops.crop_size or crops.network_size."
            )


Build = Callable[[EncoderConfig, int], Encoder]
ENCODERS: dict[str, Build] = {}


def register(name: str) -> Callable[[Build], Build]:
    """Put a function that builds an encoder from (configuration, input channels) under a name.

    Raises:
        ValueError: The name is taken by another function.
    """

    def add(build: Build) -> Build:
        taken = ENCODERS.get(name)
        # A notebook cell that is run again defines the same function anew.
        if taken is not None and (taken.__module__, taken.__qualname__) != (build.__module__, build.__qualname__):
            raise ValueError(f"The encoder name {name!r} is taken. Choose one besides {', '.join(sorted(ENCODERS))}.")
        ENCODERS[name] = build
        return build

    return add


def build_encoder(config: EncoderConfig, in_channels: int = 1, seed: int | None = None) -> Encoder:
    """The encoder that a configuration names.

    Args:
        config: Name and choices.
        in_channels: Channels of the crops.
        seed: Seed of its weights; None: drawn from torch's global generator, as other modules do.

    Raises:
        ValueError: Unknown name.
    """
    if config.name not in ENCODERS:
        raise ValueError(
            f"encoder.name must be one of {', '.join(sorted(ENCODERS))}, got {config.name!r}. "
            "Register your own with `voco_lite.encoders.register`."
        )
    if seed is None:
        return ENCODERS[config.name](config, in_channels)
    with seeded(seed):
        return ENCODERS[config.name](config, in_channels)
