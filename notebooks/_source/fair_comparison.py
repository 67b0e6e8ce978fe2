# %% [markdown]
# # Fair comparison
#
# *Ours reaches 0.83, theirs 0.81.* On six scans, with one seed? This notebook lets methods compete that are **equal by
# construction**, counts how often one of them "wins", and shows what it takes to say something true.
#
# **Goals.** Tell chance from difference; know why the plain bootstrap is too sure with few subjects; correct for many
# comparisons; ask beforehand how small a difference can be found at all.
#
# **Prerequisites.** What a mean and a standard deviation are. Notebook 07 gives the occasion.
#
# **Time.** Half an hour of reading and trying; less than a minute of computing. Nothing is trained.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # decides everything that is random
OUT = "runs/fair_comparison"  # where results.json and figures go

# %%
from pathlib import Path

import ipywidgets
import numpy as np

import voco_lite as vl
from voco_lite import benchmark, checks, viewers
from voco_lite.benchmark.simulation import SITUATIONS, Effects, found_rate, simulate

MANY = {"laptop": 2000, "ci": 100}[SIZE]  # simulated comparisons for each number
rng = np.random.default_rng(SEED)

# %% [markdown]
# ## 1 · Six subjects
# A score varies because subjects are easy or hard, because a method suits one subject more than another, and because every
# training has its luck. Here are two methods with the same true mean, three trainings each, six test subjects.

# %%
first, second = (scores[0] for scores in simulate(1, (6, 3, 1), Effects(), rng))
print(f"{'subject':10}{'first':>8}{'second':>8}{'difference':>12}")
for i, (one, other) in enumerate(zip(first.mean((1, 2)), second.mean((1, 2)), strict=True)):
    print(f"{i:<10}{0.8 + one:8.3f}{0.8 + other:8.3f}{one - other:+12.3f}")
print(f"{'mean':10}{0.8 + first.mean():8.3f}{0.8 + second.mean():8.3f}{(first - second).mean():+12.3f}")

# %% [markdown]
# **What you should see:** one mean is higher. Subjects differ far more from each other than the methods do on one subject:
# so compare *differences* on the same subjects, never two separate means.
#
# ### Exercise 1 · Write the paired t
# `differences` is a NumPy array with one number a subject. Return their mean in standard errors: the mean over (the standard
# deviation over the root of their number). The standard deviation of a sample divides by n - 1: `ddof=1`.


# %%
def my_t(differences):
    # solution
    return differences.mean() / (differences.std(ddof=1) / len(differences) ** 0.5)
    # end solution


checks.paired_t(my_t)

# %% [markdown]
# ## 2 · How often does somebody win by chance?
# Repeat that comparison many times. Both methods stay equal, so whoever is declared better is a **false winner**. At the
# usual 5 %, one comparison in twenty may have one. Three ways to decide:
#
# * *plain*: draw subjects and trainings again and again (the bootstrap), and look whether the middle 95 % of the means hold
#   0;
# * *student*: Student's t, with subjects **and** trainings as sources of chance;
# * *studentised*: the bootstrap of t itself, never narrower than Student's.

# %%
methods = ("plain", "student", "studentised")
false_winners = {method: [] for method in methods}
print(f"{'6 subjects, 3 trainings':30}" + "".join(f"{method:>13}" for method in methods))
for name, effects in SITUATIONS.items():
    for method in methods:
        false_winners[method].append(found_rate(MANY, (6, 3, 1), effects, SEED, method=method))
    print(f"{name:30}" + "".join(f"{false_winners[method][-1]:13.1%}" for method in methods))

# %%
worst = {method: max(rates) for method, rates in false_winners.items()}
checks.expect("false winners, plain", worst["plain"], between=(0.18, 0.32), applies=SIZE == "laptop")
checks.expect("false winners, studentised", worst["studentised"], between=(0.0, 0.065), applies=SIZE == "laptop")

# %% [markdown]
# **What you should see:** where trainings differ, the plain bootstrap crowns a false winner in up to a quarter of all
# comparisons: three trainings, drawn again, never show how different a fourth could be. The studentised one stays near or
# below 5 % everywhere, also where nothing is as the textbook assumes.
#
# ## 3 · What can be found at all?
# The curve says how often a true difference is declared. At 0 stands the rate of false winners, which has to be near 5 %;
# from there the curve should rise steeply. Each point is a hundred comparisons, so that it lies some per cent too high or too
# low. Sliders answer to the arrow keys, too.

# %%
subjects = ipywidgets.IntSlider(6, 5, 30, description="subjects", continuous_update=False)
trainings = ipywidgets.IntSlider(3, 3, 12, description="trainings", continuous_update=False)
effect = ipywidgets.FloatSlider(0.02, min=0, max=0.1, step=0.005, readout_format=".3f", description="difference")
situation = ipywidgets.Dropdown(options=list(SITUATIONS), description="situation")


def draw(_=None):
    shape, effects = (subjects.value, trainings.value, 1), SITUATIONS[situation.value]
    shares = [found_rate(100, shape, effects, SEED, d) for d in GRID]
    plain = [found_rate(100, shape, effects, SEED, d, "plain") for d in GRID]
    share = float(np.interp(effect.value, GRID, shares))
    curves = {"studentised": (GRID, shares), "plain, too sure": (GRID, plain)}
    curves["the difference of the slider"] = ([effect.value] * 2, [0.0, share])
    picture = viewers.plot_curves(curves, "true difference", "share declared different", {"5 %": 0.05})
    explorer.show(picture, f"A true difference of {effect.value:.3f} is found in {share:.0%} of such comparisons.")


# %% [markdown]
# **Try:** six subjects and three trainings; then 20 subjects and three trainings; then six subjects and ten trainings, in
# the situations *subjects decide* and *seeds decide*. What helps where?

# %%
GRID = [0.0, 0.01, 0.02, 0.04, 0.06, 0.1]
explorer = viewers.PictureBox([subjects, trainings, effect, situation])
for control in (subjects, trainings, effect, situation):
    control.observe(draw, names="value")
draw()
explorer

# %% [markdown]
# **What you should see:** where seeds decide, more subjects hardly help, and more trainings do; where subjects decide, it is
# the other way round. The plain curve is higher everywhere, at 0 as well: it finds more because it believes more.
#
# ## 4 · Many comparisons
# Five comparisons, each of two methods that are equal in truth: each has its 5 %. How often is there *any* false winner?

# %%
p_values = np.array([
    [benchmark.student(a - b).p_value for a, b in zip(*simulate(5, (8, 3, 1), Effects(), rng), strict=True)]
    for _ in range(MANY // 4)
])  # fmt: skip
any_winner = (p_values <= 0.05).any(1).mean()
any_corrected = np.mean([(benchmark.holm(row) <= 0.05).any() for row in p_values])
print(f"a false winner in a family of five: {any_winner:.0%}, corrected by Holm: {any_corrected:.0%}")
checks.expect("any false winner, uncorrected", any_winner, between=(0.12, 0.32), applies=SIZE == "laptop")
checks.expect("any false winner, corrected", any_corrected, between=(0.0, 0.12), applies=SIZE == "laptop")

# %% [markdown]
# ### Exercise 2 · Write Holm's correction
# `p` is a NumPy array of p-values. Sort them. Multiply the smallest by their number n, the next by n - 1, and so on. No value
# may end below one before it, and none above 1. Return them in the order that was given.


# %%
def my_holm(p):
    # solution
    order = p.argsort()
    corrected = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return corrected[order.argsort()]
    # end solution


checks.step_down(my_holm)

# %% [markdown]
# ## 5 · Three answers
# `benchmark.compare_all` says *better*, *worse* or **not decided**, and how small a difference it would have found. Here one
# method is better by 0.03 in truth, once with six subjects and three trainings, once with 16 and five.

# %%
rows = {}
for shape in ((6, 3, 1), (16, 5, 1)):
    better, baseline = (scores[0] for scores in simulate(1, shape, Effects(), np.random.default_rng(SEED), 0.03))
    table = [
        benchmark.Score(name, 5, int(p), int(f), f"subject {s}", "dice", 0.8 + float(values[s, p, f]))
        for name, values in (("new", better), ("baseline", baseline))
        for s, p, f in np.ndindex(shape)
    ]
    rows[shape] = benchmark.compare_all(table, [("new", "baseline")])[0]
    print(f"{shape[0]} subjects, {shape[1]} trainings: {rows[shape]}")

# %%
small, large = (found.detectable for found in rows.values())
checks.expect("detectable difference, few over many", small / large, between=(0.7, 8), applies=SEED == 0)
vl.notebooks.write_results(
    OUT,
    false_winners=worst,
    any_false_winner=any_winner,
    corrected=any_corrected,
    detectable={"few": small, "many": large},
)
explorer.picture.save(Path(OUT) / "power.png")

# %% [markdown]
# **What you should see:** a sentence each. *Not decided* does not mean *equal*: look at the last number. A true difference
# of that size is found in about four of five such comparisons, one a quarter smaller in about half. With three trainings
# the number itself is a rough estimate.
#
# ## Recap
# * Pair by subject, and train more than once: luck of the seed is a difference, too.
# * With few subjects or trainings the plain bootstrap finds winners among equals. Check any method on equals first.
# * Correct for all comparisons that you looked at.
# * Before you measure, ask which difference you could find. Six volumes decide nothing below that.
#
# **Next.** *fewer_labels* reads a benchmark that was decided this way. `python -m voco_lite benchmark --help` computes one of
# your own, and refuses a verdict where there are too few subjects or seeds.
