"""Checkpoints: what is in one, how it reaches the disk whole, and how a model comes back from it.

A checkpoint is one file of plain tensors, dicts, lists, numbers and strings, read with `weights_only=True`, so that
opening a stranger's file runs none of its code. A run folder holds `checkpoints/step-00000200.pt` (everything needed
to continue exactly) and, once the run is finished, `final.pt` (the model alone).
"""

from __future__ import annotations

import os
import pickle
import platform
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from voco_lite.config import PretrainConfig

if TYPE_CHECKING:
    from voco_lite.model import VoCo

FORMAT = "voco_lite checkpoint"
FORMAT_VERSION = 1
FINAL = "final.pt"
_STEP_NAME = re.compile(r"step-(\d{8,})\.pt")
_REQUIRED = ("format", "format_version", "config", "step", "model", "versions", "provenance")


class Configuration(Protocol):
    """What can be stored as a plain table."""

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings."""


def save_checkpoint(
    path: str | Path,
    model: torch.nn.Module,
    *,
    config: Configuration | None = None,
    step: int = 0,
    provenance: dict[str, Any] | None = None,
    **state: Any,
) -> Path:
    """Write a checkpoint under a temporary name, flush it to the disk, then rename it: it is there whole or not at all.

    Args:
        path: File to write; its folder is made.
        model: The model, teacher included.
        config: The whole configuration; None: the model's own.
        step: Optimizer steps completed.
        provenance: What the model was trained on, as plain values.
        state: Further entries, such as `optimizer=optimizer.state_dict()`; plain values and tensors only.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    whole: Any = config or model.config
    entries = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": whole.to_dict(),
        "step": step,
        "model": model.state_dict(),
        "versions": versions(),
        "provenance": provenance or {},
        **state,
    }
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(entries, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(target.parent)
    return target


def write_text(path: Path, text: str) -> None:
    """Replace a text file whole, by the same temporary name, flush and rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    # The new name survives a power cut only when its folder is flushed too; Windows cannot open folders.
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def versions() -> dict[str, str]:
    """What computed a checkpoint: Python, torch and this package's checkpoint format."""
    return {"python": platform.python_version(), "torch": str(torch.__version__), "system": platform.system()}


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """The entries of a checkpoint, tensors on `device`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is truncated, damaged, or no checkpoint of this package.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no checkpoint {file}. Give a .pt file, such as {Path('RUN_FOLDER') / FINAL}."
        )
    try:
        entries = torch.load(file, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{file} should be a checkpoint of plain tensors, but cannot be read ({_first_line(error)}). "
            "It is truncated, damaged or holds other objects: copy it again, or take an older checkpoint."
        ) from error
    if not isinstance(entries, dict) or entries.get("format") != FORMAT:
        found = sorted(map(str, entries))[:5] if isinstance(entries, dict) else type(entries).__name__
        raise ValueError(
            f"{file} should be a {FORMAT}, got a file with {found}. "
            "Weights of other projects are no checkpoint of a run here; give a file that `pretrain` wrote."
        )
    missing = [key for key in _REQUIRED if key not in entries]
    if missing or entries["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"{file} should be a {FORMAT} of format {FORMAT_VERSION} or older, got format "
            f"{entries.get('format_version')} without {missing}. Read it with the version of voco_lite that wrote it."
        )
    return entries


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def load_model(path: str | Path, device: str | torch.device = "cpu") -> VoCo:
    """The model of a checkpoint, with its configuration, in evaluation mode.

    Args:
        path: A checkpoint, or a run folder: its `final.pt`, else its newest checkpoint.
        device: Where the model shall live.

    Raises:
        FileNotFoundError: No such file, or a folder without a checkpoint.
        ValueError: The file is no readable checkpoint, or its configuration or weights do not fit this version.
    """
    from voco_lite.model import VoCo

    file = Path(path)
    if file.is_dir():
        found = newest(file)
        if found is None:
            raise FileNotFoundError(f"{file} holds neither {FINAL} nor checkpoints. Give the run folder of `pretrain`.")
        file = found
    entries = load_checkpoint(file, device)
    model = VoCo(PretrainConfig.from_dict(entries["config"]))
    load_weights(model, entries["model"], file)
    return model.to(device).eval()


def load_weights(model: torch.nn.Module, weights: dict[str, Any], file: Path) -> None:
    """Copy weights into a model, all of them or none.

    Raises:
        ValueError: Names or shapes differ.
    """
    own = model.state_dict()
    missing, unknown = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    shapes = [k for k in own if k in weights and own[k].shape != weights[k].shape]
    if missing or unknown or shapes:
        raise ValueError(
            f"{file} should hold the weights of the model that its configuration describes, got missing {missing[:3]}, "
            f"unknown {unknown[:3]}, other shapes {shapes[:3]}. Read it with the version of voco_lite that wrote it."
        )
    model.load_state_dict(weights)


def step_path(run_folder: str | Path, step: int) -> Path:
    """Where the checkpoint after `step` optimizer steps lies."""
    return Path(run_folder) / "checkpoints" / f"step-{step:08d}.pt"


def step_checkpoints(run_folder: str | Path) -> list[Path]:
    """The checkpoints that a run can continue from, newest first."""
    folder = Path(run_folder) / "checkpoints"
    named = [(int(match[1]), file) for file in folder.glob("*.pt") if (match := _STEP_NAME.fullmatch(file.name))]
    return [file for _, file in sorted(named, reverse=True)]


def newest(run_folder: str | Path) -> Path | None:
    """The most advanced checkpoint of a run folder: `final.pt`, else the one of the highest step, else None."""
    final = Path(run_folder) / FINAL
    return final if final.is_file() else next(iter(step_checkpoints(run_folder)), None)


def prune(run_folder: str | Path, keep: int = 2) -> None:
    """Remove all step checkpoints but the newest `keep`, and what an interrupted write left behind."""
    for file in step_checkpoints(run_folder)[keep:]:
        file.unlink(missing_ok=True)
    for file in (Path(run_folder) / "checkpoints").glob(".*.tmp"):
        file.unlink(missing_ok=True)
