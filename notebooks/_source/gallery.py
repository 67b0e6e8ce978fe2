# %% [markdown]
# # Gallery
#
# Every explorer of this kit in one place. Each is a picture with sliders: move them, and picture and numbers answer. Most
# pictures answer to a click as well, and after it to the arrow keys.
#
# **Goals.** Look into volumes, crops, a running training, and what a network finds alike, in one body and across bodies;
# and read each picture beside the number that keeps it honest.
#
# **Prerequisites.** Notebooks 02 and 05.
#
# **Time.** Half an hour of playing; one to three minutes of computing.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # decides everything that is random
OUT = "runs/gallery"  # where results.json and figures go

# %%
from pathlib import Path

import torch
import torch.nn.functional as F

import voco_lite as vl
from voco_lite import checks, viewers

STEPS, SUBJECTS, HELD_OUT = {"laptop": (100, 16, 4), "ci": (6, 4, 2)}[SIZE]
# The smallest crops, so that the network trains within a minute.
config = vl.PretrainConfig.preset("ci", seed=SEED, steps=STEPS, warmup_steps=STEPS // 10, log_every=2, progress=False)
source = "phantom" if SIZE == "ci" else "auto"
training = vl.samples.population(SUBJECTS, config.volume, source=source)
held_out = vl.samples.population(HELD_OUT, config.volume, first_seed=1000, source=source)
measured = SIZE == "laptop" and training[0].source.startswith("abdomen-ct")  # where the bands come from

# %% [markdown]
# ## Slices
# Three slices through one point.
#
# **Try:** click a slice, or move *x*, *y* and *z*; raise *labels* to lay organs over the image; narrow the *window*.
#
# **What you should see:** the line below names the place in millimetres and the organ. R is the patient's right, drawn on
# the left. With 48 voxels along each axis the image is coarse: a vertebra is some five voxels high.

# %%
viewers.slices(held_out[0], opacity=0.3)

# %% [markdown]
# ## What the network sees
# The upper row shows crops as they are cut, the lower row as the network gets them, and below each what happened to it.
# Random crops are framed in orange, base crops in blue.
#
# **Try:** step through the draws, and move through the slices of the crops.
#
# **What you should see:** the letters R, L, A and P follow the patient through flips and turns. Position labels stay as
# they were, although a crop may stand on its head: the network has to recognise it all the same.

# %%
flips = config.changed(flip_probability=0.2, rotate_probability=0.2)
player = viewers.augmentation_player(held_out[0], flips, seed=SEED)
player

# %% [markdown]
# ## A training as it runs
# The theatre sits in the list of callbacks. It costs at most three hundredths of the time, except in a run as short as
# this one, where the first and the last picture weigh more; `theatre.share` says how much it was.
#
# **Try:** run the next cell, the training, and scroll back up: the picture changes while it runs.
#
# **What you should see:** upper left, the losses fall below *best constant*. Upper right, held-out crops are found more
# often. Lower left, the vectors keep many directions, so nothing collapses. Lower right, the orange bars of one crop come
# to stand where the blue ones are.

# %%
theatre = viewers.TrainingTheatre(held_out, every=5)
theatre

# %%
model = vl.VoCo(config)
history = vl.pretrain(
    model, vl.VoCoDataset(training, config.crops, seed=SEED), config.train, held_out=held_out, callbacks=[theatre]
)
print(f"{theatre.pictures} pictures took {theatre.share:.1%} of the time")
theatre.picture

# %%
rank = history.last_held_out.effective_rank
learnt = history.last_held_out.top1 - history.first_held_out.top1
checks.expect("gain in position top-1", learnt, between=(0.05, 0.45), applies=measured)

# %% [markdown]
# ## One crop, moved by hand
# Blue is the truth, orange what the network says.
#
# **Try:** click into the slice to put the crop there, or use the sliders. Then a crop in the air.
#
# **What you should see:** the bars change hands while the crop crosses a border between two cells. In the air there is
# nothing to recognise.

# %%
viewers.explore_positions(model, held_out[0])

# %% [markdown]
# ## A grid that asks for the height
# The grid above is flat: three by three cells, none above another. This one has two cells along each axis, and a network
# of its own. The coronal view shows the height.
#
# **Try:** move *z* alone, from one end to the other. Then *y*.
#
# **What you should see:** along *z*, blue passes from base crops with even numbers to their odd neighbours, the ones above.
# Orange follows, but less surely than along *y*: front and back differ more than a place and the one above it.

# %%
in_3d = config.changed(cells=(2, 2, 2), crop_size=(24, 24, 24), network_size=(16, 16, 16))
model_3d = vl.VoCo(in_3d)
vl.pretrain(model_3d, vl.VoCoDataset(training, in_3d.crops, seed=SEED), in_3d.train)
cube = viewers.explore_positions(model_3d, held_out[0])
cube

# %%
found, untrained = (vl.measure_held_out(network, held_out, in_3d.crops) for network in (model_3d, vl.VoCo(in_3d)))
print(
    f"position top-1: {untrained.top1:.2f} untrained, {found.top1:.2f} trained, {found.chance:.2f} for a cell at random"
)
gain = found.top1 - untrained.top1
checks.expect("gain in position top-1 on the 3-D grid", gain, between=(0.05, 0.45), applies=measured)

# %% [markdown]
# ## What looks like this base crop?
# Crops are slid over the whole subject, and each is compared with one base crop, the orange box. Heat marks the middles
# of the crops that are alike; the pink cross is the most similar one. Left before training, right after it.
#
# **Try:** click another place to choose its base crop, and move *slice*.

# %%
networks = {"untrained": vl.VoCo(config), "trained": model}
likeness = viewers.similarity_map(networks, held_out[0], stride=4)
likeness

# %% [markdown]
# **What you should see:** the cross lies in the box both times: a crop is most similar to itself, whatever the weights.
# The difference is *elsewhere*, the mean over crops that do not touch the box: before training nearly everything inside
# the body is somewhat alike.
#
# Now without a shared voxel: the base crop stays in one subject, and crops are slid over another one. The box shows where
# the anatomy truly lies there.
#
# **Try:** click a place to choose the base crop that belongs there, and move *slice*.

# %%
across = viewers.similarity_map(networks, held_out[0], slid_over=held_out[1], stride=4, plane="coronal")
across

# %%
sharper = likeness.elsewhere["untrained"] - likeness.elsewhere["trained"]
checks.expect("similarity elsewhere, untrained minus trained", sharper, between=(0.08, 1.0), applies=measured)

# %% [markdown]
# **What you should see:** in the coronal view, the heat of the trained network is a stripe along the body. The grid has
# 3 x 3 x 1 cells: nobody ever asked for the height.
#
# ## One call, several ways to look
# `viewers.view` takes a volume, and labels, crops or heat to draw over it. In a browser with WebGL it shows slices and a
# body to turn; without one it leaves a picture in their place, so that nothing is lost. Here are the base crops, coloured
# by how much of a random crop each holds, and that crop in orange.
#
# **Try:** turn the body with the mouse; click into a slice.
#
# **What you should see:** the brighter a base crop's frame, the more of the orange crop lies in it.

# %%
grid = vl.CropGrid.from_config(config.crops)
start = vl.sample_starts(1, grid, torch.Generator().manual_seed(SEED))
crops = [*viewers.base_crop_boxes(grid, vl.position_labels(start, grid)[0]), (start[0], grid.random_size)]
viewers.view(held_out[0], boxes=crops, backend="niivue")

# %% [markdown]
# The same by plotly, with heat in place of slices: where crops look like the base crop of the similarity map above.
#
# **Try:** hover over a frame to read its place and share; click a name in the legend to hide it.
#
# **What you should see:** the orange surface holds the crops that the trained network finds most alike. The other
# backends are "slices", sliders without WebGL, and "static", one picture.

# %%
alike = viewers.heat_over(likeness.lattice, likeness.similarity["trained"][likeness.base.value])
viewers.view(held_out[0], boxes=crops, heat=alike, backend="plotly")

# %% [markdown]
# ## Point across subjects
# The crop around a place in A, the orange cross, is compared with crops of B: the pink cross is the most similar one, the
# blue ring is where the same anatomy truly lies. We know that, because both subjects are bent from one.
#
# **Try:** click a vertebra in A, then the skin, then somewhere in the middle of the liver.
#
# **What you should see:** ring and cross are some voxels apart, and the distance in mm stands below. Where the body looks
# alike for a long way, they part.

# %%
pointer = viewers.point_across(model, held_out[0], held_out[1], stride=4)
pointer

# %% [markdown]
# ### Exercise 1 · Find the place
# `query` is one vector, `candidates` has one row for each crop of B. Return the number of the row that is most similar by
# cosine.


# %%
def my_best_match(query, candidates):
    # solution
    return (F.normalize(candidates, dim=1) @ F.normalize(query, dim=0)).argmax()
    # end solution


checks.best_match(my_best_match)

# %% [markdown]
# ### Exercise 2 · Look at no voxel
# A rival that needs no network: the same share of the box. `place` is a voxel of A as a tensor of three indices, where
# index 0 is the *middle* of the first voxel; `shape_a` and `shape_b` are the sizes of both volumes. Return the place in B
# that divides B's box as `place` divides A's.


# %%
def my_same_share(place, shape_a, shape_b):
    # solution
    return (place + 0.5) / shape_a * shape_b - 0.5
    # end solution


checks.same_share(my_same_share)

# %% [markdown]
# One point proves nothing. Here are many, beside that rival, an untrained network, and the nearest crop that there is.

# %%
errors = pointer.error_table(points=100 if SIZE == "laptop" else 10, seed=SEED)
errors

# %%
errors.picture

# %%
floor, ours = errors.median("nearest crop"), errors.median("this encoder")
checks.expect("median of the nearest crop in mm", floor, between=(8, 20), applies=measured)
checks.expect("median of this encoder, in nearest crops", ours / floor, between=(1, 10), applies=measured)

# %% [markdown]
# **What you should see:** so short a training does **not** make the network a better pointer: the untrained one may well
# be nearer. It was asked in which column of the body a crop lies, not where exactly and not how high, and it has learnt
# to leave out what it was not asked for. Compare the two last columns. Then put a longer training in its place:
# `vl.load_model("runs/05_pretrain/…/final.pt")`, with subjects prepared by its `config.volume`.
#
# ## A map of many crops
# Each point is a crop; near means alike. With plotly you can hover too: `atlas.figure()`.
#
# **Try:** choose the *colour*, and let the mouse rest on a point: its crop is shown beside the map.

# %%
atlas = viewers.embedding_map(model, held_out, crops=60 if SIZE == "laptop" else 12, seed=SEED)
atlas

# %% [markdown]
# **What you should see:** coloured by *subject*, the points are mixed, as they should be: what tells subjects apart is of
# no use for the task. Coloured by *region*, they form patches. The line below says the same of the whole vectors, of
# which the plane shows two directions only.

# %%
knows = atlas.shared["region"] - atlas.by_chance["region"]
checks.expect("neighbours of one region, above chance", knows, between=(0.15, 0.6), applies=measured)
checks.expect("neighbours of one subject", atlas.shared["subject"], between=(0.1, 0.5), applies=measured)

# %%
pictures = {"player": player, "theatre": theatre, "similarity": likeness, "across": across, "pointer": pointer,
            "atlas": atlas}  # fmt: skip
for name, shown in pictures.items():
    shown.picture.save(Path(OUT) / f"{name}.png")
vl.notebooks.write_results(
    OUT,
    top1=history.last_held_out.top1,
    untrained_top1=history.first_held_out.top1,
    effective_rank=rank,
    elsewhere=likeness.elsewhere["trained"],
    untrained_elsewhere=likeness.elsewhere["untrained"],
    pointing_mm={way: errors.median(way) for way in errors.offsets},
    region_neighbours=atlas.shared["region"],
    theatre_share=theatre.share,
    steps=history.steps,
)

# %% [markdown]
# ## Recap
# * A picture persuades; the number beside it, and the level it had before training, decide.
# * A crop is always most similar to itself. Ask what is *not* similar, and ask in another subject.
# * A network learns what it is asked. A flat grid asks for no height.
# * Beat the same share of the box before you speak of anatomy.
#
# **Next.** Every explorer takes a model, an encoder, or a function from crops to vectors: try your own.
