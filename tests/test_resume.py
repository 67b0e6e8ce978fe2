"""A run whose process is killed again and again ends with the weights and the log of one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiny_run import same_weights, trace
from voco_lite.checkpoints import FINAL, load_checkpoint
from voco_lite.train import History

STEPS = 120
KILLS = 5
_SCRIPT = Path(__file__).parent / "tiny_run.py"
_GIVE_UP_S = 600


def start(run_folder):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(_SCRIPT), str(run_folder), str(STEPS)], env=environment)


def last_step(run_folder):
    log = run_folder / "log.jsonl"
    lines = log.read_text().split("\n")[:-1] if log.is_file() else []
    return json.loads(lines[-1])["step"] if lines else 0


def kill_at(run_folder, step, moment):
    """Run until the log shows a step, wait a moment more, then SIGKILL; returns the exit code."""
    process = start(run_folder)
    deadline = time.monotonic() + _GIVE_UP_S
    while process.poll() is None and last_step(run_folder) < step and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    return process.wait()


@pytest.mark.slow
def test_a_run_killed_at_random_steps_ends_as_if_it_had_not_been(tmp_path):
    chance = random.Random(0)
    codes = [
        kill_at(tmp_path / "killed", step, chance.uniform(0, 0.1))
        for step in sorted(chance.sample(range(4, STEPS - 20), KILLS))
    ]
    assert codes.count(-signal.SIGKILL) >= KILLS - 2, f"too few were killed while they ran: {codes}"
    for folder in ("killed", "whole"):
        assert start(tmp_path / folder).wait() == 0
    killed, whole = (load_checkpoint(tmp_path / folder / FINAL)["model"] for folder in ("killed", "whole"))
    assert same_weights(killed, whole)
    assert trace(History.load(tmp_path / "killed")) == trace(History.load(tmp_path / "whole"))


@pytest.mark.slow
def test_two_processes_write_one_log_of_their_means_that_one_process_does_not_continue(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"  # the machine's own name may lead nowhere
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run([*launch, str(_SCRIPT), str(two), "4"], env=environment, check=True)
    subprocess.run([sys.executable, str(_SCRIPT), str(one), "4", "2"], env=environment, check=True)
    for mine, other in zip(*(trace(History.load(folder)) for folder in (two, one)), strict=True):
        assert mine == pytest.approx(other, rel=1e-3)
    command = [sys.executable, str(_SCRIPT), str(two), "4"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "provenance.processes: 2 -> 1" in refused.stderr
