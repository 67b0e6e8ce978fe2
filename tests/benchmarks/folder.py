"""Opening folders of 100, 1,000 and 10,000 scans: seconds and memory, until the first batch is there.

    python tests/benchmarks/folder.py [--scans 100 1000 10000]

The scans are small NIfTI files: what is measured is what grows with their number. Each folder is opened in a process of
its own; memory is what Python allocated for it.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
from rounds import machine

from voco_lite import PretrainConfig, VoCoDataset, VolumeConfig, VolumeFolder

_SHAPE = (8, 8, 8)


def main() -> None:
    """Print a line for each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--open", default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        _open(Path(arguments.open))
        return
    print(machine())
    print(f"{'scans':>8s}{'open':>11s}{'data set':>11s}{'batch':>11s}{'allocated':>12s}{'a scan':>10s}")
    for count in arguments.scans:
        with tempfile.TemporaryDirectory() as place:
            _write(Path(place), count)
            subprocess.run([sys.executable, __file__, "--open", place], check=True)


def _write(place: Path, count: int) -> None:
    """Scans in folders of a hundred."""
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random(_SHAPE, np.float32), np.eye(4)), place / "one.nii")
    content = (place / "one.nii").read_bytes()
    (place / "one.nii").unlink()
    for number in range(count):
        folder = place / f"{number // 100:04d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:06d}.nii").write_bytes(content)


def _open(place: Path) -> None:
    crops = PretrainConfig.preset("ci", crop_size=(2, 2, 2), cells=(2, 2, 1)).crops
    # What is loaded once, whatever the number of scans, shall not count.
    first = VolumeFolder([next(place.rglob("*.nii"))], VolumeConfig("none", None, None, None))
    VoCoDataset(first, crops).batch([0])
    tracemalloc.start()
    times = [time.perf_counter()]
    folder = VolumeFolder(place, VolumeConfig("none", None, None, None))
    times.append(time.perf_counter())
    data = VoCoDataset(folder, crops)
    times.append(time.perf_counter())
    data.collate(data.__getitems__([0, 1, 2, 3]))
    times.append(time.perf_counter())
    allocated, _ = tracemalloc.get_traced_memory()
    opened, made, drawn = (f"{(b - a) * 1e3:8.1f} ms" for a, b in itertools.pairwise(times))
    print(f"{len(folder):8d}{opened}{made}{drawn}{allocated / 1e6:9.2f} MB{allocated / len(folder):8.0f} B")


if __name__ == "__main__":
    main()
