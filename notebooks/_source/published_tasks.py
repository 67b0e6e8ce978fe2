# %% [markdown]
# # The 51 published tasks
#
# VoCo's authors tried their weights on 51 downstream tasks. What their code and their tables say about each is kept here as
# data, with the source of every figure, and what was not found is left empty.
#
# **Goals.** Browse the tasks; know where their data are; read a published figure with care; fine-tune on data of your own
# with a task's settings.
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
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import ipywidgets
from IPython.display import HTML

import voco_lite as vl
from voco_lite import benchmark, checks
from voco_lite.downstream import split_subjects, untrained

# %% [markdown]
# ## 1 · Which tasks there are

# %%
tasks = benchmark.tasks()
print(len(tasks), "tasks:", ", ".join(f"{n} {kind}" for kind, n in Counter(task.kind for task in tasks).items()))
usable = [task.name for task in tasks if not task.obstacle]
print(f"{len(usable)} have settings that run here, with your own copy of the data")
checks.expect("tasks", len(tasks), between=(51, 51))


# %%
def linked(text):
    """A text whose addresses can be clicked."""
    return re.sub(r"(https?://\S+)", r'<a href="\1" target="_blank">\1</a>', html.escape(text))


def table(rows):
    """Rows of texts as a table that scrolls sideways."""
    texts = ["".join(f"<td>{linked(text)}</td>" for text in row.values()) for row in rows]
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in benchmark.tasks_table()[0])
    body = f"<table><tr>{head}</tr><tr>{'</tr><tr>'.join(texts)}</tr></table>"
    return f'<p>{len(rows)} tasks</p><div style="overflow-x: auto">{body}</div>'


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
# ## 2 · One task, whole
# Training, data, every figure with its source, and a note where something is unusual.
#
# **Try:** *TotalSegmentator*, whose 104 structures were learnt without half precision; then *VerSe20*, which was released for
# nnU-Net only.


# %%
def sheet(task):
    """Everything that is known about a task, a line each."""
    line = '<tr><th scope="row" style="text-align: left">{}</th><td style="text-align: left">{}</td></tr>'
    return f"<table>{''.join(line.format(name, linked(text)) for name, text in task.details().items())}</table>"


one = ipywidgets.Dropdown(options=[task.name for task in tasks], description="task")
about = ipywidgets.HTML(sheet(tasks[0]))
one.observe(lambda change: setattr(about, "value", sheet(benchmark.task(change["new"]))), names="value")
ipywidgets.VBox([one, about])

# %% [markdown]
# **What you should see:** everything that the released code and its tables say about the task, and where its data are. The
# addresses are those that public documentation gives, such as the page of the challenge; many want a registration or a
# licence that you agree to, and none was opened for this table. VoCo's authors also offer [prepared
# copies](https://huggingface.co/datasets/Luffy503/VoCo_Downstream); the terms of the originals still hold. In a saved
# notebook, where the menu does nothing, these sheets open:

# %%
HTML("".join(f"<details><summary>{html.escape(task.name)}</summary>{sheet(task)}</details>" for task in tasks))

# %% [markdown]
# ## 3 · A figure and its source

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
# A task says *epochs*. How many optimizer steps are that, with `cases` training scans and `batch` scans a step? The last
# batch of an epoch may be smaller, and counts.


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
# ## 4 · Data in the common layout
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
# ## 5 · A task becomes settings
# SLIVER07 asks for the liver in CT. Window, spacing, patches and rates come from the registry; the folder names the
# structure. How many steps that are depends on how many scans train. Not all is as published: patches are neither flipped nor
# turned, half of them are shifted in intensity instead of a tenth, and MR is scaled by percentiles instead of a z-score.

# %%
settings = benchmark.task("SLIVER07").config(data)
steps = settings.recipe(len(data.training)).steps
print(settings)
print(f"{steps:,} steps with {len(data.training)} scans")
checks.expect("steps", steps, between=(2000, 2000))
try:
    btcv.config(data)
except ValueError as error:
    print(error)

# %% [markdown]
# **What you should see:** 2,000 steps: 500 epochs of four scans. BTCV has 14 classes, which this folder lacks. Without a
# folder, `config()` gives the published settings alone.
#
# ## 6 · Some steps of it
# `settings.task` puts an encoder and subjects together, `settings.recipe` says how to train. The published network,
# `untrained(vl.PretrainConfig.preset("tpami25-B"), SEED)`, and patches of 96 voxels need a GPU. A small encoder on coarse
# volumes shows that everything fits together; the score says nothing after so few steps.

# %%
coarse = replace(settings.volume, spacing=None, foreground=None, size=(48, 48, 48))
small = replace(settings, volume=coarse, patch_size=(32, 32, 32))
split = split_subjects(data.subjects(small.volume), validation=1, test=1, seed=SEED)
task = small.task(untrained(vl.PretrainConfig.preset("ci", seed=SEED), SEED), split, SEED)
recipe = replace(
    small.recipe(len(split.training)), steps={"laptop": 30, "ci": 3}[SIZE], batch_size=2, warmup_steps=2, gauge_every=0,
    device="cpu",
)  # fmt: skip
fitted = vl.fit(task, recipe)
losses = fitted.history["total"][1]
print(f"loss {losses[0]:.2f} to {losses[-1]:.2f}, validation Dice {fitted.score:.2f}")

# %%
checks.expect("loss at the end", losses[-1], between=(0.0, 3.0))
vl.notebooks.write_results(OUT, tasks=len(tasks), usable=len(usable), steps=steps, loss=losses[-1])

# %% [markdown]
# ## Recap
# * 51 tasks, each with what the released code and tables say, and nothing that they do not.
# * A published gain stands on few subjects and one seed: read the source before the number.
# * `settings = benchmark.task(NAME).config(msd_folder(FOLDER))` are settings for your data, or an error that says why not;
#   `vl.fit(settings.task(start, split), settings.recipe(len(split.training)))` trains with them.
#
# **Next.** `python -m voco_lite finetune segmentation --data MSD_FOLDER`.
