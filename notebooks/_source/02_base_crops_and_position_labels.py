# %% [markdown]
# # 02 · Base crops and position labels
#
# VoCo asks a network one question: *which parts of the volume does this crop overlap, and by how much?* The answer is
# known without any human, because we cut the crop ourselves. This notebook makes the question and its answer visible.
#
# **Goals.** Know base crops, random crops and position labels; compute a label by hand; know what a batch holds.
#
# **Prerequisites.** Notebook 01.
#
# **Time.** Fifteen minutes of reading; the cells take seconds.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # decides everything that is random
OUT = "runs/02_base_crops_and_position_labels"  # where results.json and figures go

# %%
from pathlib import Path

import torch

import voco_lite as vl
from voco_lite import checks, viewers

config = vl.PretrainConfig.preset(SIZE, seed=SEED)
volumes = vl.samples.population(2, config.volume, source="phantom" if SIZE == "ci" else "auto")
volume = volumes[0]

# %% [markdown]
# ## The grid of base crops
# The volume is tiled by *base crops*: boxes of one size that do not overlap. The 2025 code uses a 3 x 3 grid over x and y
# whose boxes fill z; so does our preset.

# %%
grid = vl.CropGrid.from_config(config.crops)
print(f"{grid.cells} cells of {grid.crop_size} voxels make a block of {grid.block_size}: {grid.bases} base crops")

# %% [markdown]
# Base crops are numbered with x outermost and z innermost. `grid_starts` gives the first voxel of each.

# %%
bases = vl.grid_starts(grid)
for number, start in enumerate(bases.tolist()):
    print(f"base crop {number} starts at voxel {start}")

# %% [markdown]
# **What you should see:** nine starts; y changes from one to the next, x after every three.
#
# ### Exercise 2.1 · Where do the base crops start?
# Write `grid_starts`: one row (x, y, z) for each base crop, x outside and z inside. `grid.cells` and `grid.crop_size` hold
# three numbers each.


# %%
def my_grid_starts(grid):
    # solution
    nx, ny, nz = grid.cells
    cells = [(i, j, k) for i in range(nx) for j in range(ny) for k in range(nz)]
    return torch.tensor(cells) * torch.tensor(grid.crop_size)
    # end solution


checks.grid_starts(my_grid_starts)

# %% [markdown]
# ## A random crop and its label
# A *random crop* has the size of a base crop and lies anywhere in the block. Its *position label* holds one number for
# each base crop: the share of the random crop that lies inside it.

# %%
generator = torch.Generator().manual_seed(SEED)
starts = vl.sample_starts(2, grid, generator)
middle = (0, 0, (volume.shape[2] - grid.block_size[2]) // 2)  # first voxel of the block in the volume
picture = viewers.show_position_labels(volume, starts, grid, first=middle)
picture.save(Path(OUT) / "position_labels.png")
picture

# %% [markdown]
# **What you should see:** an orange box in the grid; the base crops that it touches are blue, the more the bluer; the bars
# are its label. The patient's right is on the left, so x grows to the left and base crop 0 is at the lower right.

# %%
labels = vl.position_labels(starts, grid)
print(labels.numpy().round(3))
checks.expect("sum of a label", float(labels[0].sum()), between=(0.999999, 1.000001))

# %% [markdown]
# A label sums to 1, because the base crops tile the block and every voxel of the crop lies in exactly one of them.
#
# ## The same in three dimensions
# The base crops as boxes, the brighter the more of the first random crop they hold; the random crop is orange.
#
# **Try:** turn the body by dragging it, and click into a slice to see which boxes it cuts.

# %%
boxes = viewers.base_crop_boxes(grid, labels[0], first=middle)
viewers.view(volume, boxes=[*boxes, (starts[0] + torch.tensor(middle), grid.random_size)])

# %% [markdown]
# **What you should see:** nine columns side by side, as high as the block, and an orange one of their size across some of
# them. None lies on top of another: this grid does not divide the height.
#
# ### By hand
# Along one axis, two boxes of one length L that start d voxels apart share L - d voxels, or none when d is L or more. The
# shared volume is the product over the three axes, and its share is that divided by the volume of the crop.

# %%
number = int(labels[0].argmax())
size = torch.tensor(grid.crop_size)
distance = (starts[0] - bases[number]).abs()
shared = (size - distance).clamp(min=0)
print(f"crop at {starts[0].tolist()}, base crop {number} at {bases[number].tolist()}: apart by {distance.tolist()}")
print(f"shared voxels along the axes: {shared.tolist()}")
print(f"share {float(shared.prod() / size.prod()):.4f}, in the label {float(labels[0, number]):.4f}")

# %% [markdown]
# ### Exercise 2.2 · Write `position_labels`
# Return one row for each random crop and one column for each base crop. `vl.grid_starts(grid)` gives the base crops;
# random crops have the size `grid.crop_size`.


# %%
def my_position_labels(starts, grid):
    # solution
    size = torch.tensor(grid.crop_size)
    distance = (starts[:, None] - vl.grid_starts(grid)[None]).abs()
    return (size - distance).clamp(min=0).prod(-1) / size.prod()
    # end solution


checks.position_labels(my_position_labels)

# %% [markdown]
# ## Drag the crop
# Here the crop is yours. No network is needed: the label is geometry.
#
# **Try:** click into the slice, and the crop goes there. Or move the sliders, or, after a click, press the arrow keys.
# Where is one bar 1? Where are two of them equal?

# %%
explorer = viewers.explore_positions(None, volume, grid)
explorer

# %% [markdown]
# **What you should see:** the bars pass over from one base crop to its neighbour while the crop crosses a border, and
# their sum stays 1. `block z` moves the whole grid up and down the body. That changes the picture but not the label, since
# this grid does not divide z.
#
# A cell can move the crop too, here onto a base crop, which makes its label a single 1:

# %%
explorer.move(*bases[5].tolist())
print(explorer.alt)
checks.expect("largest overlap of a crop on a base crop", float(explorer.labels.max()), between=(1, 1))

# %% [markdown]
# ### Exercise 2.3 · Four quarters
# Find a start (x, y, z) whose crop overlaps four base crops equally, a quarter each. Use the sliders, or think.

# %%
my_start = None
# solution
my_start = (grid.crop_size[0] // 2, grid.crop_size[1] // 2, 0)
# end solution
checks.four_quarters(my_start, grid)

# %% [markdown]
# ## How hard is the question?
# Most random crops touch four base crops. A place is aligned with the grid on one axis in 3 of all possible starts, so the
# share of crops that touch four is known in advance.

# %%
many = vl.position_labels(vl.sample_starts(5000, grid, generator), grid)
touched = (many > 0).sum(-1)
four = float((touched == 4).double().mean())
positions = grid.block_size[0] - grid.crop_size[0] + 1
predicted = ((positions - grid.cells[0]) / positions) ** 2
for n in (1, 2, 4):
    print(f"{n} base crops touched: {float((touched == n).double().mean()):6.1%}")
print(f"predicted for four: {predicted:.1%}")

# %%
checks.expect("share of crops that touch four base crops", four, between=(predicted - 0.03, predicted + 0.03))
checks.expect("mean of the largest overlap", float(many.amax(-1).mean()), between=(0.5, 0.65))

# %% [markdown]
# **What you should see:** about nine of ten crops touch four base crops (fewer in the small `ci` size); the largest overlap
# is 0.57 on average. Naming a cell by chance finds the right one about once in nine times.
#
# ## What a batch holds
# `VoCoDataset` draws blocks, random crops and small changes of intensity, all from a seed: the same draw is the same
# everywhere. Labels do not change with the augmentation.

# %%
dataset = vl.VoCoDataset(volumes, config.crops, seed=SEED)
batch = dataset.batch([0, 1])
print("random crops   ", tuple(batch.random_crops.shape), "volumes, crops, channel, x, y, z")
print("base crops     ", tuple(batch.base_crops.shape))
print("position labels", tuple(batch.position_labels.shape), batch.position_labels.dtype)
print(*batch.sources, sep="\n")

# %%
again = vl.VoCoDataset(volumes, config.crops, seed=SEED).batch([0, 1])
print("the same batch again:", torch.equal(batch.random_crops, again.random_crops))
crops = list(batch.random_crops[0])
viewers.side_by_side(crops, [f"random crop {i}" for i in range(len(crops))])

# %% [markdown]
# **What you should see:** the random crops of one volume. Could *you* say where they belong?
#
# Published runs also flip and rotate crops, without changing the labels. Our small presets do not: a flipped crop from
# the right looks like one from the left, and in a short run on a small network that makes the question harder than it
# needs to be.
#
# ## Further than the paper: a grid in three dimensions
# The published grids do not divide z, so nothing tells feet from head. Here is one that does, and whose block is the whole
# volume; a crop now touches up to eight base crops.
#
# **Try:** move *z*, and watch the coronal view in the middle. Find a place where all eight bars are alike.

# %%
edge = min(volume.shape) // 2
cube = vl.CropGrid(cells=(2, 2, 2), crop_size=(edge, edge, edge))
in_3d = vl.position_labels(vl.sample_starts(2000, cube, generator), cube)
most = int((in_3d > 0).sum(-1).max())
viewers.explore_positions(None, volume, cube)

# %% [markdown]
# **What you should see:** *z* now moves bars too: base crops with even numbers lie low, odd ones high. The more base crops
# share a crop, the smaller every share is, and the harder the question.

# %%
checks.expect("most base crops touched in three dimensions", most, between=(8, 8))
vl.notebooks.write_results(
    OUT,
    share_touching_four=four,
    share_predicted=predicted,
    largest_overlap=float(many.amax(-1).mean()),
    most_in_3d=most,
)

# %% [markdown]
# ## Recap
# * Base crops tile a block; their number says where they lie.
# * A position label holds the shares of a random crop in all base crops; it sums to 1 and needs no human.
# * In two dimensions at most four entries are not 0, and every draw follows from a seed.
#
# Next: **03 · Similarity and losses**, where a network has to predict these labels.
