"""Published settings of B train on a machine with little memory: 2 volumes of 9 or 16 base and 2 random crops each."""

import subprocess
import sys
from pathlib import Path

import pytest

from voco_lite import PretrainConfig
from voco_lite.crops import CropGrid

GIGABYTES = 12
STEP = """
import math, sys
from runs_of_noise import started
from voco_lite import PretrainConfig
config = PretrainConfig.preset(sys.argv[1], precision="fp32", device="cpu", workers=0, warmup_steps=1, progress=False)
with started(config) as run:
    before = [p.detach().clone() for p in run.model.encoder.parameters()]
    run.take_step(1)
    print("finite", all(map(math.isfinite, [run.record({}, [])["total"], *(float(p.norm()) for p in run.trained)])))
    print("moved", sum(not p.equal(b) for p, b in zip(run.model.encoder.parameters(), before)), "of", len(before))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("peak", int(status["VmHWM"].split()[0]) * 1024)
"""


def test_the_published_step_is_what_it_is_said_to_be():
    config = PretrainConfig.preset("tpami25-B")
    assert config.encoder.name == "swin-b" and config.encoder.activation_checkpointing
    assert (config.train.batch_size, CropGrid.from_config(config.crops).bases, config.crops.random_crops) == (2, 9, 2)
    assert config.crops.crop_size == (64, 64, 64)


def test_the_step_published_in_2024_is_what_it_is_said_to_be():
    config = PretrainConfig.preset("cvpr24")
    assert config.encoder.name == "swin-b" and config.encoder.activation_checkpointing
    assert (config.train.batch_size, CropGrid.from_config(config.crops).bases, config.crops.random_crops) == (2, 16, 2)
    assert (config.crops.crop_size, config.crops.network_size) == ((96, 96, 96), (64, 64, 64))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("preset", ["tpami25-B", "cvpr24"])
def test_a_published_step_of_b_needs_less_than_12_gigabytes(preset):
    benchmarks = str(Path(__file__).parent / "benchmarks")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {benchmarks!r})\n{STEP}", preset]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    _, finite, _, moved, _, parameters, _, peak = done.stdout.split()
    assert finite == "True" and moved == parameters
    print(f"{preset}: peak {int(peak) / 1e9:.1f} GB")
    assert 1e9 < int(peak) < GIGABYTES * 1e9
