"""What do frozen features know? Region and organ of a crop in another subject, read from trained and random features.

    make demo && python tests/benchmarks/frozen_probes.py [RUN_FOLDER] [--probes linear] [--targets organ "9 regions"]

16 subjects that no run was trained on, 100 crops each. Two probes: nearest neighbours among the crops of the other 15
subjects, and logistic regression, learnt from the subjects of three folds and asked about those of the fourth. Regions
are cells of the source's anatomy, so that a region means the same in every subject; the organ is that of the central
voxel. Random weights differ among themselves: theirs is the mean of five encoders. Averaged intensities need no network:
each crop in 4x4x4 cells. Intervals are over subjects, paired.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from rounds import machine
from torch import Tensor

import voco_lite as vl
from voco_lite.gauges import compare, features_of, knn_by_subject, linear_by_subject, organ_crops, region_crops
from voco_lite.gauges.probes import Encode

FIRST_SEED, SUBJECTS, CROPS, RANDOM_ENCODERS = 5000, 16, 100, 5
ORGANS = ("spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas", "small_bowel",
          "duodenum", "colon", "urinary_bladder", "aorta")  # fmt: skip
Crops = Float[Tensor, "crops channel x y z"]
Drawn = list[tuple[Crops, Int[Tensor, " crops"]]]
PROBES: dict[str, Callable[..., Float[np.ndarray, " subjects"]]] = {"kNN": knn_by_subject, "linear": linear_by_subject}


def by_region(subjects: list[vl.Volume], size: tuple[int, int, int], cells: tuple[int, int, int]) -> Drawn:
    """Crops of each subject and their regions."""
    generator = torch.Generator().manual_seed(0)
    sets = [region_crops(subject, size, CROPS, generator, cells) for subject in subjects]
    return [(one.crops, one.regions) for one in sets]


def by_organ(subjects: list[vl.Volume], size: tuple[int, int, int]) -> Drawn:
    """Crops of each subject and the organs at their middles."""
    generator = torch.Generator().manual_seed(0)
    sets = [organ_crops(subject, size, CROPS, generator, ORGANS) for subject in subjects]
    return [(one.crops, one.organs) for one in sets]


TARGETS: dict[str, Callable[..., Drawn]] = {
    "27 regions": lambda subjects, size: by_region(subjects, size, (3, 3, 3)),
    "9 regions": lambda subjects, size: by_region(subjects, size, (3, 3, 1)),
    "organ": by_organ,
}


def pooled(model: vl.VoCo) -> Encode:
    """What the downstream tasks get of a model."""
    return lambda crops: model.encoder(crops).pooled


def averaged(crops: Crops) -> Float[Tensor, "crops 64"]:
    """Intensities in coarse cells."""
    return F.adaptive_avg_pool3d(crops, 4).flatten(1)


def rows(trained: vl.VoCo, targets: list[str], probes: list[str]) -> Iterator[str]:
    """A line for each target and probe."""
    config = trained.config
    untrained = [vl.VoCo(config.changed(seed=seed)).eval() for seed in range(RANDOM_ENCODERS)]
    subjects = vl.samples.population(SUBJECTS, config.volume, first_seed=FIRST_SEED)
    for target in targets:
        drawn = TARGETS[target](subjects, config.crops.crop_size)
        labels = [one for _, one in drawn]
        encoders = [pooled(trained), averaged, *(pooled(model) for model in untrained)]
        features = [[features_of(encode, crops) for crops, _ in drawn] for encode in encoders]
        for probe in probes:
            learnt, plain, *fresh = [PROBES[probe](one, labels) for one in features]
            gap = compare(learnt, np.mean(fresh, axis=0))
            yield (
                f"| {target} | {probe} | {learnt.mean():.3f} | {np.mean(fresh):.3f} | {plain.mean():.3f} "
                f"| {gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}) |"
            )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", nargs="?", default=None, help="default: the run of `make demo`")
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--probes", nargs="+", choices=list(PROBES), default=list(PROBES))
    given = parser.parse_args()
    folder = given.run_folder or next(Path("runs/demo").glob("*/final.pt"), Path("runs/demo"))
    print(machine())
    print("| what | probe | trained | random weights | averaged intensities | trained minus random, 95 % interval |")
    for row in rows(vl.load_model(folder), given.targets, given.probes):
        print(row, flush=True)


if __name__ == "__main__":
    main()
