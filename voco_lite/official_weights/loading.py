"""Official weights into an encoder, a VoCo model or MONAI's SwinUNETR, with a report and without surprises.

Released code: `load` of the downstream tasks, which keeps what matches by name and shape and says nothing about the
rest (method page, 4.3). Here too little is an error, and the patch merging is the one that the weights were made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from voco_lite.official_weights.known import identify, require_own_digest
from voco_lite.official_weights.merging import merging_of, set_merging
from voco_lite.official_weights.reading import read_weights
from voco_lite.official_weights.report import LoadReport, Mismatch

THRESHOLD = 0.95  # of the encoder's tensors


@dataclass(frozen=True)
class Match:
    """Which tensor of a file goes where: names of the model to tensors, and what is left over."""

    fitting: dict[str, Tensor]
    inflated: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[Mismatch, ...]
    ignored: tuple[str, ...]


def load_official_weights(
    model: nn.Module,
    file: str | Path,
    allow_unverified: bool = False,
    inflate_channels: bool = False,
    threshold: float = THRESHOLD,
) -> LoadReport:
    """Load a released weight file, or a checkpoint of the released training code; print the result.

    Args:
        model: An encoder, a VoCo model, a network with an `encoder`, or MONAI's `SwinUNETR(use_v2=True)`.
        file: A .pt file.
        allow_unverified: Accept a file with a released name and another digest. Files of other names load in any case,
            and the report says that they are unverified.
        inflate_channels: Repeat the one input channel of the weights for all input channels of the model, divided by
            their number; otherwise the first layers keep their own values.
        threshold: Least share of the encoder's tensors that must be loaded.

    Returns:
        What became of every tensor. The model's patch merging is "legacy" afterwards, unless the file was exported
        from here and says otherwise.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Wrong digest, unreadable file, non-finite numbers, or too few fitting tensors; nothing is changed.
    """
    known, sha256 = identify(file)
    if not allow_unverified:
        require_own_digest(file, known, sha256)
    state, record = read_weights(file)
    match = match_names(_own_names(model), state, inflate_channels)
    _require_enough(model, match, Path(file), threshold)
    _require_finite(match, Path(file))
    copy_tensors(model, match)
    merging = None if merging_of(model) is None else _recorded_merging(record)
    if merging is not None:
        set_merging(model, merging)
    return LoadReport(
        file=Path(file),
        identity=known.name if known else None,
        sha256=sha256,
        encoder_tensors=len(_encoder_names(model)),
        loaded=tuple(match.fitting),
        inflated=match.inflated,
        missing=match.missing,
        mismatched=match.mismatched,
        ignored=match.ignored,
        merging=merging,
        notes=tuple(_notes(model, match, merging)),
    )


def match_names(own: Mapping[str, Tensor], state: Mapping[str, Tensor], inflate_channels: bool = False) -> Match:
    """Tensors that agree in name and shape, or that agree once their one input channel is repeated."""
    fitting: dict[str, Tensor] = {}
    inflated, mismatched = [], []
    for name in (name for name in own if name in state):
        target, source = own[name], state[name]
        if target.shape == source.shape:
            fitting[name] = source
        elif inflate_channels and _has_one_channel_instead(target, source):
            fitting[name] = source.expand_as(target) / target.shape[1]
            inflated.append(name)
        else:
            mismatched.append(Mismatch(name, tuple(target.shape), tuple(source.shape)))
    return Match(
        fitting,
        tuple(inflated),
        tuple(name for name in own if name not in state),
        tuple(mismatched),
        tuple(name for name in state if name not in own),
    )


def copy_tensors(model: nn.Module, match: Match) -> None:
    """Copy the fitting tensors into the model."""
    own = _own_names(model)
    with torch.no_grad():
        for name, tensor in match.fitting.items():
            own[name].copy_(tensor)


def _recorded_merging(record: Mapping[str, object]) -> str:
    """What an exported file says, else the order of all released code."""
    return "current" if record.get("merging") == "current" else "legacy"


def _has_one_channel_instead(target: Tensor, source: Tensor) -> bool:
    """A convolution of one input channel where the model's has several."""
    return (
        target.dim() == source.dim() == 5
        and source.shape[1] == 1
        and target.shape[:1] + target.shape[2:] == source.shape[:1] + source.shape[2:]
    )


def _own_names(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that a file can name; of a VoCo model only the encoder's."""
    if hasattr(model, "projector") and isinstance(getattr(model, "encoder", None), nn.Module):
        model = model.encoder  # type: ignore[assignment]
    return {name.removeprefix("encoder."): tensor for name, tensor in model.state_dict().items()}


def _encoder_names(model: nn.Module) -> list[str]:
    """Those of the encoder: all but a decoder's and an output layer's."""
    return [name for name in _own_names(model) if not name.startswith(("decoder", "out."))]


def _require_enough(model: nn.Module, match: Match, file: Path, threshold: float) -> None:
    names = _encoder_names(model)
    found = sum(name in match.fitting for name in names)
    if found < threshold * len(names) or not found:
        raise ValueError(
            f"{file} should fit at least {threshold:.0%} of the encoder's {len(names)} tensors, got {found}. First "
            f"missing: {list(match.missing[:3])}; other shapes: {[one.name for one in match.mismatched[:3]]}; unknown "
            f"here: {list(match.ignored[:3])}. B, L and H fit swin-b, swin-l and swin-h; nothing was changed."
        )


def _require_finite(match: Match, file: Path) -> None:
    for name, tensor in match.fitting.items():
        if tensor.is_floating_point() and not tensor.is_meta and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{file} should hold finite numbers, got some in {name} that are not. Download it again.")


def _notes(model: nn.Module, match: Match, merging: str | None) -> list[str]:
    """Reasons for what the report lists."""
    notes = []
    if any(name.startswith(("decoder", "out.")) for name in match.missing):
        notes.append("The file holds an encoder only: the decoder keeps its random weights.")
    if any(one.own[1:2] != one.file[1:2] and one.file[1:2] == (1,) for one in match.mismatched):
        notes.append("The file's first layers take one channel: they keep random weights (or inflate_channels=True).")
    if any(one.name.startswith("out.") for one in match.mismatched):
        notes.append("Other classes than the file's: the output layer keeps its random weights.")
    if merging == "legacy":
        notes.append('Patch merging set to "legacy": MONAI 1.3 order, which the released weights were trained with.')
    if getattr(model, "teacher_encoder", None) is not None:
        notes.append("The teacher's encoder keeps its weights; the EMA moves it towards the student.")
    return notes
