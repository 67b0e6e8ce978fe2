"""Seconds to make one subject of 96^3 voxels, without the cache.

python tests/benchmarks/subjects.py [--subjects 8]
"""

from __future__ import annotations

import argparse

import torch
from rounds import measure, print_table

from voco_lite import samples


def main() -> None:
    """Print a table: a phantom, and a warp of the real CT where it was fetched."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size = (96, 96, 96)
    sides = {"phantom": lambda seed: samples.phantom(seed, size)}
    try:
        samples.abdomen_ct()
        sides["warp of the real CT"] = lambda seed: samples.population_subject(seed, size, source="real")
    except FileNotFoundError as error:
        print(error)
    print_table(measure(sides, arguments.subjects, warm_up=1), "phantom")


if __name__ == "__main__":
    main()
