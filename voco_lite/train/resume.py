"""Continue a run exactly, or say why this run folder cannot be continued."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

from voco_lite.checkpoints import FINAL, load_checkpoint, prune, step_checkpoints, write_text
from voco_lite.train.history import LOG

CONFIG = "config.json"
# What may change between start and resumption without changing a single weight; the device may, but then rounds anew.
# The precision that was chosen is part of the provenance, where "auto" has become the one that computes.
_FREE = {
    f"config.train.{name}"
    for name in (
        "run_folder",
        "resume",
        "progress",
        "workers",
        "device",
        "precision",
        "log_every",
        "gauge_every",
        "checkpoint_every",
    )
} | {"provenance.device"}
_KEPT_SOURCES = 1000


def describe_data(sources: list[str], seed: int) -> dict[str, Any]:
    """What identifies training data: number of volumes, digest of their sources in order, first sources, seed."""
    digest = hashlib.sha256("\n".join(sources).encode()).hexdigest()
    return {"volumes": len(sources), "digest": digest, "sources": sources[:_KEPT_SOURCES], "seed": seed}


def open_run_folder(folder: Path, config: dict[str, Any], resume: bool) -> None:
    """Make a run folder, or check that the run in it may be continued.

    Raises:
        ValueError: The folder holds a run and `resume` is False, or that run has other settings.
    """
    log = folder / LOG
    # An empty log is that of a run that ended before its first record: nothing was learnt there.
    logged = log.is_file() and log.stat().st_size > 0
    holds_run = logged or (folder / FINAL).is_file() or bool(step_checkpoints(folder))
    if holds_run and not resume:
        raise ValueError(
            f"run_folder must be new where resume is False, got {folder}, which holds a run. "
            "Nothing is overwritten: give another run_folder, set resume=True, or delete the folder."
        )
    if holds_run and (folder / CONFIG).is_file():
        stored = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        refuse_differences({"config": stored}, {"config": config}, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    prune(folder)


def newest_readable(folder: Path) -> dict[str, Any] | None:
    """The entries of `final.pt`, else of the newest step checkpoint that can be read, else None.

    Warns where a checkpoint is damaged and an older one takes its place.
    """
    final = [folder / FINAL] if (folder / FINAL).is_file() else []
    for file in [*final, *step_checkpoints(folder)]:
        try:
            return load_checkpoint(file) | {"file": file, "finished": file.name == FINAL}
        except ValueError as error:
            warnings.warn(f"{error} Trying an older one.", stacklevel=2)
    return None


def refuse_differences(stored: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    """Compare what was stored with what is asked for.

    Raises:
        ValueError: Names every field that differs and matters. `train.steps` does: the learning rate depends on it.
    """
    before, now = _flat(json.loads(json.dumps(stored))), _flat(json.loads(json.dumps(wanted)))
    names = [n for n in sorted(before | now) if before.get(n) != now.get(n) and n not in _FREE]
    if names:
        short = "; ".join(f"{n.removeprefix('config.')}: {before.get(n)} -> {now.get(n)}" for n in names[:8])
        raise ValueError(
            f"A resumed run must have the settings that it started with, but {folder} differs in {short}. "
            "Use the stored settings (config.json there) and the same start and data, or give another run_folder "
            "(on the command line: --train.run-folder)."
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
