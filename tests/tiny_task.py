"""A task that learns in a second: how bright is this subject, from crops of eight voxels along each axis?

`python tests/tiny_task.py RUN_FOLDER STEPS` trains it; the tests of resumption kill that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from voco_lite.config import EncoderConfig
from voco_lite.downstream import FinetuneConfig, Fitted, Split, Task, TaskNetwork, fit
from voco_lite.encoders import ConvEncoder


def subjects(n: int, first: int = 0) -> list[Any]:
    """Noise of 8 x 8 x 8 voxels around a level, which is the label."""
    made = []
    for seed in range(first, first + n):
        make = torch.Generator().manual_seed(seed)
        level = torch.rand((), generator=make)
        data = level + 0.1 * torch.randn(1, 8, 8, 8, generator=make)
        made.append(SimpleNamespace(data=data, level=level, source=f"subject {seed}"))
    return made


class Untouchable(Sequence[Any]):
    """Test subjects that nobody may look at; where they come from is known without that."""

    sources = ("subject 200",)

    def __len__(self) -> int:
        raise AssertionError("the test subjects were counted")

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("the test subjects were opened")


class LevelNetwork(TaskNetwork):
    """One number from pooled features."""

    linear = True

    def __init__(self, encoder: ConvEncoder) -> None:
        super().__init__(encoder)
        self.head = nn.Linear(encoder.feature_dim, 1)

    def forward(self, crops: Tensor) -> Tensor:
        return self.head(self.encoder(crops).pooled)[:, 0]


class LevelTask(Task):
    """Tell the level; the score is the negative error."""

    def describe(self) -> dict[str, Any]:
        return {"name": "level"}

    def sample(self, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        subject = self.split.training[index]
        return {"crop": subject.data + 0.05 * torch.randn(1, 1, 1, 1, generator=generator), "level": subject.level}

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"square": (self.network(batch["crop"]).float() - batch["level"]).square().mean()}

    def scores(self, subjects: Sequence[Any]) -> list[float]:
        crops = torch.stack([subject.data for subject in subjects])
        levels = torch.stack([subject.level for subject in subjects])
        return (-(self.network(crops).float() - levels).abs()).tolist()


def tiny_task(training: int = 6, validation: int = 3, test: Any = ()) -> LevelTask:
    """The task with a fresh network of seed 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = LevelNetwork(ConvEncoder((8, 8, 8), EncoderConfig().norm))
    split = Split(subjects(training), subjects(validation, first=100), test)
    return LevelTask(network, split)


def tiny_finetuning(**changes: Any) -> FinetuneConfig:
    """Eight steps in fp32 on the CPU, validated every second."""
    defaults: dict[str, Any] = {
        "steps": 8,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "log_every": 1,
        "gauge_every": 2,
        "device": "cpu",
        "precision": "fp32",
        "progress": False,
    }
    return FinetuneConfig(**(defaults | changes))


def finetune(config: FinetuneConfig, task: Task | None = None, **more: Any) -> tuple[Task, Fitted]:
    """Fine-tune a fresh task; returns it with what came of it."""
    task = task or tiny_task()
    return task, fit(task, config, **more)


if __name__ == "__main__":
    torch.set_num_threads(1)
    task, _ = finetune(tiny_finetuning(steps=int(sys.argv[2]), checkpoint_every=3, log_every=2, run_folder=sys.argv[1]))
    if "RANK" in os.environ:
        torch.save(task.network.state_dict(), f"{sys.argv[1]}-of-process-{os.environ['RANK']}.pt")
