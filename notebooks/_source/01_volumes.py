# %% [markdown]
# # 01 · Volumes
#
# A scan is a block of numbers, but the numbers mean tissue and the block lies in a patient. This notebook is about the
# three things that every later notebook relies on: intensity, place, and size in millimetres.
#
# **Goals.** Read Hounsfield units; choose a window; say where a voxel lies in millimetres and on which side of the
# patient; prepare a volume for a network.
#
# **Prerequisites.** Notebook 00.
#
# **Time.** Ten minutes of reading; the cells take less than a minute.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # decides everything that is random
OUT = "runs/01_volumes"  # where results.json and figures go

# %%
import torch

import voco_lite as vl
from voco_lite import checks, viewers

size = (48, 48, 48) if SIZE == "ci" else (96, 96, 96)
source = "phantom" if SIZE == "ci" else "auto"

# %% [markdown]
# ## A volume knows where it comes from
# This is one subject of the sample population: a bent copy of the one real CT or, where that was not fetched, of a body
# drawn by code.

# %%
volume = vl.samples.population_subject(SEED, size, source=source)
print("source ", volume.source)
print("tensor ", tuple(volume.data.shape), volume.data.dtype)
print("voxel  ", " x ".join(f"{mm:.1f}" for mm in volume.spacing), "mm")
print("values ", f"{volume.data.min():.0f} to {volume.data.max():.0f}", volume.units)

# %% [markdown]
# **What you should see:** a tensor `(channel, x, y, z)`, voxels of several millimetres, and values from about -1000
# upwards.
#
# ## Intensity: Hounsfield units
# A CT measures how strongly tissue weakens X-rays, on a scale where water is 0 and air is -1000. The volume carries a map
# of organs, so we can ask for the mean of each.


# %%
def mean_hu(organ):
    number = next(number for number, name in volume.label_names.items() if name == organ)
    inside = volume.labels == number
    return float(volume.data[0][inside].mean()) if inside.any() else float("nan")


for organ in ("lung_lower_lobe_right", "liver", "spleen", "aorta", "vertebrae_L3"):
    print(f"{organ:22} {mean_hu(organ):6.0f} HU")

# %%
checks.expect("liver in HU", mean_hu("liver"), between=(20, 180))
checks.expect("bone in HU", mean_hu("vertebrae_L3"), between=(80, 700))

# %% [markdown]
# **What you should see:** lung far below 0, liver near 50 to 130, bone clearly higher. Contrast agent makes vessels and
# organs brighter, so subjects differ.
#
# ## Windows
# HU reach from -1000 to above 1500, but liver and spleen differ by 20 of them. A *window* picks the range that matters
# and maps it to [0, 1]; everything outside is clipped. Three windows of the same slice:

# %%
windows = {"whole range": (-1000, 1500), "abdomen": (-175, 250), "chest": (-1000, 500)}
viewers.side_by_side([volume] * 3, list(windows), windows=list(windows.values()), position=0.75)

# %% [markdown]
# **What you should see:** organs that hardly differ in the whole range, and stand apart in the abdomen window of -175 to
# 250 HU, which VoCo uses for abdomens.
#
# ### Exercise 1.1 · Write the window
# Map HU to [0, 1]: `low` becomes 0, `high` becomes 1, what lies outside is clipped.


# %%
def my_window(hu, low, high):
    # solution
    return ((hu - low) / (high - low)).clamp(0, 1)
    # end solution


checks.window(my_window)

# %% [markdown]
# ## Place: where is this voxel?
# The *affine* is a 4 x 4 matrix that turns a voxel's index into millimetres in the patient. The axes are called RAS: the
# first grows toward the patient's **R**ight, the second toward the front (**A**nterior), the third toward the head
# (**S**uperior).

# %%
print(volume.affine.numpy().round(1))
voxel = torch.tensor([10.0, 20.0, 30.0, 1.0]).double()
print("voxel (10, 20, 30) lies at", (volume.affine @ voxel)[:3].numpy().round(1), "mm")

# %% [markdown]
# ### Exercise 1.2 · From voxel to millimetres
# Write it for any affine, whose axes may be turned. `voxel` holds three numbers.


# %%
def my_position_mm(affine, voxel):
    # solution
    return affine[:3, :3] @ voxel + affine[:3, 3]
    # end solution


checks.position_mm(my_position_mm)

# %% [markdown]
# The liver lies on the right. If axes were mixed up somewhere, its middle would be at a negative x.

# %%
number = next(number for number, name in volume.label_names.items() if name == "liver")
middle = (volume.labels == number).nonzero().double().mean(0)
liver_mm = volume.affine[:3, :3] @ middle + volume.affine[:3, 3]
body = (volume.data[0] > -300).nonzero().double().mean(0)
body_mm = volume.affine[:3, :3] @ body + volume.affine[:3, 3]
to_the_right = float(liver_mm[0] - body_mm[0])
checks.expect("liver to the right of the body's middle, in mm", to_the_right, between=(15, 110))

# %% [markdown]
# **What you should see:** some 50 mm to the right. Now with your own eyes:
#
# **Try:** click the liver, on the *left* of the picture, and then the spleen. Raise *labels*, and narrow the *window*.

# %%
viewers.slices(volume, opacity=0.3)

# %% [markdown]
# **What you should see:** the line below the picture tells the place under the cross in millimetres, R or L, and the
# organ: R for the liver, L for the spleen.
#
# ## One call for slices and a body in 3-D
# `viewers.view` lays labels, crops or heat over a volume. Where the browser has WebGL it draws a body to turn; elsewhere a
# picture or a slice viewer stands in its place. Each organ has a colour; seven colours come round.
#
# **Try:** drag the body with the mouse to turn it, click into a slice to move the cross, scroll to go through the slices.

# %%
viewers.view(volume, labels=volume.labels)

# %% [markdown]
# **What you should see:** the same organs in the slices and on the body. R is on the left in all of them: the body looks
# at you.

# %% [markdown]
# ## Files
# Scanners store volumes along other axes. `save_volume` writes NIfTI, `load_volume` reads NIfTI files and DICOM series
# and always turns them to RAS, so that left stays left.

# %%
from pathlib import Path

path = Path(OUT) / "subject.nii.gz"
path.parent.mkdir(parents=True, exist_ok=True)
vl.save_volume(volume, path)
loaded = vl.load_volume(path)
difference = float((loaded.data - volume.data).abs().max())
print(path, tuple(loaded.data.shape), f"largest difference {difference:.3f} HU")

# %%
checks.expect("largest difference after saving and loading, in HU", difference, between=(0, 1))

# %% [markdown]
# ## Size: millimetres, not voxels
# Voxels differ between scanners, patients do not. *Resampling* to one spacing makes an organ of one size in mm have one
# size in voxels.

# %%
mm = 10.0 if SIZE == "ci" else 6.0
coarse = vl.prepare(volume, vl.VolumeConfig("none", spacing=(mm, mm, mm), foreground=None))
for name, one in (("before", volume), ("after", coarse)):
    extent = [n * step for n, step in zip(one.shape, one.spacing, strict=True)]
    print(f"{name:6} {one.shape} voxels, {' x '.join(f'{length:.0f}' for length in extent)} mm")

# %% [markdown]
# **What you should see:** fewer voxels, the same extent in mm up to about one voxel.
#
# ### Exercise 1.3 · How many voxels will there be?
# Given shape, old and new spacing, return the new shape as a list of whole numbers.


# %%
def my_new_shape(shape, spacing, new_spacing):
    # solution
    return [round(n * old / new) for n, old, new in zip(shape, spacing, new_spacing, strict=True)]
    # end solution


checks.new_shape(my_new_shape)

# %% [markdown]
# ## Prepare: all steps at once
# A `VolumeConfig` names every step: window, spacing, cropping to the body, size. The preset of the laptop resizes the
# whole scan to one block, so that a place in the block is about the same place in every body.

# %%
config = vl.PretrainConfig.preset(SIZE)
print(config.volume)
prepared = vl.prepare(volume, config.volume)
print(tuple(prepared.data.shape), f"values {prepared.data.min():.2f} to {prepared.data.max():.2f}", prepared.units)

# %%
checks.expect("mean prepared intensity", float(prepared.data.mean()), between=(0.05, 0.6))

# %% [markdown]
# Anything that is found in a prepared volume can be carried back to the original grid. Here the bone is found in the
# coarse volume:

# %%
bone = coarse.data[0] > 150
back = coarse.to_original(bone)
millilitres = [float(mask.sum() * one.affine.det().abs()) / 1000 for mask, one in ((bone, coarse), (back, volume))]
print(f"{int(bone.sum())} of {tuple(bone.shape)} voxels become {int(back.sum())} of {tuple(back.shape)}")
checks.expect("volume of the bone after over before", millilitres[1] / millilitres[0], between=(0.85, 1.15))

# %% [markdown]
# **What you should see:** another number of voxels, the same volume in millilitres.

# %% [markdown]
# ## A population
# Subjects of the population have different shapes, contrast and lesions, but livers stay right and spines stay behind.
# This sameness of place is what VoCo learns from.

# %%
subjects = vl.samples.population(3 if SIZE == "ci" else 4, config.volume, source=source)
shapes = [subject.attributes["body_shape"]["name"] for subject in subjects]
side = viewers.side_by_side(subjects, shapes, position=0.75)
side.save(Path(OUT) / "subjects.png")
side

# %%
for subject in subjects:
    traits = subject.attributes
    print(f"seed {traits['seed']}: {traits['contrast_phase']}, {len(traits['lesions'])} lesions")

# %% [markdown]
# **What you should see:** different bodies in one arrangement. They all come from *one* scan: what is learnt from them
# shows how the method works, not how well it does in hospitals.

# %%
vl.notebooks.write_results(
    OUT,
    liver_hu=mean_hu("liver"),
    liver_to_the_right_mm=to_the_right,
    file_difference_hu=difference,
    prepared_mean=float(prepared.data.mean()),
    subjects=len(subjects),
)

# %% [markdown]
# ## Recap
# * HU tell tissue; a window maps the ones that matter to [0, 1].
# * The affine tells millimetres; axes are RAS, the patient's right is on the left of a picture.
# * Spacing makes sizes comparable; `vl.prepare` does every step, and `to_original` goes back.
#
# Next: **02 · Base crops and position labels**, where a volume is cut up.
