"""Which region is this crop from, in another subject? Nearest neighbours of trained and of random features.

    make demo && python tests/benchmarks/region_knn.py [RUN_FOLDER]

16 subjects that no run was trained on, 100 crops each; the neighbours are crops of the other 15 subjects. Regions are
cells of the source's anatomy, so that a region means the same in every subject. The interval is over subjects, paired.
The third line needs no network: intensities averaged in 4x4x4 cells of the crop.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F

import voco_lite as vl
from voco_lite.gauges import compare, features_of, knn_by_subject, region_crops

FIRST_SEED, SUBJECTS, CROPS = 5000, 16, 100


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", nargs="?", default="runs/demo/run")
    folder = parser.parse_args().run_folder
    trained = vl.load_model(folder)
    untrained = vl.VoCo(trained.config).eval()
    config = trained.config
    subjects = vl.samples.population(SUBJECTS, config.volume, first_seed=FIRST_SEED)
    encoders = {
        "trained": lambda crops: trained.encoder(crops).pooled,
        "random": lambda crops: untrained.encoder(crops).pooled,
        "averaged intensities": lambda crops: F.adaptive_avg_pool3d(crops, 4).flatten(1),
    }
    for regions in ((3, 3, 3), (3, 3, 1)):
        generator = torch.Generator().manual_seed(0)
        sets = [region_crops(s, config.crops.crop_size, CROPS, generator, regions) for s in subjects]
        labels = [s.regions for s in sets]
        scores = {
            name: knn_by_subject([features_of(encode, s.crops) for s in sets], labels)
            for name, encode in encoders.items()
        }
        print(f"{regions[0] * regions[1] * regions[2]} regions:", end=" ")
        print(", ".join(f"{name} {score.mean():.3f}" for name, score in scores.items()))
        gap = compare(scores["trained"], scores["random"])
        print(f"  trained minus random: {gap.difference:.3f}, 95 % interval {gap.low:.3f} to {gap.high:.3f}")


if __name__ == "__main__":
    main()
