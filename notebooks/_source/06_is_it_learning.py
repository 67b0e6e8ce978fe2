# %% [markdown]
# # 06 · Is it learning?
#
# A loss curve goes down in nearly every run, good or broken. This notebook gives you gauges that tell the difference, and
# four runs to use them on: one healthy, three broken on purpose.
#
# **Goals.** Know the levels that give a loss meaning; read collapse off the embeddings; diagnose a plateau, a collapse and
# wrong labels from their fingerprints.
#
# **Prerequisites.** Notebooks 03 and 05.
#
# **Time.** Half an hour of reading and thinking; one to three minutes of computing.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # decides everything that is random
OUT = "runs/06_is_it_learning"  # where results.json and figures go

# %%
from pathlib import Path

import torch

import voco_lite as vl
from voco_lite import checks, viewers

STEPS = {"laptop": 150, "ci": 6}[SIZE]
# The smallest crops: this notebook trains four times.
config = vl.PretrainConfig.preset("ci", seed=SEED, steps=STEPS, warmup_steps=STEPS // 10, log_every=2, progress=False)
config = config.changed(gauge_every=STEPS // 3 if SIZE == "laptop" else 0)
source, (many, few) = {"laptop": ("auto", (16, 8)), "ci": ("phantom", (6, 4))}[SIZE]
volumes = vl.samples.population(many, config.volume, source=source)
held_out = vl.samples.population(few, config.volume, first_seed=1000, source=source)
dataset = vl.VoCoDataset(volumes, config.crops, seed=SEED)

# %% [markdown]
# ## 1 · Levels
# What would the intra-volume loss be for a network that knows nothing, and for one that knows everything? Four simple
# predictions mark the scale.

# %%
levels = vl.levels(config.crops)
for name in ("oracle", "best_constant", "orthogonal", "collapse"):
    print(f"{name:14} {getattr(levels, name):6.2f}")
checks.expect("all similarities 0", levels.orthogonal, between=(0.78, 0.9))
checks.expect("best constant similarity", levels.best_constant, between=(0.56, 0.65))
checks.expect("all similarities 1", levels.collapse, between=(13, 17))

# %% [markdown]
# **What you should see:** *oracle*, the truth, costs 0. *Orthogonal*, all similarities 0, costs 0.84 with these small
# crops, and 0.71 with the published 64³ ones, where fewer of the drawn crops lie exactly on a cell. Even saying one and
# the same number for every pair is better than that. *Collapse*, everything is similar to everything, costs most of all.
#
# ### Exercise 6.1 · The level of the ignorant
# Compute the loss when every similarity is 0. Nothing has to be predicted: with s = 0 the negative term is 0, and the
# positive term is the sum of `-y * log(1 - y + 1e-6)`, divided by the sum of y plus 1e-6.


# %%
def my_orthogonal_level(labels):
    # solution
    return -(labels * (1 - labels + 1e-6).log()).sum() / (labels.sum() + 1e-6)
    # end solution


checks.orthogonal_level(my_orthogonal_level)

# %% [markdown]
# ## 2 · Variety in the embeddings
# A loss looks at pairs. Collapse is easier to see in the vectors themselves. The *singular values* of many centred
# vectors say how much they vary along each direction. The *effective rank* turns them into one number: in how many
# directions? The *spread* is the mean of 1 - cosine over all pairs: 0 when all point the same way.

# %%
make = torch.Generator().manual_seed(SEED)
ball = torch.randn(200, 32, generator=make)
examples = {"ball": ball, "pancake": ball * torch.tensor([1.0] * 4 + [0.05] * 28), "point": ball * 0.01 + 1}
for name, vectors in examples.items():
    print(f"{name:8} rank {vl.gauges.effective_rank(vectors):5.1f}   spread {vl.gauges.spread(vectors):.3f}")
viewers.plot_spectrum(examples)

# %%
checks.expect("effective rank of the pancake", vl.gauges.effective_rank(examples["pancake"]), between=(4, 12))
checks.expect("spread of the point", vl.gauges.spread(examples["point"]), between=(0, 0.01))

# %% [markdown]
# **What you should see:** the pancake has few directions. The point has almost no spread, and yet a high rank: seen from
# its own centre, it is a small ball. One gauge alone can be deceived.
#
# ### Exercise 6.2 · Write the effective rank
# Subtract the mean vector; take the singular values (`torch.linalg.svdvals`); divide them by their sum; take the entropy,
# minus the sum of p log p; return its exponential.


# %%
def my_effective_rank(embeddings):
    # solution
    values = torch.linalg.svdvals(embeddings - embeddings.mean(0))
    share = values / values.sum()
    return torch.exp(-(share * (share + 1e-12).log()).sum())
    # end solution


checks.effective_rank(my_effective_rank)

# %% [markdown]
# ## 3 · Four runs
# One run is healthy. The faults of the others are common ones:
#
# * **plateau**: the learning rate is a thousandth of what it should be.
# * **collapse**: the regularization has the wrong sign and a huge weight, so that it pulls base crops together.
# * **labels**: the position labels do not belong to the crops; here every list of overlaps is turned around.


# %%
class TurnedLabels(vl.VoCoDataset):
    """Says of each random crop what would be true of the one opposite."""

    def cut(self, samples, device="cpu"):
        batch = super().cut(samples, device)
        batch.position_labels = batch.position_labels.flip(-1)
        return batch


turned = TurnedLabels(volumes, config.crops, seed=SEED)
faults = {
    "healthy": (config, dataset),
    "plateau": (config.changed(learning_rate=1e-6), dataset),
    "collapse": (config.changed(regularization_weight=-100.0), dataset),
    "labels": (config, turned),
}

# %% [markdown]
# Chance names them A, B, C and D, so that you can guess. (`truth` holds the answer. Do not print it yet.)

# %%
order = torch.randperm(4, generator=torch.Generator().manual_seed(SEED + 3)).tolist()
truth = {run: list(faults)[i] for run, i in zip("ABCD", order, strict=True)}
histories, models = {}, {}
for run, fault in truth.items():
    changed, data = faults[fault]
    models[run] = vl.VoCo(changed)
    histories[run] = vl.pretrain(models[run], data, changed.train, held_out=held_out)
    print(f"run {run} is done: training loss {histories[run]['total'][1][-1]:.2f}")

# %% [markdown]
# First what most people look at: the training loss, of each run's own making.

# %%
viewers.plot_curves(
    {f"run {run}": history["total"] for run, history in histories.items()}, "step", "training loss, total"
)

# %% [markdown]
# **What you should see:** one curve dives far below all others. Is that the best run? A loss can be low because the *loss*
# is broken. So look at each term beside its levels, and at subjects that were held out.

# %%
viewers.plot_history(histories["A"], levels)

# %%
viewers.plot_history(histories["B"], levels)

# %%
viewers.plot_history(histories["C"], levels)

# %%
viewers.plot_history(histories["D"], levels)

# %% [markdown]
# And the embeddings of one batch of held-out crops.

# %%
probe = vl.VoCoDataset(held_out, config.crops, seed=SEED).batch(range(4)).base_crops.flatten(0, 1)
embedded = {f"run {run}": model.cpu().project(probe) for run, model in models.items()}
viewers.plot_spectrum(embedded)

# %%
print(f"{'run':5}{'intra loss':>12}{'top-1':>16}{'across':>8}{'rank':>7}{'spread':>8}")
for run, history in histories.items():
    first, last = history.first_held_out, history.last_held_out
    print(f"{run:5}{last.intra_loss:12.2f}{first.top1:8.2f} -> {last.top1:4.2f}{last.top1_across:8.2f}", end="")
    print(f"{last.effective_rank:7.1f}{last.spread:8.2f}")

# %% [markdown]
# **What you should see:** four fingerprints. One run has no spread left. One has a spread of about 0.7, which is what
# random weights give once the batch statistics have settled: it has hardly moved. Two have a spread of about 0.95, so
# both have moved, but one of them finds clearly more crops, at a clearly lower loss.
#
# ### Exercise 6.3 · Diagnose
# Write `"healthy"`, `"plateau"`, `"collapse"` or `"labels"` for each run.

# %%
diagnosis = {"A": None, "B": None, "C": None, "D": None}
# solution
diagnosis = dict(truth)  # reading off the answer is for this version only
# end solution

checks.diagnosis(diagnosis, truth)

# %% [markdown]
# ## 4 · The verdict in a sentence
# `vl.verdict` puts such rules into words. It is an aid: it knows nothing of your data.

# %%
verdicts = {}
for run, history in histories.items():
    verdicts[run] = vl.verdict(history.first_held_out, history.last_held_out, levels)
    print(f"Run {run}, in truth {truth[run]}: {verdicts[run]}\n")

# %%
by_fault = {truth[run]: history.last_held_out for run, history in histories.items()}
measured = SIZE == "laptop" and volumes[0].source.startswith("abdomen-ct")  # where the bands come from
checks.expect("healthy intra loss", by_fault["healthy"].intra_loss, between=(0.15, 0.5), applies=measured)
checks.expect("spread of the collapse", by_fault["collapse"].spread, between=(0, 0.05), applies=measured)
checks.expect("spread of the plateau", by_fault["plateau"].spread, between=(0.5, 0.79), applies=measured)
checks.expect("spread with wrong labels", by_fault["labels"].spread, between=(0.8, 1.1), applies=measured)
gap = by_fault["healthy"].top1 - by_fault["labels"].top1
checks.expect("top-1, healthy minus wrong labels", gap, between=(0.03, 0.7), applies=measured)

# %% [markdown]
# ## 5 · A map of crops
# The gauges are numbers about vectors. Here are the vectors themselves: crops of all held-out subjects, near where the
# network finds them alike. First the healthy run:
#
# **Try:** choose a *colour*: region of the body, subject, organ. Rest the mouse on a point to see its crop, or click it and
# step on by the arrow keys.

# %%
by_name = {fault: models[run] for run, fault in truth.items()}
crops = 40 if SIZE == "laptop" else 8
atlas = viewers.embedding_map(by_name["healthy"], held_out, crops, seed=SEED)
atlas

# %% [markdown]
# **What you should see:** patches of colour, crops from the back of the body at one end and from the front at the other,
# while subjects are mixed: where a crop lies was kept, whose it is was left out. The line below says the same in numbers:
# of a crop's nearest crops *in other subjects*, how many share its region, and how many would by chance.
#
# **Try:** the same for the run that collapsed.

# %%
fallen = viewers.embedding_map(by_name["collapse"], held_out, crops, seed=SEED)
fallen

# %%
knows = {"healthy": atlas.shared["region"], "collapse": fallen.shared["region"]}
more = knows["healthy"] - knows["collapse"]
checks.expect("neighbours of one region, healthy minus collapse", more, between=(0.05, 0.8), applies=measured)

# %% [markdown]
# **What you should see:** nearly all crops on one spot or on one thread. Read the numbers on the axes, too: a plane
# stretches whatever it is given, and these vectors differ far less than those above. The share of neighbours has fallen
# toward chance.

# %%
viewers.plot_spectrum(embedded).save(Path(OUT) / "spectrum.png")
for run, fault in truth.items():
    viewers.plot_history(histories[run], levels).save(Path(OUT) / f"{fault}.png")
vl.notebooks.write_results(
    OUT,
    intra_loss={fault: found.intra_loss for fault, found in by_fault.items()},
    top1={fault: found.top1 for fault, found in by_fault.items()},
    spread={fault: found.spread for fault, found in by_fault.items()},
    effective_rank={fault: found.effective_rank for fault, found in by_fault.items()},
    verdicts={truth[run]: found.kind for run, found in verdicts.items()},
    region_neighbours=knows,
)

# %% [markdown]
# ## Recap
# * Put every loss beside its levels, and every accuracy beside its untrained value.
# * Training loss alone deceives: a run with a broken loss has the lowest.
# * No spread: collapse. Little spread, and no loss below a constant's: it hardly moves. Spread without much accuracy: look at
#   the labels.
# * Use more than one gauge, and held-out subjects.
#
# **Next.** Pre-train on your own volumes: `python -m voco_lite pretrain --data FOLDER`, and watch the same gauges. Or 07,
# where a pre-trained encoder learns to find organs.
