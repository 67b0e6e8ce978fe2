"""What a task has to say for itself, so that one loop can train all of them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from voco_lite.dataset.order import mixed_seed
from voco_lite.downstream.split import Split, sources


class TaskNetwork(nn.Module):
    """An encoder and what a task puts behind it; subclasses add the head and `forward`.

    Args:
        encoder: Becomes part of this network, and is trained with it.

    Attributes:
        linear: Whether the head is linear in the encoder's features.
        frozen: Whether the encoder stays as it is, batch statistics included.
        started_from: Digest of the encoder's weights at the start; a run that started otherwise is not resumed.
    """

    linear = False

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.frozen = False
        self.started_from = {"encoder_sha256": digest(encoder)}

    def freeze(self, frozen: bool = True) -> None:
        """Leave the encoder as it is from now on, or let it learn again."""
        self.frozen = frozen
        self.encoder.requires_grad_(not frozen)
        self.encoder.train(self.training and not frozen)

    def train(self, mode: bool = True) -> TaskNetwork:
        """As of every module, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self


class Task(ABC):
    """One thing to learn from labelled subjects.

    Args:
        network: What is trained.
        split: Who is learnt from, and who decides.
    """

    def __init__(self, network: TaskNetwork, split: Split) -> None:
        self.network, self.split = network, split

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything but weights and subjects that makes this task again, as a plain table; stored in checkpoints."""

    @abstractmethod
    def sample(self, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One training example, drawn from training subject `index`; tensors on the CPU, alike in shape.

        Every chance comes from the generator, so that the same draw gives the same example in any process.
        """

    @abstractmethod
    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scalar terms of the loss of a batch of examples; their sum is minimised. Calls the network."""

    @abstractmethod
    def scores(self, subjects: Sequence[Any]) -> list[float]:
        """One score a subject, higher is better; NaN where a subject has none. The network is in evaluation mode."""


@dataclass
class Batch:
    """Examples of a task.

    Attributes:
        examples: What `sample` gives, stacked along a new first axis.
        sources: Where each example comes from.
        left_out: Subjects that cannot be used; none, as labelled ones are too few to pass over.
    """

    examples: dict[str, Tensor]
    sources: list[str]
    left_out: dict[str, str] = field(default_factory=dict)

    def pin_memory(self) -> Batch:
        """In page-locked memory (called by a loader with `pin_memory=True`)."""
        return replace(self, examples={name: tensor.pin_memory() for name, tensor in self.examples.items()})


@dataclass
class TaskLosses:
    """The losses of a batch: what is minimised, and its terms."""

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]


class Draws(Dataset[tuple[dict[str, Tensor], str]]):
    """The examples of a task by the number of the draw, whatever process asks.

    Args:
        task: What is drawn from.
        seed: Of the run.
        batch_size: Where there are fewer subjects, an epoch shows each several times.
    """

    def __init__(self, task: Task, seed: int, batch_size: int) -> None:
        self.task, self.seed = task, seed
        self.sources, self.left_out = sources(task.split.training), dict[str, str]()
        self.repeats = -(-batch_size // len(self.sources))

    def __len__(self) -> int:
        return self.repeats * len(self.sources)

    def __getitem__(self, draw: int) -> tuple[dict[str, Tensor], str]:
        index = draw % len(self.sources)
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, draw))
        return self.task.sample(index, generator), self.sources[index]

    def collate(self, samples: Sequence[tuple[dict[str, Tensor], str]]) -> Batch:
        """Examples as a batch, on the CPU."""
        examples, names = zip(*samples, strict=True)
        return Batch(default_collate(list(examples)), list(names))

    def cut(self, batch: Batch, device: torch.device) -> Batch:
        """The batch on a device."""
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.examples.items()}
        return replace(batch, examples=moved)


def digest(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers, with their names."""
    whole = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        whole.update(name.encode())
        whole.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()
