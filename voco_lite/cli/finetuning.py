"""`finetune`: from a pre-trained checkpoint and labelled subjects to a network for a task."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from voco_lite.checkpoints import FINAL, step_path
from voco_lite.cli.processes import first_process
from voco_lite.cli.published import announce, published_settings, with_warmup_share
from voco_lite.config import Intensity, PretrainConfig, Size
from voco_lite.downstream import FinetuneConfig

if TYPE_CHECKING:
    from voco_lite.downstream import Start


TaskName = Literal["segmentation", "classification", "registration", "vision-language"]


@dataclass(frozen=True)
class Finetune:
    """Fine-tune a pre-trained encoder on labelled subjects.

    The same command continues an interrupted run from its newest checkpoint. Each task has defaults of its own, the
    settings of its notebook: `finetune TASK --help` shows them. Vision-language differs from its notebook: its scans have
    a fixed size, which hides the body's shape, so that its reports speak of the contrast phase alone.

    Attributes:
        task: What is learnt.
        start: Checkpoint or run folder of `pretrain` that the encoder comes from; left out: fresh weights.
        from_scratch: Take network and preparation from `--from`, and fresh weights of `train.seed`: the control of the
            run that starts there.
        preset: Settings of the network and of the preparation, where there is no checkpoint.
        intensity: How intensities are prepared: "mr" for MR scans, a window of two numbers, or another name (see
            `VolumeConfig`); left out: as in the pre-training, or of the preset. An encoder that was pre-trained on CT may
            start on MR, too.
        data: Made subjects, "population" (warps of one real CT) or "phantoms"; for segmentation, a folder in the layout
            of the Medical Segmentation Decathlon (dataset.json, imagesTr, labelsTr); for classification, a set of
            MedMNIST3D in its official parts, whole, such as "organmnist3d" or "organmnist3d_64" (needs the extra
            "medmnist").
        subjects: How many made subjects to train on; a folder's rest is used whole.
        validation: Subjects that decide which weights are kept.
        test: Subjects that are examined at the end, once.
        published: A task of the published benchmark, such as "MSD04-Hippocampus": its preparation, patches and schedule are
            the defaults then, for its folder under `--data`; the encoder stays that of `--from`. Segmentation only.
        split_seed: Decides which subjects of a folder validate and which are examined, whatever `train.seed` is.
        organs: Names of the structures; left out: spleen, liver and bladder of made subjects, which learn within the
            default steps, and all of a folder. Registration does not learn from them, it is scored by them.
        size: Voxels of prepared scans along (x, y, z); left out: as in the pre-training, or of the preset.
        patch_size: Voxels of a training patch and of the sliding window; in classification and vision-language, of
            the crops that cover a scan.
        by_organ: Cut as many patches around each organ, and one in ten anywhere; else half of them around voxels of any
            organ.
        attribute: What classification tells apart in made subjects: "contrast_phase", "lesion" or "body_shape". A
            preparation to a fixed size, as most presets have it, hides the last (see notebook 08).
        topics: What the reports of vision-language talk about: "contrast_phase", "lesion" and "organs", which notebook 10
            found hardly visible, or "body_shape", which a preparation to a fixed size hides.
        train: How to train. Vision-language contrasts the scans of a batch with each other: take as many as fit into memory.
    """

    task: Positional[TaskName] = "segmentation"
    start: Annotated[str | None, tyro.conf.arg(name="from")] = None
    from_scratch: bool = False
    preset: str = "laptop"
    intensity: Intensity | None = None
    data: str = "population"
    subjects: int = 8
    validation: int = 3
    test: int = 4
    published: str | None = None
    split_seed: int = 0
    organs: tuple[str, ...] = ()
    size: Size | None = None
    patch_size: Size = (32, 32, 32)
    by_organ: bool = True
    attribute: str = "contrast_phase"
    topics: tuple[str, ...] = ("contrast_phase",)
    train: FinetuneConfig = field(default_factory=lambda: _training(steps=200, batch_size=8, learning_rate=3e-3))

    def run(self) -> None:
        """Fine-tune, then examine the test subjects and say where everything lies."""
        from voco_lite.cli.learning import learn

        config, start = self.train, self.prepared_start()
        if config.run_folder is None:
            config = replace(config, run_folder=str(self.default_folder()))
        if self.published is not None:
            config = with_warmup_share(self, config)
            if first_process():
                announce(self, start, config)
        learn(self, start, config)
        if first_process():
            print(f"Run folder: {config.run_folder}")

    def default_folder(self) -> Path:
        """Where a run lies that names no folder: another one for another task, data, published settings or start."""
        start = "" if self.start is None else _run_name(Path(self.start))
        how = f"from-{start}" if not self.from_scratch else f"scratch-as-{start}"
        what = f"{self.task}-{Path(self.data).resolve().name}"
        if self.published is not None:
            what += f"-{published_settings(self).name}"
        return Path("runs") / f"{what}-{how if start else 'scratch'}"

    def prepared_start(self) -> Start:
        """The encoder and how scans are prepared for it.

        Raises:
            FileNotFoundError, ValueError: As `pretrained` and `published_settings`, or an unknown preset.
        """
        from voco_lite.downstream import pretrained, untrained

        if self.start is None:
            start = untrained(PretrainConfig.preset(self.preset), self.train.seed)
        else:
            start = pretrained(self.start)
            start = start.from_scratch(self.train.seed) if self.from_scratch else start
        asked: dict[str, Any] = {"size": self.size, "intensity": self.intensity}
        changes = {name: value for name, value in asked.items() if value is not None}
        volume = start.volume if self.published is None else published_settings(self).volume
        return replace(start, volume=replace(volume, **changes))


def recipe(task: TaskName) -> Finetune:
    """The defaults of a task."""
    return {
        "segmentation": Finetune(),
        "classification": Finetune(
            "classification",
            subjects=24,
            validation=6,
            test=16,
            train=_training(steps=60, batch_size=2, learning_rate=1e-3, gauge_every=20),
        ),
        # Coarse scans let the same time hold many more steps.
        "registration": Finetune(
            "registration",
            validation=2,
            size=(48, 48, 48),
            train=_training(steps=300, batch_size=1, learning_rate=2e-3, warmup_steps=30, gauge_every=75),
        ),
        "vision-language": Finetune(
            "vision-language",
            subjects=128,
            validation=16,
            test=64,
            size=(64, 64, 64),
            train=_training(steps=100, batch_size=16, learning_rate=5e-3, encoder_rate=0.3, gauge_every=25),
        ),
    }[task]


def _training(gauge_every: int = 50, **settings: Any) -> FinetuneConfig:
    """With a checkpoint at every look at the validation subjects, so that an interrupted run loses little."""
    return FinetuneConfig(gauge_every=gauge_every, checkpoint_every=gauge_every, **settings)


def _run_name(start: Path) -> str:
    """A checkpoint or run folder, as part of a file name: that of the run, and the step where it is not the final one."""
    path = start.resolve()
    if path.name == FINAL:
        return path.parent.name
    folder, name = path.parent.parent, path.name.removesuffix(".pt")
    return f"{folder.name}-{name}" if path.parent == step_path(folder, 0).parent else name
