# %% [markdown]
# # 07 · Segment organs
#
# Pre-training is a means. Here its encoder gets a decoder, which says for every voxel to which organ it belongs, and both
# learn from a few labelled subjects. The same network, trained from scratch by the same recipe, stands beside it.
#
# **Goals.** Fine-tune for segmentation; judge a prediction by Dice, organ by organ; look at errors in 3-D; write a
# prediction in the grid of the scan; know what one comparison does not say.
#
# **Prerequisites.** Notebook 05. Where its checkpoint is missing, a short pre-training takes its place.
#
# **Time.** Half an hour of reading; about five minutes of computing on one CPU core.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
STEPS = 0  # steps of each fine-tuning; 0: as many as the size has
SEED = 0  # decides weights and draws; the subjects stay the same
FROM = ""  # checkpoint or run folder of a pre-training; empty: that of 05, else a short one made here
DEVICE = "auto"  # "auto" is a GPU where there is one; or cpu, cuda, cuda:1
OUT = "runs/07_segment"  # where results.json, figures and the predicted organs go

# %%
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import voco_lite as vl
from voco_lite import checks, viewers
from voco_lite.downstream.organs import organ_classes
from voco_lite.downstream.predicting import save_prediction
from voco_lite.downstream.segmentation import SegmentationConfig, SegmentationTask
from voco_lite.downstream.segmenter import examine

Path(OUT).mkdir(parents=True, exist_ok=True)
few = {"laptop": (8, 3, 4), "ci": (2, 1, 2)}[SIZE]  # subjects to train on, to validate with, to test on
STEPS = STEPS or {"laptop": 200, "ci": 4}[SIZE]
PATCH, BATCH = (32, 32, 32), {"laptop": 8, "ci": 2}[SIZE]
source = "phantom" if SIZE == "ci" else "auto"
config = vl.PretrainConfig.preset(SIZE, seed=SEED, device=DEVICE, progress=False)

# %% [markdown]
# ## 1 · A pre-trained encoder
# The projector of pre-training is thrown away, the encoder is kept.

# %%
start = vl.notebooks.pretrained_start(SIZE, config, FROM)

# %% [markdown]
# ## 2 · Labelled subjects
# *Training* subjects are learnt from. *Validation* subjects decide which weights are kept. *Test* subjects are scored
# once, at the end. Whole subjects are split, never crops: two crops of one body are no independent witnesses. The picture
# shows the organs of the validation subjects.
#
# What is called *truth* here was not drawn by a person: it is the map of organs that comes with the CT, which a model
# predicted, bent as the CT was (phantoms are drawn by code, and know their organs).

# %%
groups = [
    vl.samples.population(n, start.volume, first_seed=seed, source=source)
    for n, seed in zip(few, (0, 500, 1000), strict=True)
]
split = vl.Split(*groups)
ORGANS = ("spleen", "liver", "urinary_bladder")
names = dict(enumerate(ORGANS, start=1))
known = [replace(v, labels=organ_classes(v, ORGANS), label_names=names) for v in split.validation]
viewers.side_by_side(known, plane="coronal", opacity=0.5)

# %% [markdown]
# **What you should see:** the same organs in every body, in other shapes and sizes. They fill a small part of the scan:

# %%
share = float((known[0].labels > 0).float().mean())
print(f"{share:.1%} of the voxels belong to an organ")
checks.expect("share of voxels that are right if nothing is found", 1 - share, between=(0.85, 0.99))

# %% [markdown]
# ## 3 · Dice
# Whoever finds nothing is right in nearly all voxels. The *Dice* does not count the background: it is twice the voxels in
# common over the sum of both sizes, from 0 (nothing in common) to 1 (equal).
#
# ### Exercise 7.1 · Write the Dice
# `predicted` and `truth` are masks (tensors of booleans) of one organ.


# %%
def my_dice(predicted, truth):
    # solution
    return 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())
    # end solution


checks.dice_of_an_organ(my_dice)

# %% [markdown]
# ## 4 · Two fine-tunings
# A decoder (a U-Net) joins the encoder's maps, from the coarsest to the finest. Patches are small, and most are cut around
# an organ, each organ as often as the others: cut anywhere, nearly all would show background, and cut around any voxel of
# an organ, nearly all would show the liver. The loss is Dice plus cross-entropy.
#
# Both runs have the same recipe and the same seed. Only the encoder's weights differ.

# %%
settings = SegmentationConfig(ORGANS, patch_size=PATCH, foreground_share=0.9, by_organ=True)
recipe = vl.FinetuneConfig(
    steps=STEPS, batch_size=BATCH, learning_rate=3e-3, gauge_every=max(STEPS // 4, 1), seed=SEED, device=DEVICE
)
starts = {"pre-trained": start, "from scratch": start.from_scratch(SEED)}
tasks, fitted = {}, {}
for name, encoder in starts.items():
    tasks[name] = SegmentationTask(encoder, split, settings, SEED)
    fitted[name] = vl.fit(tasks[name], recipe)
    print(f"{name:13} validation Dice {fitted[name].score:.3f}, best after step {fitted[name].best_step}")

# %%
curves = {name: run.history["validation/score"] for name, run in fitted.items()}
picture = viewers.plot_curves(curves, "step", "mean Dice of the validation subjects")
picture

# %% [markdown]
# **What you should see:** both rise, and their order may change on the way. The weights that were best on the validation
# subjects are kept.
#
# ## 5 · The test subjects
# Now, once. Beside the Dice stands the *HD95* (95 % Hausdorff distance) of the pre-trained network: all but the worst
# twentieth of the surface is off by at most so many mm. An organ that was not found at all counts as the diagonal of the
# scan, so that one missed organ can make most of the mean.

# %%
rows = {name: examine(task.network, settings, split.test) for name, task in tasks.items()}
print(f"{'Dice':16}" + "".join(f"{name:>15}" for name in rows) + f"{'HD95 in mm, pre-trained':>27}")
for organ in ORGANS:
    found = {name: [row for row in scores if row.organ == organ] for name, scores in rows.items()}
    dice = [np.nanmean([row.dice for row in scores]) for scores in found.values()]
    far = np.nanmean([row.hd95_mm for row in found["pre-trained"]])
    print(f"{organ:16}" + "".join(f"{value:15.2f}" for value in dice) + f"{far:27.0f}")
means = {name: float(np.nanmean([row.dice for row in scores])) for name, scores in rows.items()}
print(f"{'mean':16}" + "".join(f"{value:15.2f}" for value in means.values()))

# %%
measured = SIZE == "laptop" and not FROM and STEPS >= 200 and split.test[0].source.startswith("abdomen-ct")
for name, value in means.items():
    checks.expect(f"mean Dice, {name}", value, between=(0.3, 1.0), applies=measured)

# %% [markdown]
# ### Exercise 7.2 · Who won?
# You have two means over the same few test subjects, each of one run. What may you say?
#
# * `"a"`: the one with the higher mean is the better start.
# * `"b"`: both are equally good, since the difference is small.
# * `"c"`: nothing yet about which start is better.
# * `"d"`: nothing yet, but more steps would decide it.

# %%
my_answer = (
    # solution
    "c"
    # end solution
)

checks.what_one_run_says(my_answer)

# %% [markdown]
# **fair_comparison** shows what it takes to decide. And these subjects are warps of **one patient**: a network needs not
# see much of the training bodies to know the test ones.
#
# ## 6 · See the errors
# A window slides over the whole scan, and where windows overlap their answers are averaged.

# %%
subject = split.test[0]
truth = organ_classes(subject, ORGANS)
predictions = {name: task.predict(subject) for name, task in tasks.items()}
shown = {"truth": truth, **predictions}
comparison = viewers.side_by_side(
    [replace(subject, labels=labels) for labels in shown.values()], list(shown), plane="coronal", opacity=0.5
)
comparison

# %% [markdown]
# **Try:** move through the body, and take the colours away and back.

# %%
viewers.slices(replace(subject, labels=predictions["pre-trained"], label_names=names), opacity=0.5)

# %% [markdown]
# **What you should see:** the middle of an organ is right sooner than its border, and small organs are harder than large
# ones.
#
# Where are the errors? Here only the voxels are coloured whose class is wrong, by the class that they should have; what
# was found where nothing is has the last colour.
#
# **Try:** turn the picture. Do the errors lie at the borders, or is a whole piece missing?

# %%
wrong = torch.where(truth > 0, truth, len(ORGANS) + 1) * (predictions["pre-trained"] != truth)
viewers.view(replace(subject, label_names={**names, len(ORGANS) + 1: "nothing there"}), labels=wrong)

# %% [markdown]
# **What you should see:** shells around the organs. Whole lumps in one colour are organs that were missed.
#
# ## 7 · Back into the scan's own grid
# A prediction is made on the prepared grid. For whoever uses it, it has to lie on the grid of the scan. First a scan as it
# would come, in a file:

# %%
raw = vl.samples.population_subject(1001, (80, 72, 64), source=source)
vl.save_volume(raw, Path(OUT) / "scan.nii.gz")
scan = vl.load_volume(Path(OUT) / "scan.nii.gz", start.volume)
print(f"file {raw.shape}, prepared {scan.shape}")

# %%
organs = tasks["pre-trained"].predict(scan)
file = save_prediction(organs, scan, Path(OUT) / "organs.nii.gz")
back = vl.load_volume(Path(OUT) / "scan.nii.gz", labels=file, label_names={0: "background", **names})
print(f"{file.name}: {tuple(back.labels.shape)}, classes {sorted(set(back.labels.flatten().tolist()))}")
checks.expect("the grid of the scan", back.labels.shape == raw.labels.shape, between=(1, 1))

# %% [markdown]
# **What you should see:** the shape of the file, not of the preparation. The two files can be opened together in any
# viewer, such as 3D Slicer or ITK-SNAP.

# %%
picture.save(Path(OUT) / "validation.png")
comparison.save(Path(OUT) / "predictions.png")
vl.notebooks.write_results(
    OUT,
    dice=means["pre-trained"],
    dice_from_scratch=means["from scratch"],
    validation={name: run.score for name, run in fitted.items()},
    run={"size": SIZE, "steps": STEPS, "subjects": few, "seed": SEED},
)

# %% [markdown]
# ## Recap
# * A pre-trained encoder and a fresh decoder learn together from few labelled subjects, cut into balanced patches.
# * The Dice, organ by organ and subject by subject, tells what the share of right voxels hides.
# * Validation chooses, the test subjects are scored once.
# * One run each, on few subjects, does not say which start is better.
#
# **Next.** The same from the command line: `python -m voco_lite finetune segmentation --from RUN_FOLDER`. 08 gives whole
# scans a class.
