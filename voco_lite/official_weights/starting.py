"""Continue pre-training from official weights: the encoder is loaded, the heads are declared fresh."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from voco_lite.encoders.swin import FEATURE_SIZES
from voco_lite.official_weights.download import download_official_weights
from voco_lite.official_weights.known import KNOWN_FILES
from voco_lite.official_weights.loading import load_official_weights
from voco_lite.official_weights.reading import read_weights
from voco_lite.official_weights.report import LoadReport

if TYPE_CHECKING:
    from voco_lite.model import VoCo

_WIDTH = "swinViT.patch_embed.proj.weight"


def find_weights(source: str | Path) -> Path:
    """A file of this path, else the released file of this name, from the cache or the internet.

    Raises:
        FileNotFoundError: Neither.
        ConnectionError: A released name, but the file is not at hand and cannot be fetched.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if str(source) in KNOWN_FILES:
        return download_official_weights(str(source))
    raise FileNotFoundError(
        f"There is no weight file {source}. Give a .pt file, or a released name: {', '.join(KNOWN_FILES)}."
    )


def fitting_encoder(file: str | Path) -> str:
    """Name of the Swin encoder whose width a weight file has.

    Raises:
        ValueError: No encoder of that width, or no Swin encoder in the file.
    """
    state, _ = read_weights(file)
    width = len(state[_WIDTH]) if _WIDTH in state else None
    for name, feature_size in FEATURE_SIZES.items():
        if feature_size == width:
            return name
    raise ValueError(
        f"{file} should hold a Swin encoder of feature size {', '.join(map(str, FEATURE_SIZES.values()))}, got "
        f"{'none' if width is None else width}. Name the encoder that it fits."
    )


def start_from_weights(model: VoCo, file: str | Path, allow_unverified: bool = False) -> LoadReport:
    """Load official weights into a model that shall be trained on.

    Released files hold no projector, and no teacher: the projector keeps the fresh weights of its seed. Where the
    objective's teacher starts as a copy of the student, its encoder is copied anew. `model.started_from` says what was
    loaded; checkpoints store it, and a run that started otherwise is not resumed.

    Args:
        model: With an encoder that the file fits; its patch merging becomes the file's.
        file: A .pt file.
        allow_unverified: Accept a file with a released name and another digest.

    Returns:
        The report of `load_official_weights`; its notes name what is fresh.

    Raises:
        FileNotFoundError, ValueError: As `load_official_weights`; the model is unchanged then.
    """
    report = load_official_weights(model, file, allow_unverified)
    copied = model.teacher_encoder is not None and model.objective.teacher_start == "copy"
    if model.teacher_encoder is not None and copied:
        model.teacher_encoder.load_state_dict(model.encoder.state_dict())
    model.started_from = {"file": report.file.name, "sha256": report.sha256, "identity": report.identity}
    notes = [note for note in report.notes if not (copied and note.startswith("The teacher's encoder"))]
    return dataclasses.replace(report, notes=(*notes, *_fresh(model, copied)))


def _fresh(model: VoCo, copied: bool) -> list[str]:
    """What a file did not bring."""
    numbers = sum(parameter.numel() for parameter in model.projector.parameters())
    notes = [f"Fresh: the projector, {numbers / 1e6:.2f} million numbers from seed {model.config.train.seed}."]
    if model.teacher_projector is not None:
        start = "a copy of it" if model.objective.teacher_start == "copy" else "random numbers of its own"
        notes.append(f"Fresh: the teacher's projector, {start}.")
    if copied:
        notes.append("The teacher's encoder is a copy of the loaded one.")
    return notes
