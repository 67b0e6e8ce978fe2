"""Classification: one class for a whole scan, from features averaged over the crops that cover it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from voco_lite.config import Size
from voco_lite.config.plain import plain
from voco_lite.downstream.classes import POPULATION, class_numbers
from voco_lite.downstream.covering import cover, drawn_crops, pooled_scan, pooled_scans
from voco_lite.downstream.split import Split
from voco_lite.downstream.start import Start
from voco_lite.downstream.task import Task, TaskNetwork
from voco_lite.encoders import Encoder
from voco_lite.encoders.seeding import seeded
from voco_lite.volumes import Volume


@dataclass(frozen=True)
class ClassificationConfig:
    """What is told apart, and how a scan is looked at.

    The default preparation gives every subject the same number of voxels, which hides most of the body's size: prepare
    with a spacing in mm where "body_shape" is asked for.

    Attributes:
        attribute: What is asked: "lesion", "contrast_phase" or "body_shape" of the sample population, or the name of an
            attribute that holds a class's name.
        classes: Names of the classes, in order; left out: those that the sample population has.
        crop_size: Voxels of the crops that cover a scan.
        shift: Largest offset added to prepared intensities, in half of the examples.
        class_weights: "equal": each subject counts the same in the loss; "balanced": each class does (scikit-learn's
            rule, from the training subjects).
    """

    attribute: str = "lesion"
    classes: tuple[str, ...] = ()
    crop_size: Size = (32, 32, 32)
    shift: float = 0.1
    class_weights: Literal["equal", "balanced"] = "equal"

    def __post_init__(self) -> None:
        if not self.classes:
            object.__setattr__(self, "classes", POPULATION.get(self.attribute, ()))
        if len(set(self.classes)) < max(len(self.classes), 2):
            raise ValueError(
                f"classes must be at least two different names, got {self.classes}. Name the classes of "
                f"{self.attribute!r}, or ask for one of {', '.join(POPULATION)}."
            )
        if min(self.crop_size) < 1 or self.shift < 0 or self.class_weights not in ("equal", "balanced"):
            raise ValueError(
                'crop_size must be positive, shift at least 0 and class_weights "equal" or "balanced", got '
                f"{self.crop_size}, {self.shift} and {self.class_weights!r}. Take the defaults."
            )


class PooledClassifier(TaskNetwork):
    """Logits that are linear in the encoder's pooled features, averaged over the crops of a scan.

    Args:
        encoder: Any.
        classes: How many.
    """

    linear = True
    encoder: Encoder

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__(encoder)
        self.head = nn.Linear(encoder.feature_dim, classes)

    def forward(
        self, crops: Float[Tensor, "scans crops channel x y z"], counts: Int[Tensor, " scans"]
    ) -> Float[Tensor, "scans classes"]:
        """One logit a class and scan; only the first `counts` crops of a scan are looked at."""
        return self.head(pooled_scans(self.encoder, crops, counts))

    @torch.no_grad()
    def probabilities(self, crops: Float[Tensor, "crops channel x y z"]) -> Float[Tensor, " classes"]:
        """Of one scan, float64 on the CPU; few crops at a time. The network has to be in evaluation mode."""
        return self.head(pooled_scan(self.encoder, crops)).double().softmax(-1).cpu()


def build_classifier(encoder: Encoder, classes: int, seed: int) -> PooledClassifier:
    """A classifier on an encoder, which becomes part of it; the seed decides the head's weights."""
    with seeded(seed):
        return PooledClassifier(encoder, classes)


def balanced_weights(numbers: Sequence[int], classes: int) -> Float[Tensor, " classes"]:
    """Weights with which each class counts the same: subjects / (classes * subjects of that class)."""
    from sklearn.utils.class_weight import compute_class_weight

    weights = compute_class_weight("balanced", classes=torch.arange(classes).numpy(), y=list(numbers))
    return torch.as_tensor(weights, dtype=torch.float32)


class ClassificationTask(Task):
    """Tell the class of a subject; its score is the probability given to the right class, in [0, 1].

    That says more than right or wrong while few subjects validate, and is bounded, so that none outweighs the others.

    Args:
        start: The encoder.
        split: Prepared subjects that have the attribute.
        config: What and how.
        seed: Of the head's weights.

    Raises:
        ValueError: A crop size that the encoder cannot take, a subject without a known class, or a class that no
            training subject has.
    """

    network: PooledClassifier

    def __init__(self, start: Start, split: Split, config: ClassificationConfig, seed: int = 0) -> None:
        encoder = start.fresh()
        encoder.require_size(config.crop_size)
        self.start, self.config = start, config
        self.numbers = class_numbers(split.training, config.attribute, config.classes)
        class_numbers(split.validation, config.attribute, config.classes)
        missing = [name for number, name in enumerate(config.classes) if number not in self.numbers]
        if missing:
            raise ValueError(
                f"Every class needs a training subject, got none of {', '.join(missing)} among {len(self.numbers)}. "
                "Train on more subjects, or name only the classes that they show."
            )
        super().__init__(build_classifier(encoder, len(config.classes), seed), split)
        balanced = config.class_weights == "balanced"
        self.weights = balanced_weights(self.numbers, len(config.classes)) if balanced else None
        self.most = max(len(self._cover(volume)) for volume in split.training)

    def describe(self) -> dict[str, Any]:
        """Encoder, preparation and choices."""
        parts: dict[str, Any] = {
            "encoder": self.start.config,
            "volume": self.start.volume,
            "classification": self.config,
        }
        return {"name": "classification", **{name: plain(asdict(part)) for name, part in parts.items()}}

    def sample(self, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The crops of a whole scan, (crops, channel, x, y, z), how many there are, and the number of its class.

        Scans of other sizes have other numbers of crops; the example is filled up with 0 to the most.
        """
        crops = self._cover(self.split.training[index])
        filled = drawn_crops(crops, self.most, self.config.shift, generator)
        return {"crops": filled, "count": torch.tensor(len(crops)), "class": torch.tensor(self.numbers[index])}

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy; with class weights, the weighted mean."""
        logits = self.network(batch["crops"], batch["count"]).float()
        weights = None if self.weights is None else self.weights.to(logits.device)
        return {"cross_entropy": F.cross_entropy(logits, batch["class"], weights)}

    def scores(self, subjects: Sequence[Volume]) -> list[float]:
        """Probability of the right class, by subject."""
        numbers = class_numbers(subjects, self.config.attribute, self.config.classes)
        return [float(self.predict(subject)[number]) for subject, number in zip(subjects, numbers, strict=True)]

    def predict(self, volume: Volume) -> Float[Tensor, " classes"]:
        """Probability of each class, float64; the network has to be in evaluation mode."""
        return self.network.probabilities(self._cover(volume))

    def _cover(self, volume: Volume) -> Float[Tensor, "crops channel x y z"]:
        return cover(volume.data, self.config.crop_size)
