"""`weights`: which official weights there are, what a file holds, and a trained encoder as a file for MONAI."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from voco_lite.cli.printing import show


@dataclass(frozen=True)
class Weights:
    """List the official weights, fetch or load one with a report, or export a trained encoder for MONAI.

    Attributes:
        action: "list" shows the released files with size and SHA-256, "fetch" downloads one, "load" loads one into the
            encoder that fits and prints what became of every tensor, "export" writes the encoder of a run as a state
            dict that `monai.networks.nets.SwinUNETR(use_v2=True)` loads strictly.
        source: For "fetch" a released name, for "load" a file or a released name, for "export" a run folder or a
            checkpoint.
        encoder: Encoder to load into; left out: the one whose width the file has.
        allow_unverified: Load a file that has a released name and another digest.
        inflate_channels: Repeat the one input channel of the file for all channels of the encoder.
        in_channels: Input channels of the encoder to load into.
        out: File to write; left out: swinunetr.pt beside the checkpoint.
        out_channels: Classes of the network that shall load the exported file; 0 leaves its decoder out.
    """

    action: Positional[Literal["list", "fetch", "load", "export"]] = "list"
    source: Positional[str | None] = None
    encoder: str | None = None
    allow_unverified: bool = False
    inflate_channels: bool = False
    in_channels: int = 1
    out: str | None = None
    out_channels: int = 21

    def run(self) -> None:
        """Do it, and print what came of it."""
        if self.action == "list":
            show(_released())
            return
        if self.source is None:
            wanted = {"fetch": "a released name", "load": "a file or a released name", "export": "a run folder"}
            raise ValueError(
                f"weights {self.action} needs {wanted[self.action]}, got nothing. "
                "Known names: python -m voco_lite weights list."
            )
        {"fetch": self._fetch, "load": self._load, "export": self._export}[self.action](self.source)

    def _fetch(self, name: str) -> None:
        from voco_lite.official_weights import download_official_weights

        print(download_official_weights(name))

    def _load(self, source: str) -> None:
        from voco_lite.config import EncoderConfig
        from voco_lite.encoders import build_encoder
        from voco_lite.official_weights import describe_weights, find_weights, fitting_encoder, load_official_weights

        file = find_weights(source)
        print(describe_weights(file))
        # The norm of the released nnU-Net encoder; Swin encoders have none to choose.
        config = EncoderConfig(self.encoder or fitting_encoder(file), norm="instance")
        encoder = build_encoder(config, self.in_channels)
        print(load_official_weights(encoder, file, self.allow_unverified, self.inflate_channels))

    def _export(self, source: str) -> None:
        from voco_lite.checkpoints import load_model
        from voco_lite.official_weights import export_swinunetr

        place = Path(source)
        target = Path(self.out) if self.out else (place if place.is_dir() else place.parent) / "swinunetr.pt"
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            export_swinunetr(load_model(place), target, self.out_channels or None)
        show([str(one.message) for one in said])
        print(target)


def _released() -> list[str]:
    from voco_lite.official_weights import KNOWN_FILES

    return [
        f"{file.name:20s} {file.size:>12s}  {file.encoder}  {file.digest}\n{'':20s} {file.content}"
        for file in KNOWN_FILES.values()
    ]
