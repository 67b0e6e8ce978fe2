"""`pretrain`: from a preset and its options to a run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voco_lite.cli.processes import first_process
from voco_lite.config import PretrainConfig

if TYPE_CHECKING:
    from voco_lite.model import VoCo
    from voco_lite.volumes import Volume, VolumeFolder

PARTS = [part.name for part in dataclasses.fields(PretrainConfig)]
_HELD_OUT_SEED = 1000


@dataclass(frozen=True)
class Pretrain(PretrainConfig):
    """Pre-train a model, on sample data or on a folder of scans; the same command continues an interrupted run.

    Attributes:
        preset: Named settings that all other options start from: laptop, ci, workshop-gpu, or published ones
            (cvpr24, tpami25-B, tpami25-L, tpami25-H).
        data: A folder of NIfTI files or DICOM series, or made data: "population" (warps of one real CT) or "phantoms".
        pattern: Keep scans of a folder whose file name fits, such as "*_ct.nii.gz".
        subjects: How many made subjects to train on; a folder is used whole.
        cache: Folder for prepared scans, which runs may share; by default beside the scans of a folder, in a hidden
            folder that a search passes over, or in the user's cache where nothing can be written there.
        held_out: Volumes for the held-out gauges: a number of made subjects, a number of volumes to take from the end
            of the folder, or another folder; 0 measures nothing.
        weights: Official weights that the encoder starts from: a .pt file, or the name of a released one
            (`python -m voco_lite weights`). The projector starts fresh: no released file holds one.
        allow_unverified: Accept weights that have a released name and another digest.
    """

    preset: str = "laptop"  # type: ignore[assignment]  # hides the constructor of that name, on purpose
    data: str = "population"
    pattern: str | None = None
    subjects: int = 24
    cache: str | None = None
    held_out: str = "8"
    weights: str | None = None
    allow_unverified: bool = False

    def run(self) -> None:
        """Train, then say what was learnt and where it lies."""
        from voco_lite import VoCo, VoCoDataset, pretrain

        config = PretrainConfig(**{name: getattr(self, name) for name in PARTS})
        if config.train.run_folder is None:
            config = config.changed(run_folder=str(Path("runs") / f"{self.preset}-{Path(self.data).name}"))
        model = VoCo(config)
        if self.weights is not None:
            self._start(model, self.weights)
        training, held_out = self._volumes(config)
        dataset = VoCoDataset(training, config.crops, seed=config.train.seed)
        history = pretrain(model, dataset, config.train, held_out=held_out)
        if first_process():
            _report(history)

    def _start(self, model: VoCo, weights: str) -> None:
        from voco_lite.official_weights import find_weights, start_from_weights

        report = start_from_weights(model, find_weights(weights), self.allow_unverified)
        if first_process():
            print(report)

    def _volumes(self, config: PretrainConfig) -> tuple[Sequence[Volume], Sequence[Volume]]:
        """Training and held-out volumes; scans of a folder are prepared once and read when they are drawn.

        Raises:
            ValueError: `held_out` is neither a number nor a folder, or leaves nothing to train on.
            FileNotFoundError: `data` is no folder.
        """
        from voco_lite import samples

        number = int(self.held_out) if self.held_out.isdecimal() else None
        if number is None and not Path(self.held_out).exists():
            raise ValueError(
                f"held_out must be a number or a folder, got {self.held_out!r}. Give 0 to measure nothing."
            )
        training: Sequence[Volume]
        others: Sequence[Volume] = []
        if self.data in ("population", "phantoms"):
            source: Any = "auto" if self.data == "population" else "phantom"
            training = samples.population(self.subjects, config.volume, source=source)
            if number:
                others = samples.population(number, config.volume, first_seed=_HELD_OUT_SEED, source=source)
        else:
            training = open_folder(self.data, config, self.pattern, self.cache)
            if number is not None and number >= len(training):
                raise ValueError(
                    f"held_out must leave volumes to train on, got {number} of {len(training)} in {self.data}. Give less."
                )
            if number:
                training, others = training[:-number], training[-number:]
        return training, open_folder(self.held_out, config, self.pattern, self.cache) if number is None else others


def open_folder(data: str, config: PretrainConfig, pattern: str | None, cache: str | None) -> VolumeFolder:
    """The scans of a folder, or a single scan, with a cache that all runs share.

    Raises:
        FileNotFoundError: There is nothing at this path.
    """
    from voco_lite import VolumeFolder, samples

    path = Path(data).expanduser()
    if not path.exists():
        raise FileNotFoundError(f'There is no folder {data}. Give a folder of scans, "population" or "phantoms".')
    place = path if path.is_dir() else path.parent
    beside = place / ".voco_lite_prepared" if os.access(place, os.W_OK) else samples.data_folder() / "prepared"
    return VolumeFolder(path, config.volume, pattern, cache or beside)


def _report(history: Any) -> None:
    """The held-out gauges beside their untrained values, the verdict, and where everything lies."""
    first, last = history.first_held_out, history.last_held_out
    if first is not None:
        for name, label in (
            ("intra_loss", "held-out intra loss"),
            ("top1", "position top-1"),
            ("top1_across", "position top-1 across subjects"),
        ):
            if getattr(last, name) is not None:
                print(f"{label}: {getattr(last, name):.3f} (untrained {getattr(first, name):.3f})")
    for number, (source, reason) in enumerate(history.left_out.items(), start=1):
        # Reasons name their file, as a rule.
        print(f"left out {number}: {reason if source in reason else f'{source}: {reason}'}")
    print(f"Run folder: {history.run_folder}")
