# %% [markdown]
# # Fewer labels
#
# Does pre-training pay when few scans are labelled? A benchmark answers with numbers *and* with how sure they are. This
# notebook shows the results that come with the package, and computes any of their runs anew.
#
# **Goals.** Read a protocol; see scores against the number of labels; tell a difference from a decided one; measure how
# fast a run learns; repeat a run of somebody's benchmark and compare.
#
# **Prerequisites.** Notebooks 05 and 07, and *fair_comparison*, which explains intervals and Holm's correction.
#
# **Time.** Fifteen minutes of reading; half a minute of computing.

# %% tags=["parameters"]
SIZE = "laptop"  # "laptop" or "ci": how much is computed
SEED = 0  # the pre-training seed of the run that is computed anew
RESULTS = "ci"  # results that come with the package, or the folder of a benchmark of yours
STAGE = "test"  # "validation" for a screening
DATA = ""  # folder of the scans, of protocols that are about such
CONDITION = "voco, ridge"  # the run that is computed anew: what is compared,
LABELLED = 1  # with how many labelled subjects,
FINETUNING_SEED = 0  # and with which labels
OUT = "runs/fewer_labels"  # where results.json, figures and runs go

# %%
from pathlib import Path

from IPython.display import Markdown

import voco_lite as vl
from voco_lite import checks, viewers
from voco_lite.benchmark.committed import find_results, list_results
from voco_lite.benchmark.planning import plan_cells
from voco_lite.benchmark.report import markdown, read_report
from voco_lite.benchmark.runners import open_runner

report = read_report(find_results(RESULTS), STAGE)
as_shipped = RESULTS == "ci"  # the bands below were measured for these results

# %% [markdown]
# ## What was decided before
# A *protocol* says who is compared with whom, on which subjects, how often and with which budget, before anybody has seen
# a score. Its hash is stored with the results. The test subjects are opened once, by one protocol.

# %%
protocol = report.protocol
print(f"{protocol.name}, hash {protocol.sha256[:12]}")
groups = {name: len(getattr(report.split, name)) for name in ("training", "validation", "test")}
print("subjects:", groups, " labelled:", protocol.counts(report.split))
print("seeds:", protocol.pretraining_seeds, "x", protocol.finetuning_seeds)
for condition in protocol.conditions:
    kind = "reference" if condition.reference else f"{condition.trials} trial(s)"
    print(f"  {condition.name:22} {condition.pretraining_steps:4} + {condition.finetuning_steps:4} steps, {kind}")
checks.expect("raw scores", len(report.scores), between=(396, 396), applies=as_shipped)

# %% [markdown]
# **What you should see:** nine conditions. *voco* is pre-trained (the first number of steps), *scratch* is not; both have
# equally many steps of fine-tuning (the second), and when one is tuned, the other is tuned with as many trials. *ridge*
# fits a linear map of frozen features in closed form, and needs none. *coordinates* looks at no image: it gives each voxel
# the class that labelled subjects have there. A method that does not beat it has not shown that it is of more use than
# knowing where organs lie.
#
# ## Scores against labels

# %%
viewers.plot_scores(report)

# %%
Markdown(markdown(report.means()))

# %%
few = protocol.counts(report.split)[0]
means = {c.name: sum(report.run_means(c.name, few)) / len(report.run_means(c.name, few)) for c in protocol.conditions}
best = (max if protocol.higher_is_better else min)(means, key=means.get)
print(f"best with {few} labelled: {best}")
checks.expect("Dice of voco, ridge", means.get("voco, ridge", 0), between=(0.32, 0.39), applies=as_shipped)
checks.expect("Dice of coordinates", means.get("coordinates", 0), between=(0.28, 0.33), applies=as_shipped)

# %% [markdown]
# **What you should see:** in the results named *ci*, thirty steps of fine-tuning are far too few for a decoder, so that
# every fine-tuned condition stays *below* the coordinates; *scratch, all labels* is no upper bound there, since more labels
# do not help who has not begun to learn. *voco, ridge*, which needs no steps, is above. These runs are small enough for a
# test of this package; they say how a benchmark works, and little about VoCo.
#
# ## Differences, and how sure they are
# Each line is one comparison, with its 95 % interval over subjects *and* seeds. Its colour is the verdict, which counts
# how many comparisons were made (Holm).

# %%
found = report.comparisons or report.screened()
why = (
    "Runs are missing."
    if report.missing
    else "Validation subjects decide nothing, and fewer than five have no intervals."
)
viewers.plot_differences(found, screening=STAGE == "validation") if found else why

# %%
Markdown(markdown(report.verdicts())) if report.comparisons else why

# %%
undecided = sum(found.verdict == "not decided" for found in report.comparisons)
checks.expect("comparisons that are not decided", undecided, between=(8, 8), applies=as_shipped)

# %% [markdown]
# **What you should see:** three pre-training seeds decide nothing here, although some differences look large. The column
# *found in 4 of 5 from* says why: a true difference must be about that large to be found in four of five such benchmarks,
# and some of these are larger than a Dice can be. *Hedges' g* is the difference in standard deviations.
#
# ## The full protocol
# *population* took hours: five pre-trainings by two fine-tunings each, twelve test subjects, one to 24 labelled ones. With
# all 24, *scratch* was meant as the supervised upper bound.

# %%
population = read_report(find_results("population"), "test")
viewers.plot_scores(population)

# %%
viewers.plot_differences(population.comparisons)

# %%
decided = [found for found in population.comparisons if found.verdict == "better"]
print(f"decided: {', '.join(f'{found.first}, {found.labelled}' for found in decided)}")
checks.expect("comparisons of population that are decided", len(decided), between=(3, 3))

# %% [markdown]
# **What you should see:** three green lines. A decoder on *frozen* pre-trained features beats one on random features, most
# clearly with many labels. Of networks that are fine-tuned whole nothing is decided, tuned or not. And look at the
# coordinates in the upper picture: with one labelled subject nobody beats them, and with all 24 they are above *scratch*,
# which is no upper bound after so few steps. How did the runs come to where they are?

# %%
viewers.plot_learning_curves(population)

# %% [markdown]
# **What you should see:** curves that rise late: with so few steps a decoder has just learnt to find organs. Thin lines lie
# far apart: runs of one recipe differ more than recipes do. The frozen pre-trained encoder is ahead early, because only its
# decoder has to learn.
#
# ## Where pre-training helps
# The other results that come with the package took longer than *ci*, too. *probes* asks what frozen features know: a ridge
# regression reads organs from them, voxel by voxel, so that no decoder has to learn.

# %%
probes = read_report(find_results("probes"), "test")
viewers.plot_scores(probes)

# %%
viewers.plot_differences(probes.comparisons)

# %%
decided = sum(found.verdict == "better" for found in probes.comparisons)
print(f"{decided} of {len(probes.comparisons)} comparisons are decided for pre-training")
checks.expect("comparisons of probes that are decided", decided, between=(10, 10))

# %% [markdown]
# **What you should see:** green lines only. From pre-trained features a ridge regression reads organs better than from
# random ones, most with one or two labelled subjects: there the gain is about 0.09 of Dice, and with 24 still 0.03. Five
# pre-training seeds and twelve subjects make the intervals narrow enough to say so. The other five lines compare with
# coordinates, which are beaten, too. All subjects are warps of *one* CT.
#
# ### A map of settings
# What of a pre-training matters? *screen-hippocampus* changes one thing at a time, on hippocampi of real scans, and looks
# at validation cases. Nothing here is corrected for how many lines there are: it is a map for choosing. What was
# chosen from it had to prove itself on test cases, by a protocol that was written before they were opened.

# %%
screened = read_report(find_results("screen-hippocampus"), "validation").screened()
viewers.plot_differences([c for c in screened if (c.metric, c.labelled) == ("dice", 5)], screening=True)

# %% [markdown]
# **What you should see:** the upper lines, of networks that were fine-tuned whole, lie at 0 or left of it: with five
# labelled cases and a hundred steps no gain is seen, but some intervals run off the picture, because single runs ended far
# below the others, and exclude nothing. The lower lines compare frozen features with those of random weights, and lie to
# the right. Two lie to the left: *frozen* against scratch, and *ridge* against coordinates.
#
# Brains of 19 people were asked, too (*screen-brain*), whose left and right structures have labels of their own:

# %%
brains = read_report(find_results("screen-brain"), "validation").screened()
viewers.plot_differences([c for c in brains if (c.metric, c.labelled) == ("dice", 4)], screening=True)

# %% [markdown]
# **What you should see:** wide intervals above, of networks that were fine-tuned whole or by a decoder, and narrow ones
# below. With four labelled people the features are clearly ahead only under group and instance norm: not because these
# pre-train better, but because their random weights are worse. Look at the means before you praise a norm. Against
# coordinates (the last line) nothing is clear.
#
# And other warps of the CT (*screen-population*), with the preset that these notebooks use, one labelled subject:

# %%
warps = read_report(find_results("screen-population"), "validation").screened()
viewers.plot_differences([c for c in warps if (c.metric, c.labelled) == ("dice", 1)], screening=True)

# %% [markdown]
# **What you should see:** flips take the whole gain away, and most other changes make less of a difference than seeds do. No
# setting has a higher mean than *voco*, the first line: the preset of these notebooks stayed as it was.
#
# ### What was confirmed
# Two settings were chosen from the map, and asked again: five pre-trainings by three fine-tunings each, on sixty test cases.

# %%
confirmed = read_report(find_results("confirm-hippocampus"), "test")
viewers.plot_differences(confirmed.comparisons)

# %%
Markdown(markdown(confirmed.verdicts()))

# %% [markdown]
# **What you should see:** frozen features gain: four of six lines are green, and the other two lie on the same side, with
# intervals that leave out 0 but not after the correction for eight comparisons. The two lines of networks that were
# fine-tuned whole are not decided: only differences of about 0.4 would have been found in four of
# five such benchmarks, because the fine-tuned networks of one recipe differ so much among themselves.
#
# Ask the coordinates too. No comparison with them was planned, but the means say enough:

# %%
Markdown(markdown(confirmed.means()))

# %% [markdown]
# **What you should see:** *ridge* stays below the coordinates (0.56 against 0.63 with one label, 0.67 against 0.68 with
# five): here these features, read by a linear map, are of no more use than the place alone. A decoder on the *frozen* encoder
# is above the coordinates, with five labels below *scratch*.
#
# This is everything that comes with the package. Screenings look at validation subjects, for choosing: they have no verdicts.

# %%
for name, stage in list_results():
    found = read_report(find_results(name), stage)
    decided = sum(comparison.verdict != "not decided" for comparison in found.comparisons)
    said = f"{decided} of {len(found.comparisons)} decided" if found.comparisons else "for choosing only"
    print(f"{name:20} {stage:11} {len(found.scores):6} scores, {said}")

# %% [markdown]
# ### Exercise 1 · How fast?
# A run is looked at now and then; between two looks its curve is a straight line. Return the step at which it *first*
# reaches the target. `steps` and `scores` are tensors; the first score is below the target. Scores may fall.


# %%
def my_steps_to_target(steps, scores, target):
    # solution
    at = int((scores >= target).nonzero()[0])
    share = (target - scores[at - 1]) / (scores[at] - scores[at - 1])
    return steps[at - 1] + share * (steps[at] - steps[at - 1])
    # end solution


checks.steps_to_target(my_steps_to_target)

# %% [markdown]
# ## Who learns faster?
# Even where both end alike, one may get there earlier. We ask for the steps until 90 % of the score at which the second
# condition ends, on validation subjects, run by run.

# %%
from voco_lite.benchmark.speeds import speed_rows

Markdown(markdown(speed_rows(report.speeds))) if report.speeds else "These conditions do not train."

# %%
viewers.plot_learning_curves(report) if report.looks else "The curves of these runs were not kept."

# %%
faster = sum((s.first_steps or 1e9) < (s.second_steps or 1e9) for s in report.speeds)
print(f"the first was faster in {faster} of {len(report.speeds)} pairs of runs")
checks.expect("pairs of runs", len(report.speeds), between=(12, 12), applies=as_shipped)

# %% [markdown]
# **What you should see:** two rows for each pair of conditions that trains. *Height* is the mean score along the curve,
# from the first look to the last: who learns early has more of it, though both end alike. A curve has two looks here, at 15
# and 30 steps, and one run from scratch ends at 0, of which everybody has 90 % at once. These twelve pairs share their
# seeds and two validation subjects, and three are the same runs twice, because tuning chose the settings that the untuned
# have: a tendency, and nothing that decides.
#
# ### Exercise 2 · What may be said?
# With one labelled subject, *voco, ridge* minus *random, ridge* is +0.115 (+0.033 to +0.198), p corrected for eight
# comparisons 0.17. What may be said?
#
# * **a** Voco is better: the interval leaves out 0.
# * **b** Both are equal.
# * **c** It is not decided.
# * **d** Voco is better on validation subjects; with more steps it would be on these.

# %%
my_answer = (
    # solution
    "c"
    # end solution
)

checks.what_the_table_says(my_answer)

# %% [markdown]
# ## Compute a run anew
# Nothing has to be believed. The parameters above choose a run: condition, number of labels, seeds. It is trained and
# scored here, and compared with the row of the table. Change them, and run the notebook again.

# %%
key = (CONDITION, LABELLED, SEED, FINETUNING_SEED)
cells = {
    (c.condition.name, len(c.labelled), c.pretraining_seed, c.finetuning_seed): c
    for c in plan_cells(protocol, report.split, STAGE)
}
if key not in cells:
    names = ", ".join(condition.name for condition in protocol.conditions)
    raise ValueError(
        f"CONDITION, LABELLED, SEED, FINETUNING_SEED must be a run of {RESULTS}, got {key}. It has {names}."
    )
runner = open_runner(protocol, Path(OUT) / "benchmark", DATA or None)
anew = runner(cells[key])[protocol.metric]

# %%
stored = {
    row.subject: row.score
    for row in report.scores
    if row.metric == protocol.metric and (row.condition, row.labelled, row.pretraining_seed, row.finetuning_seed) == key
}
for subject in anew:
    print(f"{subject:20} stored {stored[subject]:.3f}   anew {anew[subject]:.3f}")
apart = abs(sum(anew.values()) - sum(stored.values())) / len(anew)
checks.expect("mean Dice, anew against stored", apart, between=(0, 0.15), applies=as_shipped)

# %% [markdown]
# **What you should see:** the same subjects with nearly the same scores; on a machine like the one that computed them, the
# same digits. Another processor rounds otherwise, and a few hundred steps make much of little.
#
# The whole table is computed by one command, which goes on where it was stopped; another protocol is a text file:
#
# ```bash
# python -m voco_lite benchmark ci --stage test            # minutes
# python -m voco_lite benchmark population --stage test    # hours, with the real CT
# python -m voco_lite benchmark ci --stage test --report   # tables and plots again, from the scores
# ```

# %%
vl.notebooks.write_results(
    OUT,
    protocol=protocol.sha256,
    best_with_fewest_labels=best,
    comparisons=len(report.comparisons),
    not_decided=undecided,
    difference_of_a_run_computed_anew=apart,
)

# %% [markdown]
# ## Recap
# * A protocol fixes subjects, seeds, budgets and comparisons before a score is seen.
# * Equal budgets, as many trials for both, and simple baselines: a decoder that loses to coordinates has shown nothing.
# * An interval over subjects and seeds, corrected for the number of comparisons, may say *not decided*.
# * Raw scores are kept, so that every table can be made again, and any run repeated.
#
# **Next.** Write a protocol for your own scans (`voco_lite.benchmark.protocol` shows one, and `python -m voco_lite benchmark
# --help` how it is run), or look at how pre-training was judged elsewhere: *published_tasks*.
