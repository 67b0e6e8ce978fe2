"""Does the step wait for its data? The loader alone, and the step with 0, 1 and 2 loader processes.

    python tests/benchmarks/loader.py [--preset laptop] [--workers 0 1 2] [--steps 20] [--threads 1] [--scans 16]

Two sources: prepared volumes in memory, and a folder of NIfTI files that were prepared once beside it. "fed" is the step
on one batch again and again, which never waits; "waits" is the share of a step that is spent waiting for the next batch.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from rounds import machine
from runs_of_noise import started

from voco_lite import PretrainConfig, VolumeFolder
from voco_lite.crops import CropGrid
from voco_lite.train.run import Run

_WARM_UP = 3


def main() -> None:
    """Print a table for each source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scans", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.preset}, {machine()}")
    config = PretrainConfig.preset(arguments.preset, progress=False)
    with tempfile.TemporaryDirectory() as place:
        folder = prepared_folder(Path(place), arguments.scans, config)
        for name, volumes in (("in memory", [*folder]), ("folder", folder)):
            print(
                f"\n{name:10s}{'workers':>8s}{'batches/s':>11s}{'step':>10s}{'fed':>10s}{'step/fed':>10s}{'waits':>8s}"
            )
            for workers in arguments.workers:
                _print_row(name, workers, config.changed(workers=workers), volumes, arguments.steps)


def prepared_folder(place: Path, scans: int, config: PretrainConfig) -> VolumeFolder:
    """A folder of noise in HU, prepared once."""
    size, chance = config.volume.size or CropGrid.from_config(config.crops).block_size, np.random.default_rng(0)
    for number in range(scans):
        hu = chance.normal(40, 200, size).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(hu, np.eye(4)), place / f"{number:04d}.nii.gz")
    folder = VolumeFolder(place, config.volume, cache=place / "prepared")
    for _ in folder:
        pass
    return folder


def _print_row(name: str, workers: int, config: PretrainConfig, volumes: Sequence[Any], steps: int) -> None:
    with started(config, volumes) as run:
        loading = _loading(run, steps)
    with started(config, volumes) as run:
        batch = run.dataset.batch(range(config.train.batch_size), run.device)
        stepping, waiting, fed = _stepping(run, batch, steps)
    print(
        f"{name:10s}{workers:8d}{1 / loading:11.1f}{stepping * 1e3:7.1f} ms{fed * 1e3:7.1f} ms{stepping / fed:10.2f}"
        f"{waiting / stepping:8.1%}"
    )


def _loading(run: Run, steps: int) -> float:
    """Seconds of a batch when nothing else is done."""
    list(islice(run.micro_batches, _WARM_UP))
    began = time.perf_counter()
    list(islice(run.micro_batches, steps))
    return (time.perf_counter() - began) / steps


def _stepping(run: Run, batch: Any, steps: int) -> tuple[float, float, float]:
    """Median seconds of a step with loading, of its waiting, and of a step that is fed; they take turns."""
    loader = run.micro_batches
    seconds: dict[str, list[float]] = {"step": [], "wait": [], "fed": []}
    for number in range(1, 2 * (steps + _WARM_UP), 2):
        began = time.perf_counter()
        following = next(loader)
        waited = time.perf_counter() - began
        run.micro_batches = (pair for pair in [following])
        run.take_step(number)
        seconds["step"].append(time.perf_counter() - began)
        seconds["wait"].append(waited)
        began = time.perf_counter()
        run.micro_batches = (pair for pair in [(0, batch)])
        run.take_step(number + 1)
        seconds["fed"].append(time.perf_counter() - began)
    run.micro_batches = loader
    step, wait, fed = (float(np.median(values[_WARM_UP:])) for values in seconds.values())
    return step, wait, fed


if __name__ == "__main__":
    main()
