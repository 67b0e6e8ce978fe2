# %% [markdown]
# # The 51 published tasks
#
# VoCo's authors tried their weights on 51 downstream tasks. What their code and their tables say about each is kept here as
# data, with the source of every figure, and what was not found is left empty.
#
# **Goals.** Browse the tasks; read a published figure with care; turn a task into settings for data of your own.
#
# **Prerequisites.** Notebook 07.
#
# **Time.** Twenty minutes of reading; less than a minute of computing. No data set is needed.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # decides everything that is random
OUT = "runs/published_tasks"  # where results.json and the made-up data set go

# %%
import html
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import ipywidgets
from IPython.display import HTML

import voco_lite as vl
from voco_lite import benchmark, checks
from voco_lite.downstream import split_subjects, untrained
from voco_lite.downstream.segmentation import SegmentationConfig, SegmentationTask

# %% [markdown]
# ## 1 · Which tasks there are

# %%
tasks = benchmark.tasks()
print(len(tasks), "tasks:", ", ".join(f"{n} {kind}" for kind, n in Counter(task.kind for task in tasks).items()))
usable = [task.name for task in tasks if not task.obstacle]
print(f"{len(usable)} have settings that run here, with your own copy of the data")
checks.expect("tasks", len(tasks), between=(51, 51))


# %%
def table(rows):
    """Rows of texts as a table."""
    texts = ["".join(f"<td>{html.escape(text)}</td>" for text in row.values()) for row in rows]
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in benchmark.tasks_table()[0])
    return f"<p>{len(rows)} tasks</p><table><tr>{head}</tr><tr>{'</tr><tr>'.join(texts)}</tr></table>"


# %% [markdown]
# **Try:** all tasks in MRI; then only those that run here; then look for *liver*. Everything answers to the keyboard, too.

# %%
kind = ipywidgets.Dropdown(options=["all", *sorted({task.kind for task in tasks})], description="kind")
modality = ipywidgets.Dropdown(options=["all", "CT", "MRI", "PET-CT"], description="modality")
word = ipywidgets.Text(description="name has", placeholder="such as liver")
here = ipywidgets.Checkbox(description="runs here")
shown = ipywidgets.HTML()


def choose(_=None):
    wanted = {name for name, box in (("kind", kind), ("modality", modality)) if box.value != "all"}
    rows = [
        row for row in benchmark.tasks_table()
        if all(row[name] == {"kind": kind, "modality": modality}[name].value for name in wanted)
        and word.value.lower() in row["task"].lower() and (not here.value or not row["here"].startswith("no"))
    ]  # fmt: skip
    shown.value = table(rows)


# %%
for control in (kind, modality, word, here):
    control.observe(choose, names="value")
choose()
ipywidgets.VBox([ipywidgets.HBox([kind, modality]), ipywidgets.HBox([word, here]), shown])

# %% [markdown]
# **What you should see:** a table that shrinks with every choice. In a saved notebook, where nothing answers, this one
# stays:

# %%
HTML(f"<details><summary>all tasks</summary>{table(benchmark.tasks_table())}</details>")

# %% [markdown]
# ## 2 · A figure and its source

# %%
btcv = benchmark.task("BTCV")
for figure in btcv.reported[:6]:
    print(f"{figure.method:20}{figure.value:8.2f}  {figure.metric}, {figure.source}")
print(f"{btcv.validation_subjects} validation subjects, {btcv.epochs} epochs")
checks.expect("baseline", btcv.reported[0].value, between=(82.79, 82.79))

# %% [markdown]
# **What you should see:** VoCo is ahead of the baseline by 3.85 points, on **six** subjects, with the best epoch chosen on
# the same six, by one training each. *fair_comparison* says what such numbers decide.
#
# ### Exercise 1 · Steps of a schedule
# A task says *epochs*. How many optimizer steps are that, with `cases` training scans and `batch` scans a step?


# %%
def my_steps(cases, batch, epochs):
    # solution
    return -(-cases // batch) * epochs
    # end solution


checks.steps_of_a_schedule(my_steps)

# %% [markdown]
# ### Exercise 2 · A gain, as a share of what was missing
# From 82.79 to 86.64 per cent: which share of what was missing to 100 has been gained?


# %%
def my_share(before, after):
    # solution
    return (after - before) / (100 - before)
    # end solution


checks.share_gained(my_share)

# %% [markdown]
# ## 3 · Data in the common layout
# `benchmark.msd_folder` reads folders in the layout of the Medical Segmentation Decathlon: `dataset.json`, `imagesTr`,
# `labelsTr`. Here is one that is made up: bodies drawn by code, with the liver as the only label.

# %%
folder = Path(OUT) / "made_up"
for part in ("imagesTr", "labelsTr"):
    (folder / part).mkdir(parents=True, exist_ok=True)
cases = []
for seed in range(4):
    body = vl.samples.phantom(seed, (48, 48, 48))
    liver = next(number for number, name in body.label_names.items() if name == "liver")
    image, label = f"imagesTr/body_{seed}.nii.gz", f"labelsTr/body_{seed}.nii.gz"
    vl.save_volume(replace(body, labels=(body.labels == liver).byte()), folder / image, folder / label)
    cases.append({"image": image, "label": label})
index = {"name": "Made up", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}, "training": cases}
(folder / "dataset.json").write_text(json.dumps(index))
data = benchmark.msd_folder(folder)
print(f"{data.name}: {len(data.training)} subjects, {data.modality[0]}, {', '.join(data.organs)}")

# %% [markdown]
# ## 4 · A task becomes settings
# SLIVER07 asks for the liver in CT. Its windows, spacing, patches and schedule come from the registry, the names and the
# number of steps from the folder. Data that do not fit are refused:

# %%
settings = benchmark.task("SLIVER07").config(data)
print(f"{settings.volume.spacing} mm, patches of {settings.patch_size}, {settings.train.steps:,} steps")
checks.expect("steps", settings.train.steps, between=(2000, 2000))
try:
    btcv.config(data)
except ValueError as error:
    print(error)

# %% [markdown]
# **What you should see:** 2,000 steps: 500 epochs of four scans. BTCV has 14 classes, which this folder lacks.
#
# ## 5 · Some steps of it
# The published network and patches need a GPU. A small encoder on coarse volumes shows that everything fits together; the
# score says nothing after so few steps.

# %%
small = vl.PretrainConfig.preset("ci", seed=SEED, device="cpu")
coarse = replace(settings.volume, spacing=None, foreground=None, size=(48, 48, 48))
start = replace(untrained(small, SEED), volume=coarse)
split = split_subjects(list(data.subjects(coarse)), validation=1, test=1, seed=SEED)
choices = SegmentationConfig(settings.organs, (32, 32, 32), settings.foreground_share, overlap=settings.overlap)
recipe = replace(
    settings.train, steps={"laptop": 30, "ci": 3}[SIZE], batch_size=2, warmup_steps=2, gauge_every=0, device="cpu"
)
task = SegmentationTask(start, split, choices, SEED)
fitted = vl.fit(task, recipe)
losses = fitted.history["total"][1]
print(f"loss {losses[0]:.2f} to {losses[-1]:.2f}, validation Dice {fitted.score:.2f}")

# %%
checks.expect("loss at the end", losses[-1], between=(0.0, 3.0))
vl.notebooks.write_results(OUT, tasks=len(tasks), usable=len(usable), steps=settings.train.steps, loss=losses[-1])

# %% [markdown]
# ## Recap
# * 51 tasks, each with what the released code and tables say, and nothing that they do not.
# * A published gain stands on few subjects and one seed: read the source before the number.
# * `benchmark.task(NAME).config(msd_folder(FOLDER))` gives settings for your data, or says why not.
#
# **Next.** `python -m voco_lite finetune segmentation --data MSD_FOLDER`.
