# %% [markdown]
# # Many GPUs
#
# The papers trained on eight GPUs for days. What changes when several processes train one model? Less than one fears, and
# all of it can be seen on a laptop: two processes on a CPU do exactly what sixteen GPUs do.
#
# **Goals.** Know what data-parallel training computes; see that two processes equal one that accumulates; know which
# statistics stay with each process; start runs on one node and on several.
#
# **Prerequisites.** Notebooks 04 and 05.
#
# **Time.** Fifteen minutes of reading; one minute of computing. No GPU is needed.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # decides everything that is random
OUT = "runs/many_gpus"  # where results.json, figures and runs go

# %%
import os
import subprocess
import sys
from pathlib import Path

import torch

import voco_lite as vl
from voco_lite import checks, viewers

STEPS, SUBJECTS = {"laptop": (20, 12), "ci": (5, 5)}[SIZE]
config = vl.PretrainConfig.preset("ci", norm="group", seed=SEED, device="cpu", precision="fp32", progress=False)

# %% [markdown]
# ## What data-parallel training is
# Every process holds the whole model, with the same weights. In a step,
#
# 1. each takes another micro-batch and computes its gradient,
# 2. the gradients are averaged over all processes (*all-reduce*),
# 3. each takes the same optimizer step with the same average.
#
# Equal weights plus equal steps give equal weights: the models never have to be sent. PyTorch calls this *DDP*,
# `DistributedDataParallel`.
#
# ## The average is accumulation in disguise
# One process that adds up the gradients of two micro-batches, each halved, has the same average. First without any
# process: two micro-batches, one model.

# %%
subjects = vl.samples.population(SUBJECTS, config.volume, source="phantom")
dataset = vl.VoCoDataset(subjects, config.crops, seed=SEED)
model = vl.VoCo(config.changed(dropout=0.0)).train()
batches = [dataset.batch([0, 1]), dataset.batch([2, 3])]


def gradient(losses):
    model.zero_grad()
    sum(losses).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


apart = [gradient([model(batch, update_teacher=False).total]) for batch in batches]
accumulated = gradient([model(batch, update_teacher=False).total / 2 for batch in batches])
averaged = torch.stack(apart).mean(0)
difference = float((accumulated - averaged).norm() / averaged.norm())
checks.expect("relative difference of the two gradients", difference, between=(0, 1e-4))

# %% [markdown]
# **What you should see:** rounding, and nothing else.
#
# ### Exercise 1 · All-reduce
# `gradients` has one row for each process. Return what each process holds after the all-reduce, again one row for each.


# %%
def my_averaged_gradients(gradients):
    # solution
    return gradients.mean(0, keepdim=True).expand_as(gradients)
    # end solution


checks.averaged_gradients(my_averaged_gradients)

# %% [markdown]
# ## Who sees what?
# All micro-batches of all epochs stand in one row. Two processes deal them like cards: process 0 takes numbers 0, 2, 4 …
# and process 1 numbers 1, 3, 5 … One process that accumulates two sees the same four volumes a step. Each epoch has an
# order of its own, which the seed decides; no process asks another.

# %%
from itertools import islice

alone = list(islice(vl.DrawSampler(len(dataset), 2, SEED), 6))
dealt = [list(islice(vl.DrawSampler(len(dataset), 2, SEED, world=2, rank=rank), 3)) for rank in (0, 1)]
print("one process  ", [[draw % len(dataset) for draw in batch] for batch in alone])
for rank, taken in enumerate(dealt):
    print(f"process {rank} of 2", [[draw % len(dataset) for draw in batch] for batch in taken])
together = [batch for pair in zip(*dealt, strict=True) for batch in pair]
checks.expect(
    "micro-batches in the same place", sum(a == b for a, b in zip(alone, together, strict=True)), between=(6, 6)
)

# %% [markdown]
# ### Exercise 2 · Who takes which micro-batch?
# Steps, processes and micro-batches count from 0. Return the list of the micro-batches that `process` takes in `step`,
# where each of `processes` accumulates `accumulation` of them.


# %%
def my_micro_batches(step, process, processes, accumulation):
    # solution
    first = step * accumulation * processes
    return [first + i * processes + process for i in range(accumulation)]
    # end solution


checks.micro_batches(my_micro_batches)

# %% [markdown]
# ## Two processes, truly
# A folder of scans, and the command that one would type in a terminal. `accelerate launch` starts it twice; the processes
# find each other by a port of this machine. On GPUs they talk by NCCL, on a CPU by gloo; the rest is the same program.
# (With `--cpu` accelerate would start one process only, and not say so: `--multi_gpu` starts several on a CPU, too.)

# %%
scans = Path(OUT).resolve() / "scans"
scans.mkdir(parents=True, exist_ok=True)
for number, subject in enumerate(subjects):
    vl.save_volume(subject, scans / f"subject_{number:02d}.nii.gz")


def command(name, *options):
    """The arguments of `python -m voco_lite` for a run of this notebook."""
    size = [str(n) for n in config.volume.size]
    data = ["--data", str(scans), "--held-out", "0", "--volume.intensity", "none", "--volume.size", *size]
    train = ["--train.steps", str(STEPS), "--train.device", "cpu", "--train.precision", "fp32", "--train.no-progress"]
    rest = ["--train.batch-size", "2", "--train.log-every", "1", "--train.seed", str(SEED), "--encoder.norm", "group"]
    folder = ["--train.run-folder", str(scans.parent / f"{name}-{STEPS}-seed-{SEED}")]
    return ["-m", "voco_lite", "pretrain", "--preset", "ci", *data, *train, *rest, *folder, *options]


# %%
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


def start(launcher, arguments):
    """Run a command to its end; its last line."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"  # the processes of one machine need no network
    done = subprocess.run(
        [sys.executable, *launcher, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return done.stdout.strip().splitlines()[-1]


print(start(LAUNCH, command("two-processes")))
print(start([], command("one-process", "--train.accumulation", "2")))

# %% [markdown]
# ## Are they equal?
# We compare the losses of every step, and at the end every single weight.

# %%
folders = {name: scans.parent / f"{name}-{STEPS}-seed-{SEED}" for name in ("two-processes", "one-process")}
histories = {name: vl.History.load(folder) for name, folder in folders.items()}
viewers.plot_curves({name: history["total"] for name, history in histories.items()}, "steps", "total loss", {})

# %%
ends = [vl.load_checkpoint(folder / "final.pt") for folder in folders.values()]
weights = [torch.cat([t.double().flatten() for t in end["model"].values()]) for end in ends]
largest = float((weights[0] - weights[1]).abs().max())
losses = [torch.tensor(history["total"][1]) for history in histories.values()]
world = [end["provenance"]["processes"] for end in ends]
checks.expect("processes of the first run", world[0], between=(2, 2))
checks.expect("largest difference of a loss", (losses[0] - losses[1]).abs().max(), between=(0, 1e-3))
checks.expect("largest difference of a weight", largest, between=(0, 1e-3))

# %% [markdown]
# **What you should see:** two curves that lie on each other, and equal weights. With two processes even the rounding
# agrees, because halving a number is exact; with three, the last digits would differ.
#
# ## What stays with each process
# * **Pairs.** Inter-volume contrast compares a volume with another one *of the same process*. A process with a single
#   volume has no partner, and the run is refused: it would learn from comparing a volume with itself.
# * **Batch statistics.** The projector normalises by the mean and deviation of its process's crops, as the 2025 code
#   does. `objective.synchronized` shares them between all processes, as the 2024 code does.
# * **The teacher** moves once in an optimizer step, before its first micro-batch, in every process alike.
#
# So four GPUs with two volumes each are *not* one GPU with eight volumes, but one GPU that accumulates four times two.

# %%
try:
    vl.VoCo(config)(dataset.batch([0]))
except ValueError as error:
    print("refused:", error)

# %%
synchronized = vl.VoCo(config.changed(synchronized=True))
print("shared statistics:", synchronized.projector.layer1[1].synchronized)
crops = [dataset.batch(draws).base_crops.flatten(0, 1) for draws in ([0, 1], [0, 1, 2, 3])]
small, large = (synchronized.eval().project(batch)[0] for batch in crops)
cosine = float(torch.nn.functional.cosine_similarity(small, large, dim=0))
checks.expect("cosine of one crop's vectors in two batches", cosine, between=(0.0, 0.9999))

# %% [markdown]
# **What you should see:** the same crop has another vector in another batch, because the statistics changed. That is why
# it matters over which crops they are taken.
#
# ## On real GPUs
# One node with eight GPUs; precision, TF32, checkpointing and compilation are options of the run:
#
# ```bash
# accelerate launch --multi_gpu --num_processes 8 --num_machines 1 --mixed_precision no --dynamo_backend no \
#     -m voco_lite pretrain --preset tpami25-B --data my_ct_folder --train.precision bf16 --train.tf32
# ```
#
# Two nodes with eight GPUs each: the same line on both, with `--machine_rank 0` on the first and `1` on the second. Both
# need the same data at the same path, and a run folder that both can see:
#
# ```bash
# accelerate launch --multi_gpu --num_processes 16 --num_machines 2 --machine_rank 0 \
#     --main_process_ip 10.0.0.1 --main_process_port 29500 --mixed_precision no --dynamo_backend no \
#     -m voco_lite pretrain --preset tpami25-B --data /shared/my_ct_folder --train.run-folder /shared/runs/b
# ```
#
# From a notebook, `accelerate.notebook_launcher(function, num_processes=8)` starts processes on GPUs. On a CPU it starts
# one only; there, use a subprocess, as above.
#
# **The learning rate** is not scaled for you. The presets have the published one, of the published number of volumes a
# step; with more processes a step sees more volumes.

# %%
published = vl.PretrainConfig.preset("tpami25-B").train
for processes in (1, 2, 8, 16):
    volumes = processes * published.batch_size * published.accumulation
    print(
        f"{processes:2} processes x {published.batch_size} volumes x {published.accumulation}: {volumes:2} volumes a step"
    )

# %% [markdown]
# How long will it take? `python -m voco_lite plan --preset tpami25-B --measure` times a few steps on the machine in front
# of you. It never guesses: here is what it knows about a machine that nobody has measured.

# %%
start_text = subprocess.run(
    [sys.executable, "-m", "voco_lite", "plan", "--preset", "tpami25-B", "--device", "an unknown GPU"],
    capture_output=True, text=True, check=True,
).stdout  # fmt: skip
print(start_text)

# %%
vl.notebooks.write_results(
    OUT,
    steps=STEPS,
    largest_weight_difference=largest,
    largest_loss_difference=float((losses[0] - losses[1]).abs().max()),
    gradient_difference=difference,
    final_loss=float(losses[0][-1]),
    processes=world,
)

# %% [markdown]
# ## Recap
# * Data-parallel training averages gradients; one process that accumulates computes the same.
# * One row of micro-batches, dealt like cards, makes a run independent of how many processes share it.
# * Pairs, batch statistics and dropout belong to a micro-batch, and so to a process.
# * The command is the same everywhere; only `accelerate launch` in front of it says how many.
