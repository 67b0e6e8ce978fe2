"""One pre-training run as a value: named settings, single changes, to and from a plain table."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any

from voco_lite.config.parts import (
    CropConfig,
    EncoderConfig,
    ObjectiveConfig,
    ObjectiveName,
    TrainConfig,
    VolumeConfig,
    require,
)
from voco_lite.config.plain import build, plain


@dataclass(frozen=True)
class PretrainConfig:
    """One pre-training run, whole: stored in every checkpoint, shown by `python -m voco_lite pretrain --help`."""

    volume: VolumeConfig = field(default_factory=VolumeConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> PretrainConfig:
        """A named configuration, with single fields changed: `PretrainConfig.preset("laptop", steps=100, seed=1)`.

        Args:
            name: A key of `voco_lite.config.PRESETS`.
            changes: Fields of any part; a name that two parts share takes its part: `objective__name="cvpr24"`.

        Raises:
            ValueError: Unknown preset, unknown field, or a field name that several parts have.
        """
        from voco_lite.config.presets import PRESETS  # they are made of this class

        require(
            name in PRESETS,
            f"preset must be one of {sorted(PRESETS)}, got {name!r}. Take the nearest and change its fields.",
        )
        return PRESETS[name].changed(**changes)

    def changed(self, **changes: Any) -> PretrainConfig:
        """This configuration with single fields changed; names as in `preset`.

        A change to `mode="official"` brings the released rules of crops, order, schedule and encoder too, except for
        fields that are changed by name. A change back leaves those as they are.

        Raises:
            ValueError: Unknown field, a field name that several parts have, or a value of the wrong type.
        """
        by_part: dict[str, dict[str, Any]] = {}
        for key, value in changes.items():
            part, name = _owner(key)
            by_part.setdefault(part, {})[name] = value
        objective, start = by_part.get("objective", {}), self
        if objective.get("mode") == "official" and self.objective.mode != "official":
            start = _as_released(self, objective.get("name", self.objective.name))
        parts = {part: dataclasses.replace(getattr(start, part), **values) for part, values in by_part.items()}
        changed = dataclasses.replace(start, **parts)
        # Dataclasses take any type: 2.5 steps, or a mode that is misspelt, shall not wait for the training to fail.
        return typing.cast(PretrainConfig, build(type(changed), changed.to_dict(), "config"))

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings: safe to store and to print as JSON."""
        return typing.cast(dict[str, Any], plain(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PretrainConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: A field that this version does not know, or a value of the wrong type.
        """
        return typing.cast(PretrainConfig, build(cls, values, "config"))


def _as_released(config: PretrainConfig, name: ObjectiveName) -> PretrainConfig:
    """The released rules outside the objective's table (`voco_lite.objectives` holds the others)."""
    return dataclasses.replace(
        config,
        # The 2024 code converts its batch norms for several processes, and shuffles anew; the 2025 code does neither.
        objective=dataclasses.replace(config.objective, synchronized=name == "cvpr24"),
        encoder=dataclasses.replace(config.encoder, merging="legacy"),
        crops=dataclasses.replace(config.crops, open_border=True, official_odd=True, seeded=False),
        train=dataclasses.replace(config.train, drop_last=False, reshuffle=name != "tpami25", start_at_zero=True),
    )


def _owner(key: str) -> tuple[str, str]:
    """Part and field that a change names."""
    parts = {
        f.name: {g.name for g in dataclasses.fields(type(getattr(PretrainConfig(), f.name)))}
        for f in dataclasses.fields(PretrainConfig)
    }
    part, _, name = key.rpartition("__")
    owners = [p for p, names in parts.items() if name in names and part in ("", p)]
    known = sorted({n for names in parts.values() for n in names})
    require(bool(owners), f"{key!r} is no field of a configuration. Known fields: {', '.join(known)}.")
    require(
        len(owners) == 1, f"{key!r} is a field of {' and '.join(owners)}. Say which, such as {owners[0]}__{name}=…."
    )
    return owners[0], name
