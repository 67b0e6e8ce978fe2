"""What a fine-tuning left behind, read back by the kind of its task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voco_lite.checkpoints import load_checkpoint, newest


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
    weights: dict[str, Any]


def read_stored(path: str | Path, name: str) -> Stored:
    """The checkpoint of a task of this name; of a run folder, the newest.

    Raises:
        FileNotFoundError: No such file, or a folder without a checkpoint.
        ValueError: The file is no readable checkpoint, or not that of such a task.
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
    return Stored(file, task, entries["model"])
