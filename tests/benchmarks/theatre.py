"""By which share does watching slow a training? The same seeded run with and without the theatre, in turn.

    python tests/benchmarks/theatre.py [--preset laptop] [--steps 300] [--rounds 3]

The theatre has its default cadence. "slower" compares whole runs by the clock and by the processor's time, which a busy
machine disturbs less; "own clock" is what the theatre itself counted, gauges (embedding the watched crops) and drawing
apart. Both sides must end with the same weights.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from rounds import machine
from torch import Tensor

import voco_lite as vl
from voco_lite import viewers


def main() -> None:
    """Print the seconds of each side, and the share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{arguments.preset}, {arguments.steps} steps, {machine()}")
    config = vl.PretrainConfig.preset(arguments.preset, steps=arguments.steps, progress=False, gauge_every=0)
    volumes = vl.samples.population(config.train.batch_size, config.volume, source="phantom")
    watched = vl.samples.population(2, config.volume, source="phantom", first_seed=1000)
    run(config.changed(steps=2), volumes, viewers.TrainingTheatre(watched))  # imports, and first calls
    spent: dict[str, list[tuple[float, float]]] = {"alone": [], "watched": []}
    theatres = []
    for _ in range(arguments.rounds):
        theatre = viewers.TrainingTheatre(watched)
        alone, weights = run(config, volumes, None)
        seen, same = run(config, volumes, theatre)
        if not torch.equal(weights, same):
            raise SystemExit("The watched run ended with other weights.")
        spent["alone"].append(alone)
        spent["watched"].append(seen)
        theatres.append(theatre)
    print_table(spent, theatres)


def run(
    config: vl.PretrainConfig, volumes: list[vl.Volume], theatre: viewers.TrainingTheatre | None
) -> tuple[tuple[float, float], Tensor]:
    """Seconds of a whole run by the clock and of the processor, and its weights."""
    model, dataset = vl.VoCo(config), vl.VoCoDataset(volumes, config.crops, seed=0)
    clock, processor = time.perf_counter(), time.process_time()
    vl.pretrain(model, dataset, config.train, callbacks=[] if theatre is None else [theatre])
    seconds = time.perf_counter() - clock, time.process_time() - processor
    return seconds, torch.cat([weight.detach().flatten() for weight in model.parameters()])


def print_table(spent: dict[str, list[tuple[float, float]]], theatres: list[viewers.TrainingTheatre]) -> None:
    """Medians over rounds."""
    alone, watched = (np.array(values) for values in spent.values())
    for column, name in enumerate(("clock", "processor")):
        one, other = float(np.median(alone[:, column])), float(np.median(watched[:, column]))
        # Pairs ran one after the other: a machine that is slow for a while is so for both.
        shares = watched[:, column] / alone[:, column] - 1
        print(
            f"{name:10s} alone {one:7.2f} s, watched {other:7.2f} s  ratio {other / one:6.3f}x  slower by "
            f"{float(np.median(shares)):6.1%} ({shares.min():.1%} to {shares.max():.1%}), goal 3 %"
        )
    parts = {part: float(np.median([theatre.seconds[part] for theatre in theatres])) for part in theatres[0].seconds}
    whole = float(np.median(watched[:, 0]))
    print(
        f"own clock  {theatres[0].pictures} pictures, "
        + ", ".join(f"{part} {seconds:.2f} s = {seconds / whole:.1%}" for part, seconds in parts.items())
    )


if __name__ == "__main__":
    main()
