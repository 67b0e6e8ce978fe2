"""Where the notebooks on fine-tuning start: at the model that notebook 05 made, or at a short pre-training of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voco_lite.config import PretrainConfig
    from voco_lite.downstream import Start

# Jupyter works in notebooks/ or notebooks/solutions/, `notebooks run` in runs/NAME, and `make demo` ran 05 in runs/demo.
_LEVELS = (".", "..", "../..")  # from the working folder up to that of the repository
_PLACES = ("../05_pretrain", *(f"{level}/runs/{name}" for level in _LEVELS for name in ("05_pretrain", "demo")))
_SHORT = {"laptop": (150, 8), "ci": (4, 4)}  # steps and subjects of a pre-training that takes the place of 05's


def checkpoint_of_05(size: str, folder: str | Path = ".") -> Path | None:
    """The newest finished model that notebook 05 made at a size, by itself or in `make demo`; None where there is none.

    Args:
        size: "laptop" or "ci".
        folder: The working folder of the notebook that asks; `runs` is looked for in it and in the two folders above.
    """
    found = [file for place in _PLACES for file in (Path(folder) / place).glob(f"{size}-*/final.pt")]
    return max(found, key=lambda file: file.stat().st_mtime, default=None)


def pretrained_start(size: str, config: PretrainConfig, given: str = "") -> Start:
    """A pre-trained encoder, and a printed line that says where it is from.

    Args:
        size: "laptop" or "ci".
        config: Of the short pre-training, where no other model is found; its steps are not taken.
        given: Checkpoint or run folder; empty: `checkpoint_of_05`, else a short pre-training.

    Raises:
        FileNotFoundError, ValueError: As `pretrained`, of what was given.
    """
    from voco_lite.downstream import pretrained

    if found := given or checkpoint_of_05(size):
        print("from", found)
        return pretrained(found)
    from voco_lite import VoCo, VoCoDataset, pretrain, samples

    steps, subjects = _SHORT[size]
    short = config.changed(steps=steps, warmup_steps=2, gauge_every=0, run_folder=None)
    model = VoCo(short)
    volumes = samples.population(subjects, short.volume, source="phantom" if size == "ci" else "auto")
    pretrain(model, VoCoDataset(volumes, short.crops, seed=short.train.seed), short.train)
    print(f"from a short pre-training of {steps} steps, made here")
    return pretrained(model)
