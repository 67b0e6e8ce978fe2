"""What each objective computes in each mode: one table, deviation by deviation.

Sources: v1 = VoCo repository (CVPR 2024), commit ba7b7bd; v2 = Large-Scale-Medical repository (TPAMI 2025), commit
1ad538b, `Self-supervised/`; v0 = the paper-time head. `Objective` is what the losses and the model read; nothing else
in the package asks for an objective's name or mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from voco_lite.config import Mode, ObjectiveName


@dataclass(frozen=True)
class Objective:
    """Every choice that distinguishes the three objectives and their two modes.

    Attributes:
        teacher: What the EMA teacher copies: nothing, the projector only, or encoder and projector.
        teacher_start: The teacher starts as a copy of the student, or with random weights of its own.
        teacher_update: When the EMA moves: while training, or in every forward pass, evaluation included.
        compared: Which embeddings predict the labels: student crops with teacher bases; the mean of that and of
            teacher crops with student bases; or one network, with the bases detached.
        positive_weights: Weight of an overlapped base crop in the positive term: its overlap, or 1.
        negative_term: Loss of a base crop without overlap: -log(1 - s + 1e-6), or s squared.
        inter_volume: Whether volumes predict each other's similarities.
        lone_volume: A batch of one volume raises an error, or is its own partner.
        feature_dropout: Dropout before the student's projector: none, of single features, or of whole crops.
        dropout_update: When that dropout acts: while training, or in every forward pass, evaluation included.
        averaged_over: The prediction loss is normalised within each volume, then averaged, or over the whole batch.
        regularization_gradient: The gradient of a pair of base crops reaches both, or only the earlier of the two.
        label_dtype: Precision in which labels enter the losses.
    """

    teacher: Literal["none", "projector", "network"]
    teacher_start: Literal["copy", "random"]
    teacher_update: Literal["training", "always"]
    compared: Literal["student-teacher", "both-ways", "detached-bases"]
    positive_weights: Literal["overlap", "indicator"]
    negative_term: Literal["log", "square"]
    inter_volume: bool
    lone_volume: Literal["error", "itself"]
    feature_dropout: Literal["none", "elements", "crops"]
    dropout_update: Literal["training", "always"]
    averaged_over: Literal["volumes", "batch"]
    regularization_gradient: Literal["both", "earlier"]
    label_dtype: Literal["float32", "float64"]


# field: (tpami25, cvpr24, cvpr24-head) as released; then what the default mode changes, where it changes anything.
_RELEASED: dict[str, tuple[Any, Any, Any]] = {
    "teacher": ("projector", "network", "none"),
    "teacher_start": ("random", "random", "copy"),
    "teacher_update": ("always", "always", "training"),
    "compared": ("student-teacher", "both-ways", "detached-bases"),
    "positive_weights": ("overlap", "overlap", "indicator"),
    "negative_term": ("log", "square", "square"),
    "inter_volume": (True, False, False),
    "lone_volume": ("itself", "error", "error"),
    "feature_dropout": ("crops", "none", "none"),
    "dropout_update": ("always", "training", "training"),
    "averaged_over": ("volumes", "volumes", "batch"),
    "regularization_gradient": ("earlier", "earlier", "both"),
    "label_dtype": ("float64", "float64", "float64"),
}
_REPAIRED: dict[str, tuple[Any, Any, Any]] = {
    "teacher_start": ("copy", "copy", "copy"),
    "teacher_update": ("training", "training", "training"),
    "lone_volume": ("error", "error", "error"),
    "feature_dropout": ("elements", "none", "none"),
    "dropout_update": ("training", "training", "training"),
    "regularization_gradient": ("both", "both", "both"),
    "label_dtype": ("float32", "float32", "float32"),
}


def objective(name: ObjectiveName, mode: Mode = "default") -> Objective:
    """The choices behind an objective's name and mode.

    Raises:
        ValueError: Unknown name or mode.
    """
    names, modes = get_args(ObjectiveName), get_args(Mode)
    if name not in names or mode not in modes:
        raise ValueError(f"objective must be one of {names} in one of the modes {modes}, got {name!r} in {mode!r}.")
    table = _RELEASED if mode == "official" else _RELEASED | _REPAIRED
    return Objective(**{field: by_name[names.index(name)] for field, by_name in table.items()})
