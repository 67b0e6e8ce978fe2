"""The command line, generated from the dataclasses: `python -m voco_lite pretrain | samples | notebooks`."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction

from voco_lite.config import PretrainConfig

if TYPE_CHECKING:
    from voco_lite.volumes import Volume

_PROGRAM = "python -m voco_lite"
_DESCRIPTION = "Learn and explore volume contrastive (VoCo) pre-training of 3-D medical images."
_PARTS = [part.name for part in dataclasses.fields(PretrainConfig)]
_HELD_OUT_SEED = 1000


@dataclass(frozen=True)
class Pretrain(PretrainConfig):
    """Pre-train a model, on sample data or on a folder of scans; the same command continues an interrupted run.

    Attributes:
        preset: Named settings that all other options start from: laptop, ci, workshop-gpu, or published ones
            (cvpr24, tpami25-B, tpami25-L, tpami25-H).
        data: A folder of NIfTI files or DICOM series, or made data: "population" (warps of one real CT) or "phantoms".
        pattern: Keep scans of a folder whose file name fits, such as "*_ct.nii.gz".
        subjects: How many made subjects to train on; a folder is used whole.
        held_out: Volumes for the held-out gauges: a number of made subjects, a number of volumes to take from the end
            of the folder, or another folder; 0 measures nothing.
    """

    preset: str = "laptop"  # type: ignore[assignment]  # hides the constructor of that name, on purpose
    data: str = "population"
    pattern: str | None = None
    subjects: int = 24
    held_out: str = "8"

    def run(self) -> None:
        """Train, then say what was learnt and where it lies."""
        from voco_lite import VoCo, VoCoDataset, pretrain

        config = PretrainConfig(**{name: getattr(self, name) for name in _PARTS})
        if config.train.run_folder is None:
            config = config.changed(run_folder=str(Path("runs") / f"{self.preset}-{Path(self.data).name}"))
        training, held_out = _volumes(self.data, self.pattern, self.subjects, self.held_out, config)
        dataset = VoCoDataset(training, config.crops, seed=config.train.seed)
        history = pretrain(VoCo(config), dataset, config.train, held_out=held_out)
        _report(history)


@dataclass(frozen=True)
class Samples:
    """List, fetch or check the sample data.

    Attributes:
        action: "list" shows what there is, "fetch" downloads, "check" compares files with their sha256.
        names: Which samples; none: all.
    """

    action: Positional[Literal["list", "fetch", "check"]] = "list"
    names: Positional[tuple[str, ...]] = ()

    def run(self) -> None:
        """Do it, and print what came of it."""
        from voco_lite import samples

        if self.action == "fetch":
            names = self.names or tuple(_names(samples.catalogue()))
            for name in names:
                print(samples.fetch(name))
        else:
            _print(samples.catalogue() if self.action == "list" else samples.check(self.names))


@dataclass(frozen=True)
class Notebooks:
    """List, run or build the notebooks, or summarise what runs left behind.

    Attributes:
        action: "list" shows their names, "run" executes one with papermill, "build" writes the student and solution
            versions, "summary" collects the results of a folder.
        target: The notebook to run, or the folder to summarise.
        parameters: A parameter and its value, once for each: -p STEPS 20 -p SEED 1.
        out_folder: Where an executed notebook and its results go; left out: runs/NAME.
        solution: Run the version with the answers.
        timeout: Seconds that one cell may take.
    """

    action: Positional[Literal["list", "run", "build", "summary"]] = "list"
    target: Positional[str | None] = None
    parameters: Annotated[UseAppendAction[tuple[tuple[str, str], ...]], tyro.conf.arg(aliases=["-p"])] = ()
    out_folder: str | None = None
    solution: bool = False
    timeout: int = 3600

    def run(self) -> None:
        """Do it, and print what came of it."""
        from voco_lite import notebooks

        if self.action in ("run", "summary") and self.target is None:
            raise ValueError(
                f"notebooks {self.action} needs a target, got none. Names: {', '.join(notebooks.names())}."
            )
        target = self.target or ""
        if self.action == "list":
            _print(notebooks.names())
        elif self.action == "build":
            _print(notebooks.build())
        elif self.action == "summary":
            _print(notebooks.summary(target))
        else:
            values = {name: _value(text) for name, text in self.parameters}
            _print(notebooks.run(target, values, self.out_folder, self.solution, self.timeout, progress=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 after a wrong input, which is explained in one line."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        command = tyro.cli(_commands(given), args=given, prog=_PROGRAM, description=_DESCRIPTION)
        command.run()
    except (ValueError, FileNotFoundError) as error:
        notes = getattr(error, "__notes__", [])
        print("error:", " ".join(" ".join([str(error), *notes]).split()), file=sys.stderr)
        return 2
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    except BrokenPipeError:
        # Whoever read the output has seen enough; closing it at exit shall not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("error: interrupted. The same command continues from the newest checkpoint.", file=sys.stderr)
        return 130
    return 0


def _commands(arguments: Sequence[str]) -> Any:
    """The subcommands; the defaults of `pretrain` are those of the preset that the arguments name."""
    config = PretrainConfig.preset("laptop")
    preset = _option(arguments, "preset") or "laptop"
    if arguments and arguments[0] == "pretrain":
        official = {"mode": "official"} if _option(arguments, "objective.mode") == "official" else {}
        config = PretrainConfig.preset(preset, **official)
    default = Pretrain(preset=preset, **{name: getattr(config, name) for name in _PARTS})
    return (
        Annotated[Pretrain, tyro.conf.subcommand("pretrain", default=default, prefix_name=False)]
        | Annotated[Samples, tyro.conf.subcommand("samples", prefix_name=False)]
        | Annotated[Notebooks, tyro.conf.subcommand("notebooks", prefix_name=False)]
    )


def _option(arguments: Sequence[str], name: str) -> str | None:
    """The value of `--name value` or `--name=value`."""
    for here, following in zip(arguments, [*arguments[1:], None], strict=False):
        if here == f"--{name}":
            return following
        if here.startswith(f"--{name}="):
            return here.split("=", 1)[1]
    return None


def _volumes(
    data: str, pattern: str | None, subjects: int, held_out: str, whole: PretrainConfig
) -> tuple[Sequence[Volume], Sequence[Volume]]:
    """Training and held-out volumes; scans of a folder are read when they are drawn, and kept prepared beside the run.

    Raises:
        ValueError: `held_out` is neither a number nor a folder, or leaves nothing to train on.
        FileNotFoundError: `data` is no folder.
    """
    from voco_lite import VolumeFolder, samples

    config, cache = whole.volume, Path(whole.train.run_folder or "runs") / "prepared"
    training: Sequence[Volume]
    others: Sequence[Volume] = []
    number = int(held_out) if held_out.isdecimal() else None
    if number is None and not Path(held_out).exists():
        raise ValueError(f"held_out must be a number or a folder, got {held_out!r}. Give 0 to measure nothing.")
    if data in ("population", "phantoms"):
        source: Any = "auto" if data == "population" else "phantom"
        training = samples.population(subjects, config, source=source)
        seed = _HELD_OUT_SEED
        if number:
            others = samples.population(number, config, first_seed=seed, source=source)
    elif Path(data).exists():
        training = VolumeFolder(data, config, pattern, cache)
        if number is not None and number >= len(training):
            raise ValueError(
                f"held_out must leave volumes to train on, got {number} of {len(training)} in {data}. Give less."
            )
        if number:
            training, others = training[:-number], training[-number:]
    else:
        raise FileNotFoundError(f'There is no folder {data}. Give a folder of scans, "population" or "phantoms".')
    return training, VolumeFolder(held_out, config, pattern, cache) if number is None else others


def _report(history: Any) -> None:
    """The held-out gauges beside their untrained values, the verdict, and where everything lies."""
    first, last = history.first_held_out, history.last_held_out
    if first is not None:
        for name, label in (
            ("intra_loss", "held-out intra loss"),
            ("top1", "position top-1"),
            ("top1_across", "position top-1 across subjects"),
        ):
            if getattr(last, name) is not None:
                print(f"{label}: {getattr(last, name):.3f} (untrained {getattr(first, name):.3f})")
    print(f"Run folder: {history.run_folder}")


def _names(entries: Any) -> list[str]:
    return [entry if isinstance(entry, str) else entry["name"] for entry in entries]


def _print(result: Any) -> None:
    """Text as it is, one line for each item of a list, tables as JSON."""
    if result is None:
        return
    items = result if isinstance(result, list | tuple) else [result]
    for item in items:
        print(json.dumps(item, indent=2, default=str) if isinstance(item, dict) else item)


def _value(text: str) -> Any:
    """A parameter's value: JSON where it reads as JSON, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
