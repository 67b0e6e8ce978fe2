"""`finetune --published`: the settings of a published task as defaults, for what is not asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voco_lite.benchmark import TaskConfig
    from voco_lite.cli.finetuning import Finetune
    from voco_lite.downstream import FinetuneConfig, Start

MADE = ("population", "phantoms")


def published_settings(asked: Finetune) -> TaskConfig:
    """The settings of the task that is named, for the folder that is named; no scan is read.

    Raises:
        ValueError: No such task, one that cannot be run here, made subjects, or data that are not those of the task.
        FileNotFoundError: `data` is no folder in MSD layout.
    """
    from voco_lite.benchmark import msd_folder, task

    if asked.task != "segmentation":
        raise ValueError(f"--published goes with segmentation, got {asked.task}. Leave it out, or name segmentation.")
    found = task(str(asked.published))
    found.config()  # a task that cannot be run is refused before its data are looked for
    if asked.data in MADE:
        raise ValueError(
            f"{found.name} needs its own data, got made subjects ({asked.data}). Name a folder in MSD layout with --data; "
            f"where to get it: {found.data or 'not known'}."
        )
    return found.config(msd_folder(asked.data))


def published_defaults(asked: Finetune) -> Finetune:
    """What was asked for, with the published settings in place of the defaults of `finetune segmentation`.

    The command line is read again on top of it: an option that is given wins, be it equal to a default or not. Only the
    warm-up keeps its published share where it has the published length and the steps have not (`with_warmup_share`).

    Raises:
        ValueError, FileNotFoundError: As `published_settings`.
    """
    settings = published_settings(asked)
    schedule = _schedule(asked, settings)
    names = ("steps", "batch_size", "learning_rate", "weight_decay", "warmup_steps", "gauge_every", "precision")
    train = replace(asked.train, **{name: getattr(schedule, name) for name in names})
    return replace(
        asked,
        intensity=settings.volume.intensity,
        patch_size=settings.patch_size,
        by_organ=False,
        train=replace(train, checkpoint_every=schedule.gauge_every),
    )


def with_warmup_share(asked: Finetune, config: FinetuneConfig) -> FinetuneConfig:
    """The published warm-up keeps its share where other steps are asked for: a short try would do nothing but warm up."""
    published = _schedule(asked, published_settings(asked))
    if config.steps == published.steps or config.warmup_steps != published.warmup_steps:
        return config
    return replace(config, warmup_steps=round(config.steps * published.warmup_steps / published.steps))


def announce(asked: Finetune, start: Start, config: FinetuneConfig) -> None:
    """Say what is taken from the task, and that the network is not."""
    from voco_lite.benchmark import task

    settings = published_settings(asked)
    found, schedule = task(settings.name), _schedule(asked, settings)
    whose = f"of {asked.start}" if asked.start is not None else f"of the preset {asked.preset}"
    print(
        f"{found.name}: {config.steps:,} steps, {config.warmup_steps:,} of them warm-up; published: {schedule.steps:,}."
    )
    print(f"The encoder stays {start.config.name} {whose}; published: {found.network}.")


def _schedule(asked: Finetune, settings: TaskConfig) -> FinetuneConfig:
    """For the scans that are left to train on."""
    from voco_lite.benchmark import msd_folder

    scans = len(msd_folder(asked.data).training) - asked.validation - asked.test
    # Where none are left, the split says so, and by which options.
    return settings.recipe(max(scans, 1))
