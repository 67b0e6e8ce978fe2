"""A whole training step against its encoder alone, on the same crops.

    python tests/benchmarks/step.py [--preset laptop] [--objective tpami25] [--rounds 15]

The step is forward, losses, backward, clipping, optimizer and EMA, without loading; the encoder is forward and
backward of its pooled features. Both in the precision that the device takes, on volumes of noise.
"""

from __future__ import annotations

import argparse
import itertools
from types import SimpleNamespace

import torch
from rounds import measure, print_table

from voco_lite import PretrainConfig, VoCo, VoCoDataset
from voco_lite.crops import CropGrid
from voco_lite.model import all_crops
from voco_lite.train.hardware import open_accelerator
from voco_lite.train.run import Run


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--objective", default="tpami25")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    changes = {"batch_size": arguments.batch_size} if arguments.batch_size else {}
    config = PretrainConfig.preset(arguments.preset, objective__name=arguments.objective, progress=False, **changes)
    make, size = torch.Generator().manual_seed(0), CropGrid.from_config(config.crops).block_size
    volumes = [
        SimpleNamespace(data=torch.rand(1, *size, generator=make), source=f"noise {i}")
        for i in range(config.train.batch_size)
    ]
    dataset = VoCoDataset(volumes, config.crops)  # type: ignore[arg-type]
    with open_accelerator(config.train) as accelerator:
        run = Run(accelerator, VoCo(config), dataset, config)
        run.begin()
        batch = dataset.batch(range(len(volumes)), accelerator.device)
        crops = all_crops(batch)
        # The same batch again and again: loading is measured elsewhere.
        run.micro_batches = ((0, batch) for _ in itertools.count())

        def encoder(_: int) -> None:
            with accelerator.autocast():
                loss = run.model.encoder(crops).pooled.float().sum()
            loss.backward()
            run.model.zero_grad(set_to_none=True)

        sides = {"encoder alone": encoder, "whole step": lambda round_: run.take_step(round_ + 1)}
        print(f"{arguments.preset}, {len(crops)} crops of {crops.shape[-1]}^3, {accelerator.mixed_precision}")
        print_table(measure(sides, arguments.rounds, warm_up=3), "encoder alone")


if __name__ == "__main__":
    main()
