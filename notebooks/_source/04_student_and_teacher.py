# %% [markdown]
# # 04 · Student and teacher
#
# The student predicts overlaps by comparing its vectors of random crops with *somebody's* vectors of base crops. If these
# were its own of this very moment, the target would jump at every step. VoCo lets a *teacher* embed the base crops: a
# second network that nobody trains, the moving average of the student.
#
# **Goals.** Write the moving average and its half-life; see what a copy and a random start do; know where gradients stop
# and what the teacher is good for.
#
# **Prerequisites.** Notebook 03.
#
# **Time.** Twenty minutes of reading; one to three minutes of computing.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # decides everything that is random
OUT = "runs/04_student_and_teacher"  # where results.json and figures go

# %%
from pathlib import Path

import torch
import torch.nn.functional as F

import voco_lite as vl
from voco_lite import checks, viewers

STEPS, BATCHES = {"laptop": (120, 50), "ci": (10, 5)}[SIZE]
# The smallest crops: this notebook trains four times.
config = vl.PretrainConfig.preset("ci", seed=SEED, steps=STEPS, warmup_steps=STEPS // 10, log_every=1, progress=False)
source, (many, few) = {"laptop": ("auto", (16, 8)), "ci": ("phantom", (6, 4))}[SIZE]
volumes = vl.samples.population(many, config.volume, source=source)
held_out = vl.samples.population(few, config.volume, first_seed=1000, source=source)
dataset = vl.VoCoDataset(volumes, config.crops, seed=SEED)
# Bands were measured on warps of the real CT.
measured = SIZE == "laptop" and volumes[0].source.startswith("abdomen-ct")

# %% [markdown]
# ## Who is taught what?
# The three published objectives differ here. The paper-time head has no teacher, the 2024 code averages the whole
# network, the 2025 code only the projector: its encoder is shared.

# %%
for name in ("cvpr24-head", "cvpr24", "tpami25"):
    model = vl.VoCo(config.changed(objective__name=name))
    counts = [sum(p.numel() for p in model.parameters() if p.requires_grad is learns) for learns in (True, False)]
    print(f"{name:12} teacher: {model.objective.teacher:10} learnt {counts[0]:9,}   averaged {counts[1]:9,} numbers")

# %% [markdown]
# **What you should see:** the averaged numbers are none, as many as the learnt ones, or a part of them.
#
# ## The moving average
# After every step the teacher's weights become `momentum * teacher + (1 - momentum) * student`. It is called an *EMA*, an
# exponential moving average. Suppose that the student jumps from 0 to 1 and stays there. How fast does the teacher
# follow?

# %%
updates = torch.arange(0, 101)
following = {f"momentum {m}": (updates, 1 - m ** updates.double()) for m in (0.5, 0.9, 0.99)}
viewers.plot_curves(following, "updates", "teacher", {"half way": 0.5, "student": 1.0})

# %%
left = 0.9**44
checks.expect("share of the old teacher left after 44 updates of momentum 0.9", left, between=(0.0095, 0.0100))

# %% [markdown]
# **What you should see:** with 0.9, the published momentum, the teacher is half-way after seven updates, and after 44 less
# than one hundredth of the old one is left.
#
# ### Exercise 4.1 · Write one update
# Return the teacher's next weights. They must not carry a gradient to the student: use `student.detach()`.


# %%
def my_ema(teacher, student, momentum):
    # solution
    return momentum * teacher + (1 - momentum) * student.detach()
    # end solution


checks.ema(my_ema)

# %% [markdown]
# ### Exercise 4.2 · Its half-life
# After how many updates is half of the old teacher gone? The share left after n updates is `momentum ** n`; the answer
# need not be a whole number.

# %%
import math


def my_half_life(momentum):
    # solution
    return math.log(0.5) / math.log(momentum)
    # end solution


checks.half_life(my_half_life)

# %% [markdown]
# ## A copy, or a random start?
# A teacher should begin as a copy of the student. The released code forgets to copy: its teacher begins with random
# weights of its own (`mode="official"` repeats that). We let both teachers follow a student that stands still, and measure
# how far they are from it, in lengths of the student's weights.


# %%
def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def distance(model):
    student, teacher = weights(model.projector), weights(model.teacher_projector)
    return float((teacher - student).norm() / student.norm())


# %%
curves = {}
for mode in ("default", "official"):
    model, distances = vl.VoCo(config.changed(mode=mode)), []
    for _ in range(61):
        distances.append(distance(model))
        model.update_teacher()
    curves[f"{model.objective.teacher_start} ({mode})"] = (range(61), distances)
viewers.plot_curves(curves, "updates", "distance from the student")

# %%
copied, strange = (distances for _, distances in curves.values())
checks.expect("distance of a copy", max(copied), between=(0.0, 1e-5))
checks.expect("distance of a random start", strange[0], between=(1.38, 1.45))
checks.expect("the same after 44 updates", strange[44], between=(0.0, 0.015))

# %% [markdown]
# **What you should see:** two random vectors of many numbers stand at a right angle, so the distance starts at √2 = 1.41.
# It then falls by a tenth each update, whatever the weights are. The random start is forgotten after 44 steps. Published
# runs have two million steps; here, with few, it matters.
#
# ## Where the gradient stops
# One backward pass, and then a look at every part: has it received a gradient?

# %%
model = vl.VoCo(config)
model(dataset.batch(range(4))).total.backward()
for name, part in model.named_children():
    sizes = [float(p.grad.norm()) for p in part.parameters() if p.grad is not None]
    print(f"{name:18}", f"gradient in {len(sizes)} tensors, norm {math.hypot(*sizes):.2f}" if sizes else "no gradient")

# %%
taught = [p for p in model.teacher_projector.parameters() if p.grad is not None]
checks.expect("teacher tensors with a gradient", len(taught), between=(0, 0))

# %% [markdown]
# **What you should see:** encoder and student projector get a gradient, the teacher none: it moves only by averaging.
#
# ### Exercise 4.3 · Stop the gradient
# Return the similarity of student crops and teacher bases (notebook 03), such that the gradient reaches the crops and not
# the bases. `x.detach()` is `x` without its history.


# %%
def my_stop_gradient(crops, bases):
    # solution
    return (F.normalize(crops, dim=-1) @ F.normalize(bases.detach(), dim=-1).mT).relu()
    # end solution


checks.stop_gradient(my_stop_gradient)

# %% [markdown]
# ## Watch both learn
# Before the student learns, put a crop somewhere in a body that it will never be trained on. Blue is the truth, orange what
# the *teacher's* vectors say. The picture will follow the training.
#
# **Try:** move the crop to a place that you like, then run the next cells. While they run, the kernel has no time for
# sliders: the training itself draws the picture anew. Afterwards move the crop again.

# %%
model, place = vl.VoCo(config), torch.tensor([22, 11, 0])
explorer = viewers.explore_positions(model, held_out[0])
explorer.move(*place.tolist())
explorer

# %% [markdown]
# **What you should see:** at first a carpet of orange: everything is somewhat alike. While the network is trained, the
# carpet sinks, and orange bars come to stand where the blue ones are.
#
# A callback looks on. It keeps the weights of every step. Now and then it draws the picture above anew, and keeps how far
# the prediction of the crop at `place` is from the truth, summed over all base crops: by the teacher's vectors, and by
# those that the student alone would give.

# %%
import copy

grid, first = explorer.grid, explorer.depth.value
block = held_out[0].data[..., first : first + grid.block_size[2]]
true = vl.position_labels(place[None], grid)[0]


def predictions(model):
    alone = copy.deepcopy(model)
    alone.teacher_projector.load_state_dict(model.projector.state_dict())
    networks = {"teacher": model, "student": alone}
    return {name: viewers.predict_overlaps(network, block, place, grid) for name, network in networks.items()}


# %%
trail, steps_seen, apart = [], [], {"teacher": [], "student": []}


def watch(record, model):
    trail.append((weights(model.projector), weights(model.teacher_projector), distance(model)))
    if record["step"] % max(STEPS // 12, 1) == 0:
        explorer.refresh()
        steps_seen.append(record["step"])
        for name, predicted in predictions(model).items():
            apart[name].append(float((predicted - true).abs().sum()))


watch({"step": 0}, model)
vl.pretrain(model, dataset, config.train, callbacks=[watch])
figure = viewers.plot_curves({name: (steps_seen, sums) for name, sums in apart.items()}, "step", "predicted minus true")
figure

# %%
gained = apart["teacher"][0] - apart["teacher"][-1]
checks.expect("sum that the teacher was off, before minus after", gained, between=(0.5, 8), applies=measured)

# %% [markdown]
# **What you should see:** both fall within a few steps, from several whole overlaps to one or two, and then go up and down,
# for this is one crop only. Teacher and student differ most at the beginning, where the network changes fastest.
#
# ## What the teacher is good for
# How far did the student and the teacher move in each step?

# %%
student, teacher = (torch.stack([entry[i] for entry in trail]) for i in (0, 1))
steps = range(1, len(trail))
moved = {name: (steps, x.diff(dim=0).norm(dim=1)) for name, x in (("student", student), ("teacher", teacher))}
viewers.plot_curves(moved, "step", "distance moved in the step")

# %%
path = {name: float(values.sum()) for name, (_, values) in moved.items()}
print(f"length of the whole path: student {path['student']:.2f}, teacher {path['teacher']:.2f}")
checks.expect("teacher's path over student's", path["teacher"] / path["student"], between=(0.3, 0.9), applies=measured)

# %% [markdown]
# **What you should see:** both arrive at the same place, but the teacher's way is about a third shorter: it leaves out the
# student's back and forth. The target of the loss is steadier than the network that learns from it.
#
# Does that help? The same training with other teachers: one that *is* the student of the step before (momentum 0), the
# published one (0.9), one that starts at random, and one that hardly moves at all (0.9999), so that it stays random.


# %%
def train(momentum, copy=True):
    changed = config.changed(momentum=momentum)
    model = vl.VoCo(changed)
    if not copy:
        stranger = vl.VoCo(config.changed(seed=SEED + 99)).projector
        model.teacher_projector.load_state_dict(stranger.state_dict())
    vl.pretrain(model, dataset, changed.train)
    return examine(model)


def examine(model):
    return vl.measure_held_out(model, held_out, config.crops, batches=BATCHES)


results = {"(untrained)": examine(vl.VoCo(config)), "copy, 0.9": examine(model), "copy, 0": train(0.0)}
results["random start, 0.9"] = train(0.9, copy=False)
results["stands still, 0.9999"] = train(0.9999)

# %%
print(f"{'teacher':24}{'intra loss':>12}{'top-1':>8}{'across':>8}")
for name, found in results.items():
    print(f"{name:24}{found.intra_loss:12.2f}{found.top1:8.2f}{found.top1_across:8.2f}")

# %%
published = results["copy, 0.9"].intra_loss
checks.expect("intra loss with the published teacher", published, between=(0.2, 0.55), applies=measured)

# %% [markdown]
# **What you should see:** *one* run each, so differences of a few hundredths are chance; change `SEED` and look again. With
# seeds 0 and 1, the published teacher ended lower (0.37 and 0.39) than one without a lag (0.49 and 0.43), and a random
# start cost nothing (0.34 and 0.37). The one that stands still had one of the highest losses and yet found as many crops
# as any: the labels say what is right, and the teacher only gives the places their names.
#
# The labels are also why nothing collapses here when there is no teacher at all, as in the paper-time head. In methods
# without labels, such as BYOL, the teacher carries more of the weight.

# %%
viewers.plot_curves(curves, "updates", "distance from the student").save(Path(OUT) / "copy_or_random.png")
viewers.plot_curves(moved, "step", "distance moved in the step").save(Path(OUT) / "movement.png")
vl.notebooks.write_results(
    OUT,
    distance_random_start=strange[0],
    path_student=path["student"],
    path_teacher=path["teacher"],
    intra_loss={name: found.intra_loss for name, found in results.items()},
    top1={name: found.top1 for name, found in results.items()},
)

# %% [markdown]
# ## Recap
# * The teacher is a moving average of the student; with momentum 0.9 its half-life is 6.6 updates.
# * Nobody trains it: the gradient stops at its vectors.
# * It should start as a copy. The released code starts it at random, which is forgotten after some dozens of steps.
# * Its way is shorter than the student's, so that the target of the loss is steadier.
#
# **Next.** 05 trains the whole, at the size that a laptop can do.
