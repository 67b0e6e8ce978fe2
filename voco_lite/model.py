"""The model: encoder, projector, EMA teacher, and the losses of a batch.

Sources: `models/voco_head.py` of the VoCo repository (2024) and of Large-Scale-Medical, `Self-supervised/` (2025).
What distinguishes the objectives and their modes is the table in `voco_lite.objectives`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from voco_lite.config import PretrainConfig
from voco_lite.dataset import VoCoBatch, mixed_seed
from voco_lite.encoders import EncoderOutput, build_encoder
from voco_lite.encoders.seeding import seeded
from voco_lite.losses import position_similarity, prediction_terms, regularization_loss, without_autocast
from voco_lite.objectives import objective


class Projector(nn.Module):
    """Two hidden layers with batch statistics, then a linear layer: where similarities are measured.

    Released code: `projection_head`. Its batch norms have no parameters and keep no running statistics, so that the
    output of a crop depends on its whole batch, in evaluation too; a batch of one raises ValueError.

    Args:
        in_dim: Width of the pooled features.
        dim: Width of the hidden layers and of the output (1024 in 2025, 2048 in 2024).
        synchronized: While training, statistics over the crops of all processes instead of this process's own.
    """

    def __init__(self, in_dim: int, dim: int, synchronized: bool = False) -> None:
        super().__init__()
        self.layer1 = _hidden_layer(in_dim, dim, synchronized)
        self.layer2 = _hidden_layer(dim, dim, synchronized)
        self.layer3 = nn.Sequential(nn.Linear(dim, dim))

    def forward(self, features: Float[Tensor, "crops in_dim"]) -> Float[Tensor, "crops dim"]:
        """Project pooled features; not normalised, since the cosine normalises."""
        return self.layer3(self.layer2(self.layer1(features)))


class BatchStatistics(nn.BatchNorm1d):
    """Subtract the batch's mean and divide by its deviation: the released code's norm, if asked over all processes.

    `torch.nn.SyncBatchNorm` does the same, on GPUs only.

    Args:
        features: Width.
        synchronized: While training in several processes, use the statistics of all their crops.
    """

    def __init__(self, features: int, synchronized: bool = False) -> None:
        super().__init__(features, affine=False, track_running_stats=False)
        self.synchronized = synchronized

    def forward(self, features: Float[Tensor, "crops dim"]) -> Float[Tensor, "crops dim"]:
        """Normalised features."""
        import torch.distributed as dist

        shared = self.synchronized and self.training and dist.is_available() and dist.is_initialized()
        return self._over_all_processes(features) if shared else super().forward(features)

    def _over_all_processes(self, features: Tensor) -> Tensor:
        from torch.distributed.nn.functional import all_reduce

        with without_autocast(features):
            x = features.float()
            count = all_reduce(torch.full_like(x[0], len(x)))
            centred = x - all_reduce(x.sum(0)) / count
            variance = all_reduce(centred.square().sum(0)) / count
            return (centred * (variance + self.eps).rsqrt()).to(features.dtype)


def _hidden_layer(inputs: int, outputs: int, synchronized: bool) -> nn.Sequential:
    norm = BatchStatistics(outputs, synchronized)
    return nn.Sequential(nn.Linear(inputs, outputs), norm, nn.ReLU(inplace=True))


class Embeddings(NamedTuple):
    """Projected crops of a batch."""

    random: Float[Tensor, "volumes random dim"]
    base: Float[Tensor, "volumes bases dim"]


@dataclass
class VoCoLosses:
    """The losses of a batch.

    Attributes:
        total: What is minimised: the weighted sum of the terms.
        terms: Unweighted means over the volumes: "intra" (positive plus negative), "positive", "negative",
            "inter" where the objective has it, "regularization".
    """

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]


class VoCo(nn.Module):
    """Volume contrastive pre-training: predict where a crop lies from its similarity to the base crops.

    Args:
        config: Encoder and objective; `config.train.seed` seeds the weights.
        in_channels: Channels of the crops.

    Attributes:
        started_from: File and digest of the weights that the encoder started from; None: fresh weights.
    """

    def __init__(self, config: PretrainConfig, in_channels: int = 1) -> None:
        super().__init__()
        self.config = config
        self.objective = objective(config.objective.name, config.objective.mode)
        self.started_from: dict[str, str | None] | None = None
        seed = mixed_seed(config.train.seed, 0) % 2**63
        self.encoder = build_encoder(config.encoder, in_channels, seed)
        self.projector = self._new_projector(seed)
        # The released code never copies the student, so its teacher starts from weights of its own.
        start = seed if self.objective.teacher_start == "copy" else seed ^ 1
        self.teacher_encoder: nn.Module | None = None
        self.teacher_projector: nn.Module | None = None
        if self.objective.teacher == "network":
            self.teacher_encoder = build_encoder(config.encoder, in_channels, start).requires_grad_(False)
        if self.objective.teacher != "none":
            self.teacher_projector = self._new_projector(start).requires_grad_(False)

    def forward(
        self, batch: VoCoBatch, generator: torch.Generator | None = None, update_teacher: bool = True
    ) -> VoCoLosses:
        """The losses of a batch of volumes; moves the teacher while training.

        Args:
            batch: Crops and position labels, on the model's device.
            generator: Source of the feature dropout, on that device; None: torch's global one.
            update_teacher: Let the EMA move; accumulation moves it once per optimizer step.

        Raises:
            ValueError: A single volume where the objective needs a partner for it.
        """
        student, teacher = self.embed(batch, generator, update_teacher)
        return self.losses(student, teacher, batch.position_labels)

    def embed(
        self, batch: VoCoBatch, generator: torch.Generator | None = None, update_teacher: bool = True
    ) -> tuple[Embeddings, Embeddings]:
        """Student and teacher embeddings of a batch: student first, then the EMA, then the teacher."""
        crops = all_crops(batch)
        features = self.encoder(crops).pooled
        student = self.projector(self._drop(features, generator))
        if update_teacher and (self.training or self.objective.teacher_update == "always"):
            self.update_teacher()
        with torch.no_grad():
            teacher = self._teach(crops, features.detach(), student.detach())
        return self._parted(student, batch), self._parted(teacher, batch)

    def losses(
        self, student: Embeddings, teacher: Embeddings, labels: Float[Tensor, "volumes random bases"]
    ) -> VoCoLosses:
        """Intra-volume, inter-volume and regularization losses from embeddings.

        2025: intra + inter + reg with s(k_student, q_teacher); 2024: s averaged over both ways, no inter-volume term.

        Raises:
            ValueError: A single volume where the objective needs a partner for it.
        """
        weights, choice = self.config.objective, self.objective
        labels = labels.to(torch.float64 if choice.label_dtype == "float64" else torch.float32)
        positive, negative = self._intra(student, teacher, labels)
        reg = regularization_loss(student.base, choice.regularization_gradient).mean()
        terms = {"intra": positive + negative, "positive": positive, "negative": negative, "regularization": reg}
        total = weights.intra_weight * terms["intra"] + weights.regularization_weight * reg
        if choice.inter_volume:
            terms["inter"] = self._inter(student, teacher)
            total = total + weights.inter_weight * terms["inter"]
        return VoCoLosses(total, terms)

    @torch.no_grad()
    def project(self, crops: Float[Tensor, "crops channel x y z"], teacher: bool = True) -> Float[Tensor, "crops dim"]:
        """Embeddings of crops without dropout and without moving the teacher; the crops are one batch.

        Args:
            crops: At least two; their statistics enter the projector.
            teacher: By the teacher, where there is one; False: by the student.
        """
        encoder = self.teacher_encoder if teacher and self.teacher_encoder is not None else self.encoder
        projector = self.teacher_projector if teacher and self.teacher_projector is not None else self.projector
        output: EncoderOutput = encoder(crops)
        return projector(output.pooled)

    @torch.no_grad()
    def update_teacher(self) -> None:
        """EMA: teacher <- m * teacher + (1 - m) * student, over parameters; buffers are copied.

        Released code: `_EMA_update_encoder_teacher`; its modules have no buffers that move.
        """
        momentum = self.config.objective.momentum
        pairs = self._taught()
        own: list[Tensor] = [p for _, teacher in pairs for p in teacher.parameters()]
        others: list[Tensor] = [p for student, _ in pairs for p in student.parameters()]
        if own:
            torch._foreach_mul_(own, momentum)
            torch._foreach_add_(own, others, alpha=1 - momentum)
        for student, teacher in pairs:
            # Batch statistics of a whole-network teacher are the student's: averaging counts and means apart is worse.
            for mine, other in zip(teacher.buffers(), student.buffers(), strict=True):
                mine.copy_(other)

    def _new_projector(self, seed: int) -> Projector:
        choice = self.config.objective
        with seeded(mixed_seed(seed, 1) % 2**63):
            return Projector(self.encoder.feature_dim, choice.projector_dim, choice.synchronized)

    def _taught(self) -> list[tuple[nn.Module, nn.Module]]:
        """Pairs of student and teacher modules."""
        pairs = [(self.encoder, self.teacher_encoder), (self.projector, self.teacher_projector)]
        return [(student, teacher) for student, teacher in pairs if teacher is not None]

    def _teach(self, crops: Tensor, features: Tensor, student: Tensor) -> Tensor:
        if self.teacher_projector is None:
            return student
        if self.teacher_encoder is not None:
            features = self.teacher_encoder(crops).pooled
        return self.teacher_projector(features)

    def _drop(self, features: Tensor, generator: torch.Generator | None) -> Tensor:
        kind, p = self.objective.feature_dropout, self.config.objective.dropout
        active = self.training or self.objective.dropout_update == "always"
        if kind == "none" or p == 0 or not active:
            return features
        shape = features.shape if kind == "elements" else (len(features), 1)
        return features * draw_keep(shape, p, features.device, generator).to(features.dtype) / (1 - p)

    def _intra(self, student: Embeddings, teacher: Embeddings, labels: Tensor) -> tuple[Tensor, Tensor]:
        choice = self.objective
        if choice.compared == "detached-bases":
            predicted = position_similarity(student.random, student.base.detach())
        else:
            predicted = position_similarity(student.random, teacher.base)
        if choice.compared == "both-ways":
            predicted = (predicted + position_similarity(teacher.random, student.base)) / 2
        if choice.averaged_over == "batch":
            predicted, labels = predicted.flatten(0, 1), labels.flatten(0, 1)
        terms = prediction_terms(predicted, labels, choice.positive_weights, choice.negative_term)
        return terms.positive.mean(), terms.negative.mean()

    def _inter(self, student: Embeddings, teacher: Embeddings) -> Tensor:
        """Similarities to the next volume's base crops, the student's against the teacher's."""
        if len(student.random) < 2 and self.objective.lone_volume == "error":
            raise ValueError(
                "inter-volume contrast needs at least 2 volumes in a batch, got 1. "
                "Raise train.batch_size, or choose the objective cvpr24."
            )
        target = position_similarity(teacher.random, teacher.base.roll(-1, 0))
        predicted = position_similarity(student.random, student.base.roll(-1, 0))
        return prediction_terms(predicted, target).total.mean()

    def _parted(self, embedded: Tensor, batch: VoCoBatch) -> Embeddings:
        volumes, random = batch.random_crops.shape[:2]
        bases = batch.base_crops.shape[1]
        first, rest = embedded.split([volumes * random, volumes * bases])
        return Embeddings(first.unflatten(0, (volumes, random)), rest.unflatten(0, (volumes, bases)))


def all_crops(batch: VoCoBatch) -> Float[Tensor, "crops channel x y z"]:
    """Every crop of a batch: the random crops of all volumes, then the base crops, each volume-major."""
    return torch.cat([batch.random_crops.flatten(0, 1), batch.base_crops.flatten(0, 1)])


def draw_keep(
    shape: tuple[int, ...] | torch.Size, p: float, device: torch.device, generator: torch.Generator | None
) -> Bool[Tensor, "*shape"]:
    """What a dropout of probability ``p`` keeps."""
    return torch.rand(shape, device=device, generator=generator) >= p
