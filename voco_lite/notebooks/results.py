"""The numbers that a notebook hands back: one `results.json` in the folder of its run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from voco_lite.checkpoints import write_text

RESULTS = "results.json"
UNTRAINED = "untrained_"  # "untrained_top1" is the level that "top1" had before training


def write_results(folder: str | Path, **numbers: Any) -> Path:
    """Write a notebook's results, whole or not at all; an earlier file is replaced.

    Args:
        folder: The notebook's `OUT`; made when it is not there.
        numbers: Numbers, texts, and lists or tables of them; tensors of one element count as numbers. A level before
            training is named as its result with "untrained_" in front.

    Returns:
        The path of `results.json`.

    Raises:
        ValueError: A number that is not finite, or something that JSON cannot hold.
    """
    place = Path(folder)
    plain = {name: _plain(value, name) for name, value in numbers.items()}
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / RESULTS, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
    return place / RESULTS


def _plain(value: Any, name: str) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0:
        items = value.tolist() if hasattr(value, "tolist") else value
        return [_plain(item, f"{name}[{i}]") for i, item in enumerate(items)]
    try:
        number = float(value)
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise ValueError(f"{name} must be numbers or text, got {kind}. Take out the number that matters.") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}. Find where it arises before you report it.")
    return number


def summary(folder: str | Path) -> list[str]:
    """What the runs below a folder left behind, in lines to print: files, and each number beside its untrained level.

    Raises:
        FileNotFoundError: The folder is not there, or no run below it wrote `results.json`.
        ValueError: A `results.json` that is damaged.
    """
    place = Path(folder)
    found = sorted(place.rglob(RESULTS)) if place.is_dir() else []
    if not found:
        raise FileNotFoundError(
            f"There must be a {RESULTS} below {place}, got none. Run a notebook into it: "
            "python -m voco_lite notebooks run 05_pretrain --out-folder FOLDER."
        )
    return [line for path in found for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    try:
        numbers = dict(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must be a table in JSON, got something else ({error}). Run the notebook anew."
        ) from None
    lines = [str(path.parent)]
    for title, pattern in (("executed notebook", "*.ipynb"), ("figure", "*.png"), ("trained model", "**/final.pt")):
        lines += [f"  {title}: {file}" for file in sorted(path.parent.glob(pattern))]
    lines.append(f"  results: {path}")
    for name, value in numbers.items():
        if name.startswith(UNTRAINED) and name.removeprefix(UNTRAINED) in numbers:
            continue
        before = f" (untrained {_shown(numbers[UNTRAINED + name])})" if UNTRAINED + name in numbers else ""
        lines.append(f"  {name}: {_shown(value)}{before}")
    return lines


def _shown(value: Any) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else json.dumps(value)
        if isinstance(value, dict | list)
        else str(value)
    )
