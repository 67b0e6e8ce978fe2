"""A trained alignment, as a file holds it, and what it is worth on subjects and wordings that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from voco_lite.checkpoints import load_weights
from voco_lite.config import EncoderConfig, VolumeConfig
from voco_lite.downstream.classes import POPULATION, class_numbers
from voco_lite.downstream.covering import cover
from voco_lite.downstream.retrieval import Query, Recall, recall_at
from voco_lite.downstream.sentences import Fact, facts_of, full_report, marks, unseen_wording
from voco_lite.downstream.stored import read_stored
from voco_lite.downstream.text_encoder import MiniLM, TextEncoder, embed_text
from voco_lite.downstream.vision_language import (
    TextConfig,
    VisionLanguageConfig,
    VisionLanguageNetwork,
    build_alignment,
    fitting,
)
from voco_lite.encoders import build_encoder
from voco_lite.volumes import Volume

_NAME = "vision_language"
_WAYS: tuple[tuple[Query, str], ...] = (("text", "report to scan"), ("scan", "scan to report"))


@dataclass(frozen=True, eq=False)
class Aligner:
    """A network with what it needs to compare texts and scans.

    Attributes:
        network: In evaluation mode.
        config: Topics and crops.
        volume: How scans have to be prepared.
        text_encoder: The one that it was trained with.
    """

    network: VisionLanguageNetwork
    config: VisionLanguageConfig
    volume: VolumeConfig
    text_encoder: TextEncoder

    def compare(self, texts: Sequence[str], volumes: Sequence[Volume]) -> Float[ndarray, "texts scans"]:
        """Cosine of each text, of any words, and each prepared volume in the common space, float64.

        Raises:
            ValueError: No text or volume, or an empty text.
        """
        return self.near(texts, self.place(volumes))

    @torch.no_grad()
    def place(self, volumes: Sequence[Volume]) -> Float[Tensor, "scans width"]:
        """Directions of prepared volumes in the common space: the slow half of `compare`, the same for every text.

        Raises:
            ValueError: No volume.
        """
        if not len(volumes):
            raise ValueError("Texts are compared with volumes, got none. Give at least one.")
        crops = (cover(volume.data, self.config.crop_size) for volume in volumes)
        return torch.stack([self.network.place_scan(scan) for scan in crops])

    @torch.no_grad()
    def near(self, texts: Sequence[str], places: Float[Tensor, "scans width"]) -> Float[ndarray, "texts scans"]:
        """Cosine of each text and each volume that was placed, float64.

        Raises:
            ValueError: No text, or an empty one.
        """
        if not texts:
            raise ValueError("Volumes are compared with texts, got none. Give at least one.")
        vectors = torch.stack([embed_text(self.text_encoder, text) for text in texts]).to(places.device)
        return (self.network.place_texts(vectors).double() @ places.double().T).cpu().numpy()


def load_aligner(path: str | Path, text_encoder: TextEncoder | None = None) -> Aligner:
    """The network of a checkpoint or run folder of a vision-language alignment.

    Args:
        path: Of the file or folder.
        text_encoder: The one of the training; left out: `MiniLM`.

    Raises:
        FileNotFoundError: No such file, or a folder without a checkpoint.
        ValueError: The file is no readable checkpoint, or not that of such an alignment or with this text encoder.
    """
    stored = read_stored(path, _NAME)
    config = stored.part(_NAME, VisionLanguageConfig)
    text = stored.part("text", TextConfig)
    reader = text_encoder or MiniLM()
    if (reader.name, reader.width) != (text.name, text.width):
        raise ValueError(
            f"{stored.file} was trained with the text encoder {text.name} ({text.width} numbers), got {reader.name} "
            f"({reader.width}). Give that one."
        )
    encoder = build_encoder(stored.part("encoder", EncoderConfig), seed=0)
    network = build_alignment(encoder, text.width, config.width, seed=0)
    load_weights(network, stored.weights, stored.file)
    network.eval()
    return Aligner(network, config, stored.part("volume", VolumeConfig), reader)


@dataclass(frozen=True)
class AlignmentScores:
    """Every recall; prints as a table.

    Attributes:
        rows: Reports to scans and back, then one a class.
    """

    rows: tuple[Recall, ...]

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'':{width}}  found  95 % interval  by chance       p"]
        for row in self.rows:
            interval = f"{row.low:.2f} to {row.high:.2f}"
            lines.append(f"{row.name:{width}}  {row.value:5.2f}  {interval:>13}  {row.chance:9.2f}  {row.p_value:6.4f}")
        return "\n".join(lines)


def examine(
    aligner: Aligner, subjects: Sequence[Volume], ks: Sequence[int] = (1, 3), permutations: int = 2000, seed: int = 0
) -> AlignmentScores:
    """Retrieval both ways and zero-shot classes, in wordings that training never saw.

    Equal reports count once, and a report that fits several scans may find any of them. Among so few candidates that all
    would be found, recall is left out, save at 1. Zero-shot is recall at 1 of each scan over one prompt a class, of the
    topics that training talked about.

    Args:
        aligner: A loaded one, or `Aligner(task.network, task.config, task.start.volume, text_encoder)`.
        subjects: Made subjects, prepared.
        ks: Where recall is measured.
        permutations: Of the scans, see `Recall`.
        seed: Of the permutations.

    Raises:
        ValueError: No subjects, too little known about one, or as `recall_at`.
    """
    topics, was_training = aligner.config.topics, aligner.network.training
    aligner.network.eval()
    try:
        places = aligner.place(subjects)
        texts, fits = reports_of(subjects, topics)
        similarity = aligner.near(texts, places)
        candidates = {"text": len(subjects), "scan": len(texts)}
        rows = [
            recall_at(k, similarity, fits.numpy(), query, f"{name}, recall@{k}", permutations, seed)
            for query, name in _WAYS
            for k in ks
            if k == 1 or k < candidates[query]
        ]
        for attribute in (topic for topic in topics if topic in POPULATION):
            prompts, right = prompts_of(subjects, attribute)
            answers = aligner.near(prompts, places)
            rows.append(recall_at(1, answers, right, "scan", f"zero-shot {attribute}", permutations, seed))
        return AlignmentScores(tuple(rows))
    finally:
        aligner.network.train(was_training)


def reports_of(subjects: Sequence[Volume], topics: Sequence[str]) -> tuple[list[str], Bool[Tensor, "texts scans"]]:
    """The different full reports of subjects, and which subjects each fits."""
    known = [facts_of(subject) for subject in subjects]
    reports = {str(report): report for report in (full_report(facts, topics) for facts in known)}
    says = torch.stack([marks(report.facts) for report in reports.values()])
    return list(reports), fitting(says, torch.stack([marks(facts) for facts in known]))


def prompts_of(subjects: Sequence[Volume], attribute: str) -> tuple[list[str], Bool[ndarray, "texts scans"]]:
    """One sentence for each class of an attribute, and which subjects it is true of."""
    classes = POPULATION[attribute]
    prompts = [unseen_wording(Fact(attribute, name)) for name in classes]
    return prompts, np.arange(len(classes))[:, None] == np.array(class_numbers(subjects, attribute, classes))
