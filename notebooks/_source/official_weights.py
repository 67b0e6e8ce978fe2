# %% [markdown]
# # Official weights
#
# The authors of VoCo pre-trained on up to 160,000 scans and published the result. Such a file is quickly downloaded and
# quickly misused: names that do not match are skipped in silence, and one that matches may compute something else.
#
# **Goals.** Load a file and know what became of every tensor; see why the order of *patch merging* matters; probe what
# the features know; go on training from them; bring weights back to MONAI, and an encoder of your own in here.
#
# **Prerequisites.** Notebooks 04 and 05. No released file is needed: without one, a stand-in takes its place.
#
# **Time.** Fifteen minutes of reading; one to two minutes of computing on a CPU with the stand-in.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # decides everything that is random
FILE = ""  # a released .pt file on your disk, or its name to fetch it; empty: a small stand-in
DEVICE = "auto"  # "auto" is a GPU where there is one; or cpu, cuda, cuda:1
OUT = "runs/official_weights"  # where results.json, figures and checkpoints go

# %%
from pathlib import Path

import torch

import voco_lite as vl
from voco_lite import checks
from voco_lite.config import EncoderConfig
from voco_lite.official_weights import KNOWN_FILES, describe_weights, find_weights, fitting_encoder
from voco_lite.train.hardware import choose_device

Path(OUT).mkdir(parents=True, exist_ok=True)
CROPS, SUBJECTS, STEPS = {"laptop": (12, 3, 6), "ci": (3, 2, 1)}[SIZE]
device = choose_device(DEVICE)

# %% [markdown]
# ## Which files there are
# Names and digests of what was released. The *SSL* files hold an encoder alone; the *omni* files a whole segmentation
# network. `python -m voco_lite weights fetch NAME` downloads one, where there is a network.

# %%
for released in KNOWN_FILES.values():
    print(f"{released.name:20} {released.size:>12}  fits {released.encoder:10} {released.digest[:26]}")

# %% [markdown]
# ## A file
# Training on several GPUs left its mark on the released names: `module.` from data-parallel training, `backbone.` from
# VoCo's own class. The stand-in has exactly these names and a small width. Its numbers are **random**: it shows how
# loading works, and nothing about what VoCo learns.


# %%
def stand_in(path):
    """A file with the released names, at feature size 12."""
    encoder = vl.build_encoder(EncoderConfig("swin-tiny"), seed=SEED + 1)
    state = {f"module.backbone.{name}": tensor for name, tensor in encoder.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 0}, path)
    return path


file = find_weights(FILE) if FILE else stand_in(Path(OUT) / "stand_in.pt")
print(describe_weights(file))
print("\nfirst names:", *list(torch.load(file, weights_only=True).get("state_dict", {}))[:3], sep="\n  ")

# %% [markdown]
# ## Loaded, or refused
# A file that somebody sends you may be anything. It is read without running any code in it, and compared with the known
# digests. An unknown one loads, and the report calls it unverified; one that bears a released name and is another file
# is refused, unless you say that you trust it.

# %%
name = fitting_encoder(file)
encoder = vl.build_encoder(EncoderConfig(name), seed=SEED)
report = vl.load_official_weights(encoder, file)
print(report)
checks.expect("tensors loaded", len(report.loaded), between=(145, 145))

# %% [markdown]
# **What you should see:** 145 tensors are loaded, none is missing, and the patch merging has been set to *legacy*. Fewer
# than 95 % would have been an error, with nothing changed.
#
# ## Why the merging matters
# Between its stages a Swin transformer joins 2 x 2 x 2 voxels into one. MONAI 1.5 corrected the order in which they are
# joined; the released weights were trained before, when two corners were taken twice and two never. Names and shapes are
# the same in both, so that nothing complains. We compute the same crop both ways.

# %%
make = torch.Generator().manual_seed(SEED)
crop = torch.rand(1, 1, 64, 64, 64, generator=make).to(device)
encoder.to(device).eval()
found = {}
with torch.no_grad():
    for merging in ("current", "legacy"):
        encoder.merging = merging
        found[merging] = encoder(crop).maps
pairs = zip(found["legacy"], found["current"], strict=True)
apart = [float((a - b).norm() / a.norm()) for a, b in pairs]
for stride, value in zip(encoder.strides, apart, strict=True):
    print(f"map of stride {stride:2}: {value:7.1%} apart")

# %%
checks.expect("difference before the first merging", max(apart[:2]), between=(0, 0.001))
checks.expect("difference after all mergings", apart[-1], between=(0.2, 3))

# %% [markdown]
# **What you should see:** the two finest maps agree, because nothing has been merged yet. From the third on they have
# little in common. A network with the wrong order does run and does train, from something else than what was learnt. Here
# the order is part of every configuration and every checkpoint.
#
# ### Exercise 1 · Join the corners
# `x` has the axes (crops, x, y, z, channels). Return the eight corners `x[:, i::2, j::2, k::2]`, joined along the
# channels, in today's order: `k` runs fastest, then `j`, then `i`.


# %%
def my_merged_corners(x):
    # solution
    corners = [x[:, i::2, j::2, k::2] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    return torch.cat(corners, dim=-1)
    # end solution


checks.merged_corners(my_merged_corners)

# %% [markdown]
# ## What do the features know?
# Crops of subjects that bend one body, and the quarter of the body (left or right, front or back) from which each comes.
# We ask for the quarter by the nearest neighbours among the *other* subjects' crops. Beside the loaded encoder stands one
# with random weights: only the gain counts.

# %%
source = "phantom" if SIZE == "ci" else "auto"
volume = vl.VolumeConfig("ct-abdomen", spacing=None, foreground=None, size=(128, 96, 64))
subjects = vl.samples.population(SUBJECTS, volume, source=source)
drawn = torch.Generator().manual_seed(SEED)
regions = [vl.gauges.region_crops(subject, (64, 64, 64), CROPS, drawn, (2, 2, 1)) for subject in subjects]
fresh = vl.build_encoder(EncoderConfig(name, merging="legacy"), seed=SEED + 2).to(device).eval()


def accuracy(network):
    pooled = [vl.gauges.features_of(lambda x: network(x.to(device)).pooled, part.crops) for part in regions]
    return vl.gauges.knn_by_subject(pooled, [part.regions for part in regions], neighbours=min(3, CROPS)).mean()


loaded_accuracy, fresh_accuracy = accuracy(encoder), accuracy(fresh)
print(f"quarter found: loaded {loaded_accuracy:.2f}, random weights {fresh_accuracy:.2f}")

# %%
checks.expect("share of quarters found", loaded_accuracy, between=(0, 1))

# %% [markdown]
# **What you should see:** with the stand-in, two numbers of the same kind, since both encoders are random; so few crops
# tell no more. With a released file on a GPU, raise `CROPS` and `SUBJECTS`, and judge by the difference and its interval
# (`vl.gauges.compare`).
#
# ## Go on training
# The files hold no projector and no teacher. `start_from_weights` loads the encoder, declares the heads fresh, and lets
# the checkpoint remember where the run came from. On the command line it is `pretrain --weights FILE`.

# %%
config = vl.PretrainConfig.preset(
    "laptop", encoder__name=name, cells=(2, 1, 1), crop_size=(64, 64, 64), random_crops=1, projector_dim=64,
    steps=STEPS, batch_size=2, warmup_steps=1, gauge_every=0, checkpoint_every=0, log_every=1, seed=SEED, device=DEVICE,
    run_folder=str(Path(OUT) / f"run-{Path(file).stem}-{STEPS}-steps-seed-{SEED}"),
)  # fmt: skip
model = vl.VoCo(config)
start = vl.official_weights.start_from_weights(model, file)
print(*start.notes, sep="\n")

# %%
before = {key: weight.detach().cpu().clone() for key, weight in model.encoder.named_parameters()}
dataset = vl.VoCoDataset(subjects, config.crops, seed=SEED)
history = vl.pretrain(model, dataset, config.train)
moved = sum(
    float((weight.detach().cpu() - before[key]).square().sum()) for key, weight in model.encoder.named_parameters()
)
relative = (moved / sum(float(weight.square().sum()) for weight in before.values())) ** 0.5
print(f"{history.steps} steps, total loss {history['total'][1][-1]:.2f}, encoder moved by {relative:.2%} of its length")

# %%
checks.expect("relative change of the encoder", relative, between=(1e-5, 0.2))

# %% [markdown]
# **What you should see:** the encoder has moved a little. Its first steps follow a projector that knows nothing yet: a
# warm-up and a small learning rate keep that from spoiling what was loaded.
#
# ### Exercise 2 · More input channels
# Your scans have several channels, the file's first layer has one. Its weight has the axes (out, 1, x, y, z). Return the
# weight of a layer for `n` channels that answers `n` equal channels as the old one answered one.


# %%
def my_inflated_channels(weight, n):
    # solution
    return weight.repeat(1, n, 1, 1, 1) / n
    # end solution


checks.inflated_channels(my_inflated_channels)

# %% [markdown]
# Loading does the same when you ask for it, and never without being asked.

# %%
two_channels = vl.build_encoder(EncoderConfig(name), in_channels=2, seed=SEED)
inflated = vl.load_official_weights(two_channels, file, inflate_channels=True)
print("inflated:", *inflated.inflated, sep="\n  ")
with torch.no_grad():
    one, two = encoder(crop).pooled, two_channels.to(device).eval()(crop.repeat(1, 2, 1, 1, 1)).pooled
checks.expect("largest difference for equal channels", (one - two).abs().max(), between=(0, 0.01))

# %% [markdown]
# ## Back to MONAI
# `export_swinunetr` writes what MONAI's `SwinUNETR` loads strictly, and warns where MONAI must be told the order. We
# build it with that order and compare what both compute.

# %%
import warnings

from monai.networks.nets import SwinUNETR

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always", UserWarning)
    exported = vl.export_swinunetr(encoder, Path(OUT) / "swinunetr.pt", out_channels=4)
print(*[str(one.message) for one in said if "merging" in str(one.message)], sep="\n")
merge = vl.official_weights.LegacyPatchMerging
monai = SwinUNETR(1, 4, feature_size=encoder.feature_size, use_v2=True, downsample=merge).to(device).eval()
print(monai.load_state_dict(torch.load(exported, weights_only=True)))
with torch.no_grad():
    theirs, ours = monai.swinViT(crop)[4], encoder.swinViT(crop)[4]
checks.expect("largest difference to MONAI", (theirs - ours).abs().max(), between=(0, 0.001))

# %% [markdown]
# ## An encoder of your own
# Beside the Swin encoders there is `plain-conv`, the encoder of nnU-Net: with instance norm, as published, to load
# weights into (`norm="instance"`), with batch norm to pre-train it. Instance norm takes from each crop the level of
# every feature, and pooled features of different places then look alike.
#
# Anything that turns crops into maps and one vector per crop can be pre-trained. These lines register one by name; from
# there on it works everywhere, `pretrain` and probes included.

# %%
from voco_lite.encoders import Encoder, EncoderOutput, register


class Patches(Encoder):
    """One convolution that looks at patches of 8 voxels."""

    channels, strides, feature_dim, size_multiple, minimum_size = (32,), (8,), 32, 8, 8

    def __init__(self, in_channels):
        super().__init__()
        self.look = torch.nn.Conv3d(in_channels, 32, kernel_size=8, stride=8)

    def forward(self, crops):
        seen = self.look(crops).relu()
        return EncoderOutput([seen], seen.mean((2, 3, 4)))


# %%
@register("patches")
def patches(config, in_channels):
    return Patches(in_channels)


own = vl.PretrainConfig.preset("ci", encoder__name="patches", steps=10, gauge_every=0, progress=False, device=DEVICE)
volumes = vl.samples.population(4, own.volume, source="phantom")
mine = vl.pretrain(vl.VoCo(own), vl.VoCoDataset(volumes, own.crops, seed=SEED), own.train)
checks.expect("steps of an encoder of ten lines", mine.steps, between=(10, 10))

# %%
vl.notebooks.write_results(
    OUT,
    file=Path(file).name,
    identity=report.identity,
    encoder=name,
    loaded=len(report.loaded),
    merging_difference=apart,
    region_knn=loaded_accuracy,
    untrained_region_knn=fresh_accuracy,
    steps=history.steps,
    total_loss=history["total"][1][-1],
    encoder_moved=relative,
)

# %% [markdown]
# ## Recap
# * A report says what became of every tensor; too little is an error, and so is a released name with other content.
# * Weights and the order of patch merging belong together: the released ones are *legacy*, new ones *current*.
# * Heads that no file holds start fresh, and the report says so.
# * More input channels are an explicit choice, and so is the way back to MONAI.
#
# **Next.** many_gpus trains at the size of the papers.
