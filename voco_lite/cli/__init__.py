"""The command line, generated from the dataclasses: `python -m voco_lite COMMAND`.

Commands: pretrain, finetune, benchmark, weights, plan, samples, notebooks.
"""

from __future__ import annotations

import os
import sys
import typing
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from voco_lite.cli.benchmarking import Benchmark
from voco_lite.cli.finetuning import Finetune, TaskName, recipe
from voco_lite.cli.material import Notebooks, Samples
from voco_lite.cli.planning import Plan
from voco_lite.cli.pretraining import PARTS, Pretrain
from voco_lite.cli.published import published_defaults
from voco_lite.cli.weights import Weights
from voco_lite.config import PretrainConfig

__all__ = ["COMMANDS", "Benchmark", "Finetune", "Notebooks", "Plan", "Pretrain", "Samples", "Weights", "main"]

COMMANDS = (Pretrain, Finetune, Benchmark, Weights, Plan, Samples, Notebooks)
_PROGRAM = "python -m voco_lite"
_DESCRIPTION = "Learn and explore volume contrastive (VoCo) pre-training of 3-D medical images."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 after a wrong input, which is explained in one line."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        task: TaskName = next((name for name in typing.get_args(TaskName) if name in given[:2]), "segmentation")
        command = _parse(given, recipe(task))
        if isinstance(command, Finetune):
            # The task may come after its options, and has its own defaults.
            command = _parse(given, recipe(command.task))
            if command.published is not None:
                command = _parse(given, published_defaults(command))
        command.run()
    except BrokenPipeError:
        # Whoever read the output has seen enough; closing it at exit shall not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, FileNotFoundError, ConnectionError) as error:
        notes = getattr(error, "__notes__", [])
        print("error:", " ".join(" ".join([str(error), *notes]).split()), file=sys.stderr)
        return 2
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        going_on = "The same command continues from the newest checkpoint, where there is one already."
        print(f"error: interrupted. {going_on}", file=sys.stderr)
        return 130
    return 0


def _parse(given: Sequence[str], finetune: Finetune) -> Any:
    return tyro.cli(_commands(given, finetune), args=given, prog=_PROGRAM, description=_DESCRIPTION)


def _commands(arguments: Sequence[str], finetune: Finetune) -> Any:
    """The subcommands; `pretrain` and `plan` have the defaults of the preset, `finetune` those that are given."""
    config = PretrainConfig.preset("laptop")
    preset = _option(arguments, "preset") or "laptop"
    if arguments and arguments[0] in ("pretrain", "plan"):
        # What is official depends on the objective: both are read before the other options.
        wanted = {name: _option(arguments, f"objective.{name}") for name in ("mode", "name")}
        official = {f"objective__{name}": value for name, value in wanted.items() if value and wanted["mode"]}
        config = PretrainConfig.preset(preset, **official)
    settings: dict[str, Any] = {"preset": preset, **{name: getattr(config, name) for name in PARTS}}
    pretrain, plan = Pretrain(**settings), Plan(**settings)
    return (
        Annotated[Pretrain, tyro.conf.subcommand("pretrain", default=pretrain, prefix_name=False)]
        | Annotated[Finetune, tyro.conf.subcommand("finetune", default=finetune, prefix_name=False)]
        | Annotated[Benchmark, tyro.conf.subcommand("benchmark", prefix_name=False)]
        | Annotated[Weights, tyro.conf.subcommand("weights", prefix_name=False)]
        | Annotated[Plan, tyro.conf.subcommand("plan", default=plan, prefix_name=False)]
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
