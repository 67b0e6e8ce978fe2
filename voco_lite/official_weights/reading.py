"""Weight files of other programs: read without running code, unwrapped, and under the names used here."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_WRAPPERS = ("state_dict", "network_weights", "net", "student")
_PREFIXES = ("module.", "backbone.", "student.", "encoder.")
RECORD = "voco_lite"  # entry of a state dict's metadata where an exported file says what it is


def read_weights(file: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a weight file under plain names, and what the file says about itself.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, holds more than tensors and plain values, or no tensors at all.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weight file {path}. Give a .pt file that holds a state dict.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError, zipfile.BadZipFile):
        raise ValueError(
            f"{path} should be a state dict of tensors, got a file that cannot be read safely: it is damaged, or holds "
            "objects that could run code, as the 2024 training checkpoints do (their optimizer); download it again, or, "
            "if you trust its origin, convert it in the environment that wrote it with "
            """torch.save(torch.load("old.pt", map_location="cpu")["state_dict"], "new.pt")."""
        ) from None  # PyTorch's own message advises to give up safety
    state = unwrap(content)
    if not state:
        raise ValueError(
            f"{path} should hold tensors by name, got {type(content).__name__} without any. "
            "Give a state dict, or a dict with one under 'state_dict', 'network_weights', 'net' or 'student'."
        )
    record = getattr(content, "_metadata", {}).get(RECORD, {})
    return plain_names(state), record if isinstance(record, dict) else {}


def unwrap(content: Any) -> dict[str, Tensor]:
    """The state dict inside a checkpoint: under the first known wrapper, else the whole; tensors only.

    Released code: `load` of the downstream tasks (method page, 4.3).
    """
    if isinstance(content, Mapping):
        wrapped = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), content)
        return {key: value for key, value in wrapped.items() if isinstance(key, str) and isinstance(value, Tensor)}
    return {}


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefixes of data-parallel training, VoCo and nnU-Net, and with MONAI's `swinViT`.

    The released loader decides some of these by the first key alone; here every key is treated by itself.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        renamed.setdefault(name.replace("swin_vit", "swinViT"), value)
    return renamed
