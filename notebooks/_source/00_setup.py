# %% [markdown]
# # 00 · Set-up
#
# VoCo teaches a network about the body without any label: it cuts crops out of a scan and lets the network say where
# each crop comes from. This series of notebooks takes the idea apart, piece by piece, on your own machine.
#
# **Goals.** Know that everything is installed, what your machine can do, which sample data you have, and how these
# notebooks work.
#
# **Prerequisites.** Python, a little PyTorch. No GPU, no network, no data set.
#
# **Time.** One minute.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # decides everything that is random
OUT = "runs/00_setup"  # where results.json and figures go

# %% [markdown]
# The cell above is tagged `parameters`: a batch job can put other values in its place. Everything else follows from it.
#
# ## What is installed

# %%
import platform
from importlib.metadata import version

import torch

import voco_lite as vl
from voco_lite import checks, viewers

packages = ("torch", "monai", "numpy", "nibabel", "ipywidgets", "jupyterlab", "papermill")
versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
for name, number in versions.items():
    print(f"{name:12} {number}")

# %% [markdown]
# ## What your machine can do
# A GPU is used when there is one. A CPU is enough for all notebooks of this series; one that multiplies bfloat16 numbers
# in hardware is about twice as fast.

# %%
from voco_lite.train.hardware import choose_device, choose_precision

device = choose_device("auto")
precision = choose_precision("auto", device)
print(f"device {device}, precision {precision}, {torch.get_num_threads()} CPU threads")

# %% [markdown]
# ## Which sample data you have
# *Phantoms* are bodies drawn by code and always available. The *abdomen CT* is one real patient; it is fetched once, with
# `python -m voco_lite samples fetch`. From one scan, a whole *population* is made by bending it at random.

# %%
for sample in vl.samples.catalogue():
    print(f"{sample['name']:11} {sample['state']:20} {sample['title']}")

# %% [markdown]
# ## A first volume
# A volume is a tensor `(channel, x, y, z)` with everything that is known about it. Here is a phantom, in Hounsfield units
# (HU), with its organs.

# %%
size = (48, 48, 48) if SIZE == "ci" else (96, 96, 96)
volume = vl.samples.phantom(SEED, size)
organs = [volume.label_names[i] for i in volume.labels.unique().tolist() if i]
print(tuple(volume.data.shape), volume.units, f"voxels of {volume.spacing[0]:.1f} mm along x")
print(f"{len(organs)} organs, such as", ", ".join(organs[:5]))

# %%
checks.expect("organs in the phantom", len(organs), between=(40, 117))

# %% [markdown]
# **What you should see:** the shape of the tensor, and more than 40 organs.
#
# ## Do widgets work?
# Below are three slices through one point. If you see a picture but no sliders, this notebook was saved or run without a
# front end. If nothing appears at all, run `make setup` again and reload the page.
#
# **Try:** drag a slider, or click a slice: the picture and the line of text below it change. Raise *labels*.

# %%
browser = viewers.slices(volume, opacity=0.4)
browser

# %% [markdown]
# **What you should see:** a body from below its feet, from the front and from the side, with coloured organs. R marks the
# patient's right, which is on *your* left, as if you faced the patient.
#
# The picture is made by Python, so that a cell can move the slider too:

# %%
before = browser.picture.png
browser.sliders[2].value = size[2] // 4
print("the picture changed:", browser.picture.png != before)
print(browser.alt)

# %% [markdown]
# ## Can this browser draw in 3-D?
# The explorers are pictures and work everywhere. A few cells also offer a view in 3-D, which the browser draws with
# WebGL. This cell asks it.
#
# **Try:** open this notebook in another browser and run the cell again: each answers for itself.

# %%
viewers.webgl_report()

# %% [markdown]
# **What you should see:** *yes* and the name of what draws, or *no* and what works all the same. *Not asked yet* means that
# no browser was there, as in a batch run.

# %% [markdown]
# ## How exercises work
# An exercise asks for a few lines of code. The check below it prints one line: ○ not written yet, ✗ with a hint for the
# mistake that was made, or ✓. Later cells never use your answer, so the notebook runs to its end in any case. Answers are
# in `notebooks/solutions/`.
#
# ### Exercise 0.1 · How large is a volume?
# Write a function that takes the shape of a float32 tensor and returns its size in megabytes (a megabyte is 1,000,000
# bytes, a float32 takes 4).

# %%
import math


def my_megabytes(shape):
    # solution
    return math.prod(shape) * 4 / 1e6
    # end solution


checks.megabytes(my_megabytes)

# %% [markdown]
# ### Exercise 0.2 · One voxel
# Return the value at (x, y, z) of a volume's tensor `(channel, x, y, z)` with one channel.


# %%
def my_value_at(volume, x, y, z):
    # solution
    return volume[0, x, y, z]
    # end solution


checks.value_at(my_value_at)

# %% [markdown]
# ## How long will training take here?
# Notebook 05 trains a small network. Two steps of it tell how long that will take on this machine.

# %%
import time

config = vl.PretrainConfig.preset(SIZE, steps=2, warmup_steps=1, gauge_every=0, checkpoint_every=0, progress=False)
volumes = vl.samples.phantoms(4, config.volume)
dataset = vl.VoCoDataset(volumes, config.crops, seed=SEED)
history = vl.pretrain(vl.VoCo(config), dataset, config.train)
started = time.perf_counter()
vl.pretrain(vl.VoCo(config), dataset, config.train)
seconds = (time.perf_counter() - started) / 2
whole_run = vl.PretrainConfig.preset(SIZE).train.steps
print(f"{seconds:.2f} s a step: the {whole_run} steps of notebook 05 take about {seconds * whole_run:.0f} s")

# %% [markdown]
# The loss of an untrained network is no meaningful number yet, but it has to be finite and of a sane size.

# %%
_, losses = history["intra"]
checks.expect("intra-volume loss of an untrained network", losses[0], between=(0.2, 3.0))

# %% [markdown]
# **What you should see:** some seconds or minutes, and a loss between 0.5 and 1.
#
# ## What this notebook leaves behind
# Every notebook writes the numbers that a batch job may want to `results.json` in its `OUT` folder.

# %%
results = vl.notebooks.write_results(
    OUT,
    device=str(device),
    precision=precision,
    seconds_per_step=seconds,
    organs=len(organs),
    real_ct=any(
        sample["name"] == "abdomen-ct" and sample["state"].startswith("there") for sample in vl.samples.catalogue()
    ),
    versions=versions,
)
print(results)

# %% [markdown]
# ## Recap
# * Everything runs from one package, `voco_lite`, on CPU or GPU, offline.
# * Volumes are `(channel, x, y, z)`; the patient's right is on the left of a picture.
# * Exercises answer with ○, ✗ and a hint, or ✓; results go to `results.json`.
#
# Next: **01 · Volumes**, where numbers become millimetres and tissue.
