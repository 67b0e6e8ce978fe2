"""A short pre-training on noise, alone or as one of several processes: `python tests/process_runs.py RESULT CHANGES`.

CHANGES is a JSON table of configuration fields, and "stop_at": raise after that step, as an interruption would. RESULT
gets the trained weights, from the first process.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

import voco_lite as vl

VOLUMES = 9  # odd, so that epochs end within a step


class Interruption(Exception):
    """Stands for a killed process."""


def run(result: str, changes: dict) -> None:
    """Train, and write the weights."""
    torch.set_num_threads(1)
    stop_at = changes.pop("stop_at", None)
    defaults = {"steps": 5, "batch_size": 2, "warmup_steps": 2, "progress": False, "precision": "fp32", "device": "cpu"}
    config = vl.PretrainConfig.preset("ci", **{**defaults, "projector_dim": 32, **changes})
    make = torch.Generator().manual_seed(0)
    volumes = [SimpleNamespace(data=torch.rand(1, 48, 48, 16, generator=make), source=str(i)) for i in range(VOLUMES)]
    model = vl.VoCo(config)

    def stop(record: dict, _: vl.VoCo) -> None:
        if record["step"] == stop_at:
            raise Interruption

    try:
        vl.pretrain(model, vl.VoCoDataset(volumes, config.crops), config.train, callbacks=[stop])
    except Interruption:
        return
    if int(os.environ.get("RANK", 0)) == 0:
        torch.save(model.state_dict(), result)


def fail_where_the_group_outlives_the_run() -> None:
    """Handlers run in reverse order: this one, registered first, sees what the run's own has left."""
    if torch.distributed.is_initialized():
        os._exit(3)


def launcher(processes: int) -> tuple[list[str], dict[str, str]]:
    """The start of a command line that runs a file, or a module after "-m", and its environment."""
    command, environment = [sys.executable], os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    if processes > 1:
        if sys.platform == "linux":
            # Where the machine's own name leads nowhere, gloo would wait for it.
            environment["GLOO_SOCKET_IFNAME"] = "lo"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        place = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
        command += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), *place]
    return command, environment


def train(folder: Path, processes: int = 1, **changes) -> dict[str, torch.Tensor]:
    """Run this file in processes of its own and return the weights; an interrupted run has none.

    Args:
        folder: Where the weights go.
        processes: One, or several that form a gloo group.
        changes: Fields of the configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / "weights.pt"
    command, environment = launcher(processes)
    for _ in range(2):
        done = subprocess.run(
            [*command, __file__, str(result), json.dumps(changes)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        # Gloo may abort a process that ends (see `_end_process_group`); what a run computes is tested, not that.
        if "terminate called without an active exception" not in done.stderr:
            break
        command, environment = launcher(processes)
    interrupted = changes.get("stop_at") is not None
    if done.returncode and not interrupted:
        raise RuntimeError(done.stderr[-3000:])
    return {} if interrupted else torch.load(result, weights_only=True)


if __name__ == "__main__":
    atexit.register(fail_where_the_group_outlives_the_run)
    run(sys.argv[1], json.loads(sys.argv[2]))
