# %% [markdown]
# # 08 · Classify scans
#
# One answer for a whole scan: in which contrast phase was it taken? The encoder looks at the crops that cover the scan, its
# features are averaged, and a linear layer decides.
#
# **Goals.** Fine-tune for classification; report accuracy and AUROC with intervals, beside what needs no network; probe
# frozen features by nearest neighbours and by a linear model.
#
# **Prerequisites.** Notebook 05; 07 for fine-tuning.
#
# **Time.** Twenty minutes of reading; some minutes of computing.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
STEPS = 0  # steps of the fine-tuning; 0: as many as the size has
SEED = 0  # decides weights and draws; the subjects stay the same
FROM = ""  # checkpoint or run folder of a pre-training; empty: that of 05, else a short one made here
DEVICE = "auto"  # "auto" is a GPU where there is one; or cpu, cuda, cuda:1
OUT = "runs/08_classify"  # where results.json and figures go

# %%
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import voco_lite as vl
from voco_lite import checks, viewers
from voco_lite.downstream.classes import class_name, class_numbers
from voco_lite.downstream.classification import ClassificationConfig, ClassificationTask, cover
from voco_lite.downstream.classifier import Classifier, auroc, examine

# %%
STEPS = STEPS or {"laptop": 60, "ci": 3}[SIZE]
few, source = {"laptop": ((24, 6, 16), "auto"), "ci": ((12, 2, 8), "phantom")}[SIZE]
config = vl.PretrainConfig.preset(SIZE, seed=SEED, device=DEVICE, progress=False)
start = vl.notebooks.pretrained_start(SIZE, config, FROM)

# %% [markdown]
# ## 1 · Subjects and their classes
# Contrast agent that was given into a vein is first in the arteries (*arterial* phase), half a minute later in the veins and
# the liver too (*portal venous*), and after minutes in the kidneys and the bladder (*delayed*); *native* is a scan without.
#
# The population's subjects know how they were made: `contrast_phase`, `lesion`, `body_shape`. The last cannot be asked here:
# the preparation brings every scan to the same number of voxels, which hides how large the body is.

# %%
settings = ClassificationConfig("contrast_phase", crop_size=config.crops.crop_size, class_weights="balanced")
groups = [
    vl.samples.population(n, start.volume, first_seed=first, source=source)
    for n, first in zip(few, (0, 500, 1000), strict=True)
]
split = vl.Split(*groups)
for name, group in zip(("training", "validation", "test"), groups, strict=True):
    print(f"{name:12}", dict(Counter(class_name(subject, settings.attribute) for subject in group)))

# %%
examples = [next(v for v in split.training if class_name(v, "contrast_phase") == phase) for phase in settings.classes]
viewers.side_by_side(examples, list(settings.classes), plane="coronal")

# %% [markdown]
# **What you should see:** vessels light up and fade from phase to phase, kidneys stay bright, and the bladder is bright at
# the end. Each picture is another body.
#
# ### Exercise 8.1 · The level to beat
# `learnt` and `asked` are the classes of the training and of the test subjects: NumPy arrays of whole numbers. Which accuracy
# has whoever always says the class that is most frequent in training?


# %%
def my_level(learnt, asked):
    # solution
    return (asked == np.bincount(learnt).argmax()).mean()
    # end solution


checks.always_the_most_frequent(my_level)

# %%
learnt, asked = (np.array(class_numbers(g, settings.attribute, settings.classes)) for g in (split.training, split.test))
level = float((asked == np.bincount(learnt).argmax()).mean())
constant = np.full((len(asked), len(settings.classes)), 1 / len(settings.classes))
print(f"always the most frequent class: accuracy {level:.2f}")
checks.expect("AUROC of a constant", auroc(asked, constant), between=(0.5, 0.5))

# %% [markdown]
# ### Exercise 8.2 · AUROC by pairs
# `scores` say how sure a classifier is that a subject is positive; `positive` says which are (NumPy arrays, of numbers and of
# booleans). Return the share of pairs of a positive and a negative subject in which the positive one has the higher score;
# equal scores count half.
#
# This is the AUROC of two classes. With several, as below, each class is positive once, against the rest, and the areas are
# averaged.


# %%
def my_auroc(scores, positive):
    # solution
    apart = scores[positive][:, None] - scores[~positive][None]
    return (apart > 0).mean() + 0.5 * (apart == 0).mean()
    # end solution


checks.area_under_the_curve(my_auroc)

# %% [markdown]
# ## 2 · Probes: what do the features know already?
# The encoder stays as it is. Its features of a scan are averaged, and a simple model from scikit-learn learns from them.
# Beside them stand plain intensities, which need no network: mean and spread of every crop.


# %%
@torch.no_grad()
def features(volumes, encoder):
    crops = [cover(volume.data, settings.crop_size) for volume in volumes]
    return np.stack([encoder(scan).pooled.mean(0).numpy() for scan in crops])


def intensities(volumes):
    crops = [cover(volume.data, settings.crop_size).flatten(1) for volume in volumes]
    return np.stack([torch.cat([scan.mean(1), scan.std(1)]).numpy() for scan in crops])


encoders = {"encoder": start.fresh().eval(), "random weights": start.from_scratch(SEED + 1).encoder.eval()}
known = {name: [features(g, e) for g in (split.training, split.test)] for name, e in encoders.items()}
known["intensities"] = [intensities(group) for group in (split.training, split.test)]

# %%
results = {}
for name, (train, test) in known.items():
    for kind, last in (("kNN", KNeighborsClassifier(3)), ("linear", LogisticRegression(max_iter=1000))):
        model = make_pipeline(StandardScaler(), last).fit(train, learnt)
        found = model.predict_proba(test)
        results[f"{kind}, {name}"] = (float((found.argmax(1) == asked).mean()), auroc(asked, found))
print(f"{'':24}{'accuracy':>10}{'AUROC':>8}")
for name, (right, area) in results.items():
    print(f"{name:24}{right:10.2f}{area:8.2f}")

# %% [markdown]
# **What you should see:** compare each row with the two others of its kind. The AUROC is the mean over the classes, each
# against the rest; 0.5 is chance. A contrast phase is a matter of brightness, so
# that plain intensities may do as well as any encoder: a task on which pre-training has little to prove.
#
# ## 3 · Fine-tune
# All weights learn now, with each class counting the same in the loss. No network from scratch is trained beside this one, so
# that its score says nothing about pre-training. The intervals come from drawing the test subjects again and again (the
# bootstrap); with so few they are still too narrow, and where all answers are right they have no width.

# %%
recipe = vl.FinetuneConfig(
    steps=STEPS, batch_size=2, learning_rate=1e-3, gauge_every=max(STEPS // 3, 1), seed=SEED, device=DEVICE
)
task = ClassificationTask(start, split, settings, SEED)
fitted = vl.fit(task, recipe)
print(f"validation, probability of the right class: {fitted.score:.2f} after step {fitted.best_step}")

# %%
found = examine(Classifier(task.network.cpu(), settings, start.volume), split.test)
for name, value in (("accuracy", found.accuracy), ("AUROC", found.auroc)):
    print(f"test {name:9}{value.value:.2f} (95 % {value.low:.2f} to {value.high:.2f})")
print(f"always the most frequent class: {level:.2f}")

# %%
checks.expect("width of the accuracy's interval", found.accuracy.high - found.accuracy.low, between=(0.0, 0.9))
for row in found.subjects[:8]:
    print(f"{row.subject:24}{row.truth:15} taken for {row.predicted:15} {row.score:.2f} for the truth")

# %% [markdown]
# **What you should see:** a wide interval, unless all are right. It speaks of other subjects, not of other seeds of the
# training, and these subjects are warps of one patient. Which phases are taken for each other?
#
# ## 4 · Where did it look?
# The features of a scan are the mean over its crops, and the last layer is linear. So the logit of a class is the mean over
# what each crop says by itself, and the crops' voices can be shown one by one. Here is a subject that was taken for
# another phase, if there is one: bright where crops speak for the phase that it was taken for.
#
# **Try:** turn the picture. Do the voices lie where contrast agent flows?

# %%
number = next((i for i, row in enumerate(found.subjects) if row.truth != row.predicted), 0)
row, scan = found.subjects[number], split.test[number]
with torch.no_grad():
    logits = task.network.head(task.network.encoder(cover(scan.data, settings.crop_size)).pooled)
voices = logits[:, settings.classes.index(row.predicted)] - logits.mean(1)
counts = [-(-n // size) for n, size in zip(scan.shape, settings.crop_size, strict=True)]
heat = torch.nn.functional.interpolate(voices.reshape(1, 1, *counts), size=scan.shape, mode="trilinear")[0, 0]
print(f"{row.subject}: {row.truth}, taken for {row.predicted}")
whole = task.network.probabilities(cover(scan.data, settings.crop_size))
checks.expect(
    "voices that make the answer", (logits.double().mean(0).softmax(0) - whole).abs().max(), between=(0, 1e-3)
)
viewers.view(scan, heat=(heat - heat.min()) / (heat.max() - heat.min()).clamp(min=1e-6))

# %% [markdown]
# **What you should see:** a coarse cloud, one value a crop. A voice says where the network found its answer, not why, and a
# crop of the lungs that speaks for a phase of the kidneys has learnt something else than medicine.
#
# Last, the curve of the validation subjects along the fine-tuning, which is kept with the results. **What you should see:**
# few points; the weights of the highest are those that were tested.

# %%
figure = viewers.plot_curves(
    {"validation": fitted.history["validation/score"]}, "step", "probability of the right class"
)
figure.save(Path(OUT) / "validation.png")
vl.notebooks.write_results(
    OUT,
    accuracy=found.accuracy.value,
    auroc=found.auroc.value,
    most_frequent=level,
    probes={name: {"accuracy": right, "auroc": area} for name, (right, area) in results.items()},
    run={"size": SIZE, "steps": STEPS, "subjects": few, "seed": SEED},
)
figure

# %% [markdown]
# ## Recap
# * A class for a scan: features averaged over the crops that cover it, and a linear layer.
# * Every accuracy stands beside the most frequent class, every probe beside plain intensities and random weights.
# * Few test subjects give wide intervals. Say them.
#
# **Next.** `python -m voco_lite finetune classification --attribute contrast_phase`; *fair_comparison* for what such numbers
# decide.
