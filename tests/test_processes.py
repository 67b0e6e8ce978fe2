"""Two processes compute what one process computes that accumulates as many micro-batches."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import process_runs
from lab import free_port
from process_runs import train

# Batch norm in the encoder normalises each micro-batch by itself, in both runs alike.
OBJECTIVES = ["tpami25", "cvpr24", "cvpr24-head"]
# On each of two nodes, as the notebook many_gpus says; here both are this machine.
NODE = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "2",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_ip", "127.0.0.1"]  # fmt: skip


def assert_close(one, other, tolerance=1e-5):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, other[name], rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def distance(one, other):
    return float(torch.cat([(value - other[name]).abs().flatten() for name, value in one.items()]).double().mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_equal_accumulation(name, tmp_path):
    choice = {"objective__name": name, "norm": "group"}
    alone = train(tmp_path / "alone", accumulation=2, **choice)
    together = train(tmp_path / "together", processes=2, **choice)
    assert_close(alone, together)


@pytest.mark.slow
def test_two_processes_resume_where_they_were_stopped(tmp_path):
    choice = {"norm": "group", "checkpoint_every": 2, "log_every": 1, "steps": 4}
    whole = train(tmp_path / "whole", processes=2, **choice, run_folder=str(tmp_path / "a"))
    train(tmp_path / "stopped", processes=2, **choice, run_folder=str(tmp_path / "b"), stop_at=3)
    resumed = train(tmp_path / "resumed", processes=2, **choice, run_folder=str(tmp_path / "b"))
    assert_close(whole, resumed, tolerance=1e-7)


@pytest.mark.slow
def test_shared_statistics_of_two_processes_equal_one_larger_batch(tmp_path):
    # Without partners between volumes and without dropout the batch may be cut anywhere.
    choice = {
        "objective__name": "cvpr24", "norm": "group", "synchronized": True, "steps": 3, "drop_last": True,
    }  # fmt: skip
    alone = train(tmp_path / "alone", batch_size=4, **choice)
    together = train(tmp_path / "together", processes=2, batch_size=2, **choice)
    apart = train(tmp_path / "apart", processes=2, batch_size=2, **{**choice, "synchronized": False})
    # AdamW turns rounding of tiny gradients into whole steps, so that single weights say little.
    assert distance(alone, together) < 0.05 * distance(alone, apart)


def start_node(machine: int, port: int, result: Path, changes: dict) -> subprocess.Popen[str]:
    """One node of two, with one process."""
    place = ["--machine_rank", str(machine), "--main_process_port", str(port)]
    command = [*NODE, *place, process_runs.__file__, str(result), json.dumps(changes)]
    _, environment = process_runs.launcher(2)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_two_nodes_equal_accumulation(tmp_path):
    changes, port, result = {"norm": "group"}, free_port(), tmp_path / "nodes.pt"
    nodes = [start_node(machine, port, result, changes) for machine in (0, 1)]
    try:
        said = [node.communicate(timeout=600)[0] for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert result.exists(), "\n".join(said)[-3000:]
    assert_close(train(tmp_path / "alone", accumulation=2, **changes), torch.load(result, weights_only=True))
