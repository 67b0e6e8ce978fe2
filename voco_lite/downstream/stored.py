"""What a fine-tuning left behind, read back by the kind of its task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from reprlib import repr
from typing import Any

from torch import Tensor

from voco_lite.checkpoints import load_checkpoint, newest
from voco_lite.config.plain import build


@dataclass(frozen=True, eq=False)
class Stored:
    """A checkpoint of a fine-tuning.

    Attributes:
        file: Where it lies.
        task: What `Task.describe` gave.
        weights: Of the network, by name.
    """

    file: Path
    task: dict[str, Any]
    weights: dict[str, Tensor]

    def part(self, name: str, kind: type) -> Any:
        """One part of the task's description, such as its encoder, as a configuration of that kind.

        Raises:
            ValueError: The part is missing, or other than this version writes it.
        """
        try:
            return build(kind, self.task.get(name), f"task.{name}")
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{self.file} should describe the {name} of its task as this version does, got {repr(self.task.get(name))} "
                f"({error}). Give a file that fine-tuning wrote, or read it with the version of voco_lite that wrote it."
            ) from error


def read_stored(path: str | Path, name: str) -> Stored:
    """The checkpoint of a task of this name; of a run folder, the newest.

    Raises:
        FileNotFoundError: No such file, or a folder without a checkpoint.
        ValueError: The file is no readable checkpoint, not that of such a task, or holds no weights.
    """
    file = Path(path)
    if file.is_dir():
        file = newest(file) or file / "final.pt"
    entries = load_checkpoint(file)
    task = entries["config"].get("task") if isinstance(entries["config"], dict) else None
    if not isinstance(task, dict) or task.get("name") != name:
        raise ValueError(
            f"{file} should be the checkpoint of a {name}, got that of another training. "
            f"Give a file or folder that fine-tuning for {name} wrote."
        )
    weights = entries["model"]
    if not isinstance(weights, dict) or not all(isinstance(weight, Tensor) for weight in weights.values()):
        raise ValueError(
            f"{file} should hold weights as a table of tensors by name, got {repr(weights)}. "
            f"Give a file or folder that fine-tuning for {name} wrote."
        )
    return Stored(file, task, weights)
