"""What a protocol for segmentation or registration may ask for: the settings of all conditions, and those of each.

[settings]                     # of all conditions: fields of `Material`
preset = "ci"
source = "phantom"
subjects = 24
train = { batch_size = 2, learning_rate = 1e-3, gauge_every = 25 }
[[conditions]]
name = "scratch, tuned"
finetuning_steps = 100
trials = 2
settings = { tries = [{ learning_rate = 1e-3 }, { learning_rate = 3e-3 }] }    # of one: fields of `Recipe`
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from voco_lite.benchmark.planning import Cell, fit_folder
from voco_lite.benchmark.protocol import Condition, Protocol
from voco_lite.config import PretrainConfig, Size
from voco_lite.config.plain import build, require
from voco_lite.downstream.config import FinetuneConfig
from voco_lite.downstream.segmentation import SegmentationConfig

# What each task is scored by, and whether more of it is better.
DICE, REGIONS = "dice", "regions"  # regions: share of crops whose region of the body is found
TARGET, FOLDED = "target error, mm", "folded share"
METRICS = {
    "segmentation": {DICE: True, REGIONS: True},
    "registration": {TARGET: False, DICE: True, FOLDED: False},
}
# What one condition may change of the fine-tuning without another budget than the others'.
FREE = frozenset({"learning_rate", "weight_decay", "warmup_steps", "clip_norm", "mode", "encoder_rate", "layer_decay"})
# What pre-training costs, which a condition declares by its steps alone.
_COSTS = ("steps", "batch_size", "accumulation", "seed")
_CHECKPOINT = 1000  # steps between the checkpoints of a pre-training; shorter ones are begun again when interrupted
_BY_CELL = frozenset({"steps", "seed", "run_folder", "resume", "patience"})


@dataclass(frozen=True)
class Material:
    """What all conditions share.

    Attributes:
        task: What is learnt. Registration needs no labels: as many scans are learnt from as are labelled.
        preset: Encoder, preparation of volumes, and how pre-training is done.
        source: Who the subjects are: warps of the "real" CT, or of the code-made torso ("phantom"), or the labelled cases
            of a folder of one's own ("msd", see `msd_folder`).
        subjects: How many there are, in all groups together; of a folder the first so many.
        first_seed: Of made subjects; protocols with other seeds share nobody.
        organs: Names of the structures.
        patch_size: Voxels of a training patch and of the sliding window.
        probe_size: Voxels that frozen features are made of at once; None: as `patch_size`.
        foreground_share, by_organ, overlap: Where patches are cut, and how far windows overlap (`SegmentationConfig`).
        volume: Fields of `VolumeConfig` that differ from the preset's.
        train: Fields of `FinetuneConfig` for all conditions.
    """

    preset: str
    source: Literal["real", "phantom", "msd"]
    subjects: int
    organs: tuple[str, ...] = SegmentationConfig.organs
    patch_size: Size = (64, 64, 64)
    probe_size: Size | None = None
    foreground_share: float = SegmentationConfig.foreground_share
    by_organ: bool = SegmentationConfig.by_organ
    overlap: float = SegmentationConfig.overlap
    volume: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)
    task: Literal["segmentation", "registration"] = "segmentation"
    first_seed: int = 0

    @property
    def pretraining(self) -> PretrainConfig:
        """The preset on these volumes."""
        return PretrainConfig.preset(self.preset, **{f"volume__{name}": value for name, value in self.volume.items()})

    @property
    def segmentation(self) -> SegmentationConfig:
        """What is segmented, and from which patches."""
        return SegmentationConfig(
            self.organs, self.patch_size, self.foreground_share, by_organ=self.by_organ, overlap=self.overlap
        )


@dataclass(frozen=True)
class Recipe:
    """What sets one condition apart.

    Attributes:
        start: "pretrained" and "untrained" encoders are fine-tuned; "coordinates" looks at no image and gives each
            voxel the class that labelled subjects have most often at the same place.
        head: "network" fine-tunes a decoder; "ridge" fits a linear map of frozen features in closed form (dense probe), and
            asks, without labels, which region of the body a crop comes from. "affine" registers without a network,
            "identity" not at all.
        pretrained_on: The protocol's "own" training subjects, or as many warps of the real "ct": another body, another
            modality. The volumes are then prepared as `pretraining` says.
        labels: "all" shows the labels of every training subject, whatever the number asked for: an upper bound.
        pretraining: Fields of `PretrainConfig` that differ from the preset, as `PretrainConfig.preset` takes them; those
            of the encoder hold for an untrained start too.
        train: Fields of `FinetuneConfig` that differ from the others'; only such as leave the budget alone.
        tries: Further such fields, of which the best on validation subjects are used; as many as the condition's
            `trials`.
    """

    start: Literal["pretrained", "untrained", "coordinates"] = "untrained"
    head: Literal["network", "ridge", "affine", "identity"] = "network"
    pretrained_on: Literal["own", "ct"] = "own"
    labels: Literal["few", "all"] = "few"
    pretraining: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)
    tries: tuple[dict, ...] = ()


@dataclass(frozen=True)
class Plan:
    """One condition, ready to be run.

    Attributes:
        condition: As the protocol has it.
        recipe: What sets it apart.
        pretraining: Of its encoder, whose seed each cell sets.
        trains: One fine-tuning for each try, whose seed and folder each cell sets.
        kept: For each try, the first condition of the protocol that has the very same fine-tuning, and its number there.
            None is run twice.
    """

    condition: Condition
    recipe: Recipe
    pretraining: PretrainConfig
    trains: tuple[FinetuneConfig, ...]
    kept: tuple[tuple[Condition, int], ...] = ()

    @property
    def has_encoder(self) -> bool:
        """Coordinates, an affine map and the identity have none."""
        return self.recipe.start != "coordinates" and self.recipe.head in ("network", "ridge")

    def fit_folders(self, place: Path, cell: Cell) -> list[Path]:
        """Run folders of a cell's tries in a benchmark's folder."""
        if self.recipe.labels == "all":
            cell = replace(cell, labelled=cell.unlabelled)
        return [fit_folder(place, replace(cell, condition=first), number) for first, number in self.kept]


def plan_conditions(protocol: Protocol) -> tuple[Material, dict[str, Plan]]:
    """Read the settings of a protocol, before anything is run.

    Raises:
        ValueError: A setting that is unknown or of the wrong type, a metric that the task does not have, another budget
            than the others', or tries that are not as many as the trials.
    """
    material: Material = build(Material, protocol.settings, "settings")
    require(
        material.source != "msd" or material.first_seed == 0,
        f'settings.first_seed is of made subjects, got {material.first_seed} with source "msd", whose cases are taken '
        "from the first on. Leave it out.",
    )
    known = METRICS[material.task]
    require(
        known.get(protocol.metric) == protocol.higher_is_better,
        f"metric must be one of {', '.join(known)} for {material.task}, with higher_is_better as it is, got "
        f"{protocol.metric!r} and {str(protocol.higher_is_better).lower()}. Errors and folding are better where they are "
        "lower.",
    )
    _require_known(material.train, set(FinetuneConfig.__dataclass_fields__) - _BY_CELL, "settings.train")
    plans = [_plan(condition, material) for condition in protocol.conditions]
    fits = [(fit, place) for plan in plans for fit, place in _fits(plan)]
    kept = [tuple(next(place for fit, place in fits if fit == own) for own, _ in _fits(plan)) for plan in plans]
    named = {plan.condition.name: replace(plan, kept=places) for plan, places in zip(plans, kept, strict=True)}
    for first, second in protocol.comparisons:
        _require_one_encoder(named[first], named[second])
    return material, named


def _fits(plan: Plan) -> list[tuple[Any, tuple[Condition, int]]]:
    """What decides about each fine-tuning of a condition, beside cell and protocol; and which it is."""
    start = replace(plan.recipe, train={}, tries=()), plan.pretraining
    return [((*start, train), (plan.condition, number)) for number, train in enumerate(plan.trains)]


def _plan(condition: Condition, material: Material) -> Plan:
    where = f"settings of {condition.name!r}"
    recipe: Recipe = build(Recipe, condition.settings, where)
    for changes in (recipe.train, *recipe.tries):
        _require_known(changes, FREE, where)
    require(
        (recipe.start == "pretrained") == (condition.pretraining_steps > 0),
        f'{where} must have start = "pretrained" where pretraining_steps is above 0 and only there, got '
        f"{recipe.start!r} and {condition.pretraining_steps}. Correct one of them.",
    )
    require(
        recipe.pretrained_on == "own" or material.source != "real",
        f'{where} must not have pretrained_on = "ct" where the subjects are warps of that CT: test subjects could be among '
        "them. Leave it out.",
    )
    require(
        recipe.pretrained_on == "own" or recipe.start == "pretrained",
        f'{where} must have start = "pretrained" where pretrained_on is {recipe.pretrained_on!r}, got {recipe.start!r}. '
        "Leave out pretrained_on.",
    )
    heads = {"segmentation": ("network", "ridge"), "registration": ("network", "affine", "identity")}[material.task]
    learns_labels = material.task == "segmentation"
    require(
        recipe.head in heads and (learns_labels or (recipe.start != "coordinates" and recipe.labels == "few")),
        f"{where} must be something that {material.task} knows, got head {recipe.head!r}, start {recipe.start!r} and labels "
        f"{recipe.labels!r}. Its heads are {', '.join(heads)}.",
    )
    require(
        condition.reference or (recipe.head == "network" and recipe.start != "coordinates"),
        f"{where} takes no steps of fine-tuning, so that it has no equal budget. Mark it reference = true.",
    )
    require(
        len(recipe.tries) == (condition.trials if condition.trials > 1 else 0),
        f"{where} must list one try for each of {condition.trials} trials, got {len(recipe.tries)}. A single trial "
        "needs none.",
    )
    changes = {
        "steps": max(condition.pretraining_steps, 1), "gauge_every": 0, "checkpoint_every": _CHECKPOINT, "progress": False,
    }  # fmt: skip
    planned = material.pretraining.changed(**changes)
    pretraining = planned.changed(**recipe.pretraining)
    costs = [[getattr(config.train, name) for name in _COSTS] for config in (planned, pretraining)]
    require(
        costs[0] == costs[1],
        f"{where} must leave the {', '.join(_COSTS)} of pre-training alone, got {costs[1]} for {costs[0]}. Its length is "
        "pretraining_steps.",
    )
    shared = {"steps": condition.finetuning_steps, "progress": False, **material.train, **recipe.train}
    trains = tuple(_finetuning({**shared, **changes}, where) for changes in recipe.tries or ({},))
    return Plan(condition, recipe, pretraining, trains)


def _require_one_encoder(first: Plan, second: Plan) -> None:
    """Both of a comparison, where both have one."""
    encoders = [plan.pretraining.encoder for plan in (first, second) if plan.has_encoder]
    require(
        len(encoders) < 2 or encoders[0] == encoders[1],
        f"{first.condition.name!r} and {second.condition.name!r} must have the same encoder to be compared, got two. Add a "
        "condition with the encoder of the first.",
    )


def _finetuning(values: dict[str, Any], where: str) -> FinetuneConfig:
    config: FinetuneConfig = build(FinetuneConfig, values, where)
    return config


def _require_known(changes: dict[str, Any], known: set[str] | frozenset[str], where: str) -> None:
    unknown = sorted(set(changes) - known)
    require(not unknown, f"{where} may change {', '.join(sorted(known))} of the fine-tuning, got {unknown}.")
