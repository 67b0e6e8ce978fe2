"""Two processes train as one process that accumulates two micro-batches."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tiny_run import trace
from voco_lite.checkpoints import FINAL, load_checkpoint, step_checkpoints
from voco_lite.train import History

STEPS = 4
_SCRIPT = str(Path(__file__).parent / "tiny_run.py")
_LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def run(*arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Run folders of two processes, and of one that accumulates."""
    two, one = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    run(*_LAUNCH, _SCRIPT, two, STEPS)
    run(_SCRIPT, one, STEPS, 2)
    return two, one


@pytest.mark.slow
def test_two_processes_learn_the_weights_of_one_that_accumulates(folders):
    two, one = (load_checkpoint(folder / FINAL)["model"] for folder in folders)
    # Batch statistics are each process's own: the first one's are stored.
    names = [name for name in one if "running_" not in name and "num_batches" not in name]
    for name in names:
        torch.testing.assert_close(
            two[name], one[name], rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.slow
def test_two_processes_log_the_means_over_both(folders):
    two, one = (trace(History.load(folder)) for folder in folders)
    assert [record["step"] for record in two] == [2, 4]
    for mine, other in zip(two, one, strict=True):
        assert mine == pytest.approx(other, rel=1e-3)


@pytest.mark.slow
def test_two_processes_write_one_run_folder(folders):
    assert [path.name for path in step_checkpoints(folders[0])] == ["step-00000003.pt"]
    assert load_checkpoint(folders[0] / FINAL)["provenance"]["processes"] == 2


@pytest.mark.slow
def test_a_run_of_two_processes_is_not_continued_by_one(folders):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, _SCRIPT, str(folders[0]), str(STEPS)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "provenance.processes: 2 -> 1" in done.stderr
