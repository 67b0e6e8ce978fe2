"""Vision-language alignment: scans and reports as directions of one space, near where a report fits a scan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from voco_lite.config import Size
from voco_lite.config.plain import plain
from voco_lite.downstream.covering import cover, drawn_crops, pooled_scan, pooled_scans
from voco_lite.downstream.sentences import FACTS, TOPICS, Fact, draw_report, facts_about, facts_of, marks, wordings
from voco_lite.downstream.split import Split
from voco_lite.downstream.start import Start
from voco_lite.downstream.task import Task, TaskNetwork
from voco_lite.downstream.text_encoder import TextEncoder, embed_wordings, mean_direction
from voco_lite.encoders import Encoder
from voco_lite.encoders.seeding import seeded
from voco_lite.losses import without_autocast
from voco_lite.volumes import Volume

_LARGEST_SCALE = 100.0  # CLIP's bound
_FIRST_SCALE = 1 / 0.07  # CLIP's start


@dataclass(frozen=True)
class VisionLanguageConfig:
    """What reports talk about, and how a scan is looked at.

    Attributes:
        topics: Of "contrast_phase", "body_shape", "lesion" and "organs" (one organ's lesion, or that it is clear). The
            default preparation hides most of the body's size: prepare with a spacing in mm where "body_shape" is one.
        crop_size: Voxels of the crops that cover a scan.
        shift: Largest offset added to prepared intensities, in half of the examples.
        width: Dimensions of the common space.
    """

    topics: tuple[str, ...] = ("contrast_phase", "lesion", "organs")
    crop_size: Size = (32, 32, 32)
    shift: float = 0.1
    width: int = 64

    def __post_init__(self) -> None:
        if not self.topics or len({*self.topics} & {*TOPICS}) < len(self.topics):
            raise ValueError(f"topics must be different ones of {', '.join(TOPICS)}, got {self.topics}. Name one.")
        if min(self.crop_size) < 1 or self.shift < 0 or self.width < 1:
            raise ValueError(
                f"crop_size and width must be positive and shift at least 0, got {self.crop_size}, {self.width} and "
                f"{self.shift}. Take the defaults."
            )


@dataclass(frozen=True)
class TextConfig:
    """The language model that reports went through.

    Attributes:
        name: Of the model.
        width: Numbers in its vectors.
    """

    name: str
    width: int


class VisionLanguageNetwork(TaskNetwork):
    """A linear projection of the encoder's pooled features, one of a text's vector, and a learnt temperature.

    Both are standardised before, by statistics of the batches: what all scans or all texts have in common would hide
    what they differ in.

    Args:
        encoder: Any.
        text_width: Numbers in a text's vector.
        width: Dimensions of the common space.
    """

    linear = True
    encoder: Encoder

    def __init__(self, encoder: Encoder, text_width: int, width: int) -> None:
        super().__init__(encoder)
        self.scan_projection = _projection(encoder.feature_dim, width)
        self.text_projection = _projection(text_width, width)
        share = math.log(_FIRST_SCALE) / math.log(_LARGEST_SCALE)
        self.sharpness = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    @property
    def scale(self) -> Float[Tensor, ""]:
        """Inverse temperature, between 1 and 100 whatever is learnt; CLIP cuts it off at 100 instead."""
        return torch.exp(math.log(_LARGEST_SCALE) * self.sharpness.sigmoid())

    def forward(
        self,
        crops: Float[Tensor, "scans crops channel x y z"],
        counts: Int[Tensor, " scans"],
        texts: Float[Tensor, "texts text_width"],
    ) -> Float[Tensor, "texts scans"]:
        """Logit of each text for each scan, the scaled cosine, in fp32."""
        scans = _directions(self.scan_projection, pooled_scans(self.encoder, crops, counts))
        with without_autocast(scans):
            return self.scale * self.place_texts(texts) @ scans.T

    def place_texts(self, texts: Float[Tensor, "texts text_width"]) -> Float[Tensor, "texts width"]:
        """Directions of texts in the common space, in fp32."""
        return _directions(self.text_projection, texts)

    @torch.no_grad()
    def place_scan(self, crops: Float[Tensor, "crops channel x y z"]) -> Float[Tensor, " width"]:
        """Direction of one scan, in fp32; few crops at a time. The network has to be in evaluation mode."""
        return _directions(self.scan_projection, pooled_scan(self.encoder, crops)[None])[0]


def _projection(features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(features, affine=False), nn.Linear(features, width))


def _directions(projection: nn.Module, features: Float[Tensor, "rows features"]) -> Float[Tensor, "rows width"]:
    with without_autocast(features):
        return F.normalize(projection(features.float()), dim=-1)


def build_alignment(encoder: Encoder, text_width: int, width: int, seed: int) -> VisionLanguageNetwork:
    """A network on an encoder, which becomes part of it; the seed decides the projections' weights."""
    with seeded(seed):
        return VisionLanguageNetwork(encoder, text_width, width)


def fitting(says: Bool[Tensor, "texts facts"], true: Bool[Tensor, "scans facts"]) -> Bool[Tensor, "texts scans"]:
    """Which texts fit which scans: all that a text says is true of the scan."""
    return says.float() @ (~true).float().T == 0


def contrastive_loss(logits: Float[Tensor, "texts scans"], fits: Bool[Tensor, "texts scans"]) -> Float[Tensor, ""]:
    """Mean of two cross-entropies: of each text over the scans, and of each scan over the texts.

    A text that fits several scans spreads its target evenly over them, so that equal sentences are no negatives of each
    other. Where each fits one, this is the loss of CLIP (Radford et al., ICML 2021).

    Args:
        logits: Of each text for each scan.
        fits: At least one in each row and each column.
    """
    both = ((logits, fits.float()), (logits.T, fits.float().T))
    each = [F.cross_entropy(found, wanted / wanted.sum(1, keepdim=True)) for found, wanted in both]
    return (each[0] + each[1]) / 2


class VisionLanguageTask(Task):
    """Bring scans and reports about them together; the score of a subject lies in [0, 1].

    It is the probability given to what is true among the alternatives, such as the four phases, on average over the
    topics; in wordings of the training, so that those of the examination stay unseen. Scans of a batch are each other's
    negatives; several processes contrast each its own.

    Args:
        start: The encoder.
        split: Prepared subjects of the sample population.
        config: What and how.
        text_encoder: Is asked once, here.
        seed: Of the projections' weights.

    Raises:
        ValueError: A crop size that the encoder cannot take, or a subject about whom too little is known.
    """

    network: VisionLanguageNetwork

    def __init__(
        self, start: Start, split: Split, config: VisionLanguageConfig, text_encoder: TextEncoder, seed: int = 0
    ) -> None:
        encoder = start.fresh()
        encoder.require_size(config.crop_size)
        self.start, self.config = start, config
        self.facts = [facts_of(volume) for volume in split.training]
        for facts in (*self.facts, *map(facts_of, split.validation)):
            for topic in config.topics:
                facts_about(facts, topic)
        self.text = TextConfig(text_encoder.name, text_encoder.width)
        super().__init__(build_alignment(encoder, self.text.width, config.width, seed), split)
        self.vectors = embed_wordings(text_encoder)
        self.most = max(len(cover(volume.data, config.crop_size)) for volume in split.training)

    def describe(self) -> dict[str, Any]:
        """Encoder, preparation, language model and choices."""
        parts: dict[str, Any] = {
            "encoder": self.start.config,
            "volume": self.start.volume,
            "text": self.text,
            "vision_language": self.config,
        }
        return {"name": "vision_language", **{name: plain(asdict(part)) for name, part in parts.items()}}

    def sample(self, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The crops of a whole scan, how many there are, a report's vector, what it says, and what is true."""
        crops = cover(self.split.training[index].data, self.config.crop_size)
        filled = drawn_crops(crops, self.most, self.config.shift, generator)
        report = draw_report(self.facts[index], self.config.topics, generator)
        return {
            "crops": filled,
            "count": torch.tensor(len(crops)),
            "text": self._vector(report.sentences),
            "says": marks(report.facts),
            "true": marks(self.facts[index]),
        }

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The contrastive loss.

        Raises:
            ValueError: A batch of one, which has nothing to contrast with.
        """
        if len(batch["crops"]) < 2:
            raise ValueError("A batch must hold at least 2 scans to contrast, got 1. Raise batch_size.")
        logits = self.network(batch["crops"], batch["count"], batch["text"])
        return {"contrastive": contrastive_loss(logits, fitting(batch["says"], batch["true"]))}

    @torch.no_grad()
    def scores(self, subjects: Sequence[Volume]) -> list[float]:
        """Probability given to what is true, by subject."""
        prompts = torch.stack([self._vector(wordings(fact)) for fact in FACTS]).to(self.network.sharpness.device)
        texts = self.network.scale * self.network.place_texts(prompts)
        return [self._score(subject, texts) for subject in subjects]

    def _score(self, subject: Volume, texts: Float[Tensor, "facts width"]) -> float:
        place = self.network.place_scan(cover(subject.data, self.config.crop_size))
        with without_autocast(place):
            logits = (texts @ place).cpu()
        known = [facts_about(facts_of(subject), topic) for topic in self.config.topics]
        by_topic = [torch.tensor([probability(logits, fact) for fact in facts]).mean() for facts in known]
        return float(torch.stack(by_topic).mean())

    def _vector(self, sentences: Sequence[str]) -> Float[Tensor, " text_width"]:
        return mean_direction(torch.stack([self.vectors[sentence] for sentence in sentences]))


def probability(logits: Float[Tensor, " facts"], fact: Fact) -> float:
    """Softmax of a fact among all that could be said about its topic; logits in the order of `FACTS`."""
    options = [number for number, other in enumerate(FACTS) if other.topic == fact.topic]
    return float(logits[options].softmax(0)[options.index(FACTS.index(fact))])
