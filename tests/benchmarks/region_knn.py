"""Which region is this crop from, in another subject? Nearest neighbours of trained and of random features.

    make demo && python tests/benchmarks/region_knn.py [RUN_FOLDER]

16 subjects that no run was trained on, 100 crops each; the neighbours are crops of the other 15 subjects. Regions are
cells of the source's anatomy, so that a region means the same in every subject. The interval is over subjects, paired.
Random weights differ among themselves: theirs is the mean of five encoders. The last number needs no network:
intensities averaged in 4x4x4 cells of the crop.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import voco_lite as vl
from voco_lite.gauges import RegionCrops, compare, features_of, knn_by_subject, region_crops
from voco_lite.gauges.probes import Encode

FIRST_SEED, SUBJECTS, CROPS, RANDOM_ENCODERS = 5000, 16, 100, 5


def pooled(model: vl.VoCo) -> Encode:
    """What the downstream tasks get of a model."""
    return lambda crops: model.encoder(crops).pooled


def score(encode: Encode, sets: list[RegionCrops]) -> Any:
    """Accuracy on each subject."""
    return knn_by_subject([features_of(encode, s.crops) for s in sets], [s.regions for s in sets])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", nargs="?", default=None, help="default: the run of `make demo`")
    folder = parser.parse_args().run_folder or next(Path("runs/demo").glob("*/final.pt"), Path("runs/demo"))
    trained = vl.load_model(folder)
    config = trained.config
    untrained = [vl.VoCo(config.changed(seed=seed)).eval() for seed in range(RANDOM_ENCODERS)]
    subjects = vl.samples.population(SUBJECTS, config.volume, first_seed=FIRST_SEED)
    for regions in ((3, 3, 3), (3, 3, 1)):
        generator = torch.Generator().manual_seed(0)
        sets = [region_crops(s, config.crops.crop_size, CROPS, generator, regions) for s in subjects]
        scores = {
            "trained": score(pooled(trained), sets),
            "random": np.mean([score(pooled(model), sets) for model in untrained], axis=0),
            "averaged intensities": score(lambda crops: F.adaptive_avg_pool3d(crops, 4).flatten(1), sets),
        }
        print(f"{regions[0] * regions[1] * regions[2]} regions:", end=" ")
        print(", ".join(f"{name} {score.mean():.3f}" for name, score in scores.items()))
        gap = compare(scores["trained"], scores["random"])
        print(f"  trained minus random: {gap.difference:.3f}, 95 % interval {gap.low:.3f} to {gap.high:.3f}")


if __name__ == "__main__":
    main()
