# %% [markdown]
# # 03 · Similarity and losses
#
# A network turns every crop into a vector. VoCo reads a prediction off these vectors: *the more alike two vectors, the
# more the crops overlap*. This notebook derives the similarity and each term of the loss, and shows that a loss of zero
# exists.
#
# **Goals.** Write the similarity and the terms of the prediction loss; know which loss values mean something; see why
# labels can be reached.
#
# **Prerequisites.** Notebook 02.
#
# **Time.** Twenty minutes of reading; the cells take seconds, one short training less than a minute.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # decides everything that is random
OUT = "runs/03_similarity_and_losses"  # where results.json and figures go

# %%
from pathlib import Path

import torch
import torch.nn.functional as F

import voco_lite as vl
from voco_lite import checks, viewers

config = vl.PretrainConfig.preset(SIZE, seed=SEED)
volumes = vl.samples.population(4, config.volume, source="phantom" if SIZE == "ci" else "auto")
dataset = vl.VoCoDataset(volumes, config.crops, seed=SEED)
batch, grid = dataset.batch(range(4)), dataset.grid

# %% [markdown]
# ## From crops to vectors
# The *encoder* turns a crop into a feature vector; the *projector*, three small layers, into the vector that is compared.
# Here is an untrained network and the vectors of one batch.

# %%
model = vl.VoCo(config)
student, teacher = model.embed(batch, torch.Generator().manual_seed(SEED))
print("random crops", tuple(student.random.shape), "volumes, crops, width of the vector")
print("base crops  ", tuple(teacher.base.shape))

# %% [markdown]
# ## Similarity
# The *cosine* of two vectors is 1 when they point the same way and 0 when they stand at a right angle. VoCo takes the
# cosine of each random crop to each base crop, and sets negative ones to 0: an overlap cannot be negative.

# %%
similarity = vl.position_similarity(student.random, teacher.base).detach()
labels = batch.position_labels.float()
viewers.plot_similarity(similarity[0], labels[0])

# %% [markdown]
# **What you should see:** on the left what the untrained network predicts, on the right what is true. They hardly agree:
# the network finds all pairs somewhat alike.
#
# ### Exercise 3.1 · Write the similarity
# One row for each random crop, one column for each base crop. `F.normalize(x, dim=-1)` makes vectors of length 1.


# %%
def my_position_similarity(crops, bases):
    # solution
    return (F.normalize(crops, dim=-1) @ F.normalize(bases, dim=-1).mT).relu()
    # end solution


checks.position_similarity(my_position_similarity)

# %% [markdown]
# ## The positive term: overlapped base crops
# Where the label y is above 0, the similarity s shall be equal to it. The cost of a pair is -log(1 - |y - s| + 1e-6):
# nothing when s = y, and ever more the further apart. Pairs are weighted by y.

# %%
s = torch.linspace(0, 1, 201)
cost = {f"y = {y}": (s, -(1 - (y - s).abs() + 1e-6).log()) for y in (0.25, 0.5, 0.9)}
viewers.plot_curves(cost, "similarity s", "cost of a pair")

# %% [markdown]
# **What you should see:** each curve touches 0 exactly at its own label, with a sharp tip.
#
# ### Exercise 3.2 · Write the positive term
# The sum of y times the cost, divided by the sum of y plus 1e-6.


# %%
def my_positive_term(similarity, labels):
    # solution
    cost = -(1 - (labels - similarity).abs() + 1e-6).log()
    return (labels * cost).sum() / (labels.sum() + 1e-6)
    # end solution


checks.positive_term(my_positive_term)

# %% [markdown]
# ## The negative term: base crops without overlap
# Where y is exactly 0, the similarity shall be 0. The 2025 code takes -log(1 - s + 1e-6), the 2024 code the square.

# %%
s = torch.linspace(0, 0.99, 200)
costs = {"2025: -log(1 - s)": (s, -(1 - s + 1e-6).log()), "2024: s²": (s, s**2)}
viewers.plot_curves(costs, "similarity s", "cost of a pair")

# %% [markdown]
# **What you should see:** both are 0 at 0; the logarithm punishes a confident mistake far more.
#
# ### Exercise 3.3 · Write the negative term
# The mean of -log(1 - s + 1e-6) over the entries whose label is 0 (divide by their number plus 1e-6).


# %%
def my_negative_term(similarity, labels):
    # solution
    absent = labels == 0
    return (absent * -(1 - similarity + 1e-6).log()).sum() / (absent.sum() + 1e-6)
    # end solution


checks.negative_term(my_negative_term)

# %% [markdown]
# Both together are the prediction loss, one value for each volume. Within a volume it is called the *intra-volume* loss.

# %%
from voco_lite.losses import prediction_terms

terms = prediction_terms(similarity, labels)
for name, values in (("positive", terms.positive), ("negative", terms.negative), ("loss", terms.total)):
    print(f"{name:9}", values.numpy().round(3))
checks.expect("intra-volume loss of the untrained network", float(terms.total.mean()), between=(0.3, 2.0))

# %% [markdown]
# ## Which values mean something?
# A loss of 0.6 tells nothing by itself. These four predictions give it a scale: always 0, the best constant, always 1,
# and the truth.

# %%
levels = vl.levels(config.crops)
print(f"perfect                         {abs(levels.oracle):6.2f}")
print(f"best constant similarity        {levels.best_constant:6.2f}")
print(f"all similarities 0              {levels.orthogonal:6.2f}")
print(f"all similarities 1 (collapse)   {levels.collapse:6.2f}")

# %%
checks.expect("level of all similarities 0", levels.orthogonal, between=(0.68, 0.90))
checks.expect("level of the best constant", levels.best_constant, between=(0.55, 0.70))
checks.expect("level of collapse", levels.collapse, between=(13, 17))

# %% [markdown]
# **What you should see:** 0, 0.6, a little above 0.7, and about 15. A network whose loss stays near the third has learnt
# nothing, however much the curve came down before. The untrained network of above stands near the second: crops that share
# voxels look alike to it, and that is all it knows. Every result is therefore shown beside its untrained level.
#
# (With the tiny crops of the `ci` size the third is 0.84: more crops lie exactly on a base crop, and a similarity that is
# wrong by 1 costs 13.8.)
#
# ## Keeping base crops apart
# If all vectors pointed the same way, every similarity would be 1. The *regularization* is the mean squared similarity of
# all pairs of base crops; it is 0 when they stand at right angles.

# %%
directions = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(SEED)))[0]
apart, alike = directions[: grid.bases], directions[:1].expand(grid.bases, -1)
untrained = student.base[0].detach()
for name, vectors in (("at right angles", apart), ("all the same", alike), ("untrained network", untrained)):
    print(f"{name:18} {float(vl.regularization_loss(vectors)):.3f}")

# %% [markdown]
# **What you should see:** 0 for right angles, 1 for vectors that are all the same.
#
# ## Between volumes
# The 2025 code adds an *inter-volume* loss: crops of one volume are compared with the base crops of the next. Nobody knows
# those overlaps, so the teacher's similarities are the target (notebook 04). Together:

# %%
losses = model.losses(student, teacher, batch.position_labels)
for name, value in losses.terms.items():
    print(f"{name:15} {float(value.detach()):.3f}")
print(f"{'total':15} {float(losses.total.detach()):.3f} = intra + inter + regularization")

# %% [markdown]
# ## Can the labels be reached at all?
# Cosines of one vector to nine others are not free: if all base crops pointed the same way, all cosines were equal. But if
# the base crops stand at right angles, Pythagoras says which rows of cosines exist: those whose squares sum to at most 1.
# Labels sum to 1, so their squares sum to at most 1.

# %%
many = vl.position_labels(vl.sample_starts(2000, grid, torch.Generator().manual_seed(SEED)), grid)
squares = many.square().sum(-1)
print(f"sum of squares: {float(squares.min()):.2f} to {float(squares.max()):.2f}")
checks.expect("largest sum of squares of a label", float(squares.max()), between=(0.5, 1.000001))
checks.expect("most entries above 0", int((many > 0).sum(-1).max()), between=(4, 4))

# %% [markdown]
# ### Exercise 3.4 · Build a crop that reaches its label
# `bases` are vectors at right angles, of length 1; `rest` is one more at a right angle to all of them. Return a vector of
# length 1 whose cosine to each base crop is its label.


# %%
def my_reachable_crop(bases, rest, label):
    # solution
    return label @ bases + (1 - label.square().sum()).clamp(min=0).sqrt() * rest
    # end solution


checks.reachable_crop(my_reachable_crop)

# %% [markdown]
# ## The loss alone, without a network
# Let the vectors themselves be what is learnt: nine base crops and four random crops, drawn at random, moved by the
# gradient of loss and regularization. As in an untrained network, they start with a part in common, so that all cosines
# are positive.

# %%
generator = torch.Generator().manual_seed(SEED)
common = torch.randn(64, generator=generator)
crops = (common + torch.randn(4, 64, generator=generator)).requires_grad_()
bases = (common + torch.randn(grid.bases, 64, generator=generator)).requires_grad_()
optimizer, curve = torch.optim.Adam([crops, bases], lr=0.02), []
for _ in range(400):
    predicted = vl.position_similarity(crops, bases)
    loss = vl.prediction_loss(predicted, labels[0]) + vl.regularization_loss(bases)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    curve.append(float(loss.detach()))

# %%
marks = {"all similarities 0": levels.orthogonal, "best constant": levels.best_constant}
figure = viewers.plot_curves({"loss + regularization": (range(400), curve)}, "step", "loss", marks)
figure.save(Path(OUT) / "free_vectors.png")
figure

# %%
checks.expect("loss of free vectors at the end", curve[-1], between=(0, 0.06))
viewers.plot_similarity(predicted.detach(), labels[0])

# %% [markdown]
# **What you should see:** the loss falls through both levels to about 0, and the two matrices agree. Nothing in the loss
# stands in the way of a perfect answer. What is hard is to make it from the *pictures*, for crops never seen before.
#
# Try it without `common`: some pairs that should overlap then start with a negative cosine, where relu passes no gradient,
# and stay there.
#
# ## The loss in pictures
# Now a network has to make the vectors. It is trained for some seconds, with the smallest crops, on other bodies than the
# one below. Then crops are slid over that body, and each is compared with one base crop, the orange box: the similarity s
# as heat, left before training, right after it.
#
# **Try:** click another place to choose the base crop that lies there. Move *slice*.

# %%
STEPS, SUBJECTS = {"laptop": (50, 9), "ci": (6, 5)}[SIZE]
small = vl.PretrainConfig.preset("ci", seed=SEED, steps=STEPS, warmup_steps=STEPS // 5, progress=False)
body, *others = vl.samples.population(SUBJECTS, small.volume, source="phantom" if SIZE == "ci" else "auto")
networks = {"untrained": vl.VoCo(small), "trained": vl.VoCo(small)}
vl.pretrain(networks["trained"], vl.VoCoDataset(others, small.crops, seed=SEED), small.train)
likeness = viewers.similarity_map(networks, body, stride=4)
likeness

# %%
measured = SIZE == "laptop" and body.source.startswith("abdomen-ct")  # where the band comes from
sharper = likeness.elsewhere["untrained"] - likeness.elsewhere["trained"]
checks.expect("similarity elsewhere, untrained minus trained", sharper, between=(0.2, 0.95), applies=measured)

# %% [markdown]
# **What you should see:** before training, everything inside the body is alike. Afterwards heat is left only near the box.
# There the *positive term* holds it: the more a crop overlaps the base crop, the more similar it shall be. Everywhere else
# the *negative term* has pushed it down: *elsewhere* is the mean similarity of crops that do not touch the box. The pink
# cross, the most similar crop, lies in the box even before training, since that crop *is* the base crop.

# %%
vl.notebooks.write_results(
    OUT,
    untrained_loss=float(terms.total.mean()),
    level_orthogonal=levels.orthogonal,
    level_best_constant=levels.best_constant,
    level_collapse=levels.collapse,
    loss_of_free_vectors=curve[-1],
    elsewhere=likeness.elsewhere["trained"],
    untrained_elsewhere=likeness.elsewhere["untrained"],
)

# %% [markdown]
# ## Recap
# * Prediction: relu of the cosine between a random crop and a base crop; no temperature, no softmax.
# * Positive term where they overlap, negative term where they do not, regularization between base crops, and the
#   inter-volume term between neighbours in the batch.
# * 0.7 is the level of knowing nothing, 0.6 of the best constant, 0 can be reached.
#
# Next: **04 · Student and teacher**, where the two sides of the comparison part.
