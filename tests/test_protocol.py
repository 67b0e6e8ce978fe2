"""Protocols, and running them by runners that train nothing: cells, interruptions, and the one look at the test subjects."""

import json
import textwrap

import numpy as np
import pytest

from voco_lite import benchmark
from voco_lite.benchmark import Protocol, SplitSizes, read_protocol, run_benchmark
from voco_lite.benchmark import protocol as protocol_module
from voco_lite.benchmark.conditions import plan_conditions
from voco_lite.benchmark.planning import plan_cells
from voco_lite.benchmark.protocol import Condition
from voco_lite.benchmark.running import compare

SUBJECTS = [f"subject-{n:02}" for n in range(20)]
TOML = """
# what is compared
name = "made up"
metric = "dice"
labelled = [1, 2, "all"]
pretraining_seeds = [0, 1, 2]
finetuning_seeds = [0, 1]
comparisons = [["voco", "scratch"]]
[split]
validation = 4
test = 8
[[conditions]]
name = "scratch"
finetuning_steps = 300
[[conditions]]
name = "voco"
finetuning_steps = 300
pretraining_steps = 800
settings = { learning_rate = 1e-3 }
"""


@pytest.fixture
def protocol(tmp_path):
    return read(tmp_path, TOML)


def read(place, text):
    (place / "protocol.toml").write_text(text)
    return read_protocol(place / "protocol.toml")


def score(cell, gain=0.3):
    """What a run would find: noise, and a gain of the pre-trained condition."""
    seed = [len(cell.condition.name), len(cell.labelled), cell.pretraining_seed, cell.finetuning_seed]
    noise = np.random.default_rng(seed).normal(0.4, 0.02, len(cell.scored))
    values = noise + gain * (cell.condition.pretraining_steps > 0)
    return {"dice": dict(zip(cell.scored, values.tolist(), strict=True)), "hd95": dict.fromkeys(cell.scored, 5.0)}


class Recorder:
    """Runs cells, remembers them, and breaks down at the one that it is told to."""

    def __init__(self, breaks_at=None):
        self.cells, self.breaks_at = [], breaks_at

    def __call__(self, cell):
        if len(self.cells) == self.breaks_at:
            raise KeyboardInterrupt
        self.cells.append(cell)
        return score(cell)


# Protocols


def test_a_protocol_is_read(protocol):
    assert (protocol.name, protocol.labelled, protocol.split) == ("made up", (1, 2, "all"), SplitSizes(4, 8))
    assert protocol.conditions[1] == Condition("voco", 300, 800, settings={"learning_rate": 1e-3})


def test_comments_and_order_do_not_change_the_hash_but_numbers_do(tmp_path, protocol):
    moved = TOML.replace("# what is compared\n", "").replace(
        'name = "made up"\nmetric = "dice"', 'metric = "dice"\nname = "made up"'
    )
    assert read(tmp_path, moved).sha256 == protocol.sha256
    one, other = ("{ rate = 1, depth = 2 }", "{ depth = 2, rate = 1 }")
    texts = [TOML.replace("{ learning_rate = 1e-3 }", settings) for settings in (one, other)]
    assert read(tmp_path, texts[0]).sha256 == read(tmp_path, texts[1]).sha256
    assert read(tmp_path, TOML.replace("800", "801")).sha256 != protocol.sha256


def test_groups_share_no_subject_and_do_not_depend_on_the_order(protocol):
    split = protocol.assign(SUBJECTS)
    groups = [split.training, split.validation, split.test]
    assert [len(group) for group in groups] == [8, 4, 8] and len(set().union(*groups)) == 20
    assert protocol.assign(SUBJECTS[::-1]) == split


def test_labelled_subjects_are_nested_and_differ_between_seeds(protocol):
    split = protocol.assign(SUBJECTS)
    for seeds in ((0, 0), (1, 0), (0, 1)):
        few, many = set(split.labelled(2, *seeds)), set(split.labelled(5, *seeds))
        assert len(few) == 2 and few < many < set(split.training)
    assert len({split.labelled(5, p, f) for p in range(3) for f in range(2)}) > 1


def test_all_means_every_training_subject(protocol):
    assert protocol.counts(protocol.assign(SUBJECTS)) == [1, 2, 8]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metric =", "measure =", r"unknown entries \['measure'\] and lacks \['metric'\]"),
        ("[0, 1, 2]", "[0, 1]", "at least 3 pre-training seeds"),
        ("[0, 1, 2]", "[0, 0, 1]", "pretraining_seeds must be different"),
        ("[0, 1, 2]", "[0, 1, -2]", "Seeds must be 0 or more, got -2"),
        ("pretraining_steps = 800", "pretraining_steps = -8", "pretraining_steps must be 0 or more"),
        ("pretraining_steps = 800", "pretraining_steps = 800\ntrials = 0", "trials 1 or more"),
        ("[0, 1, 2]", "3", "pretraining_seeds must be a list"),
        ("[0, 1, 2]", '["a", "b", "c"]', "pretraining_seeds must be int"),
        ("test = 8", "test = 4", "5 test subjects"),
        ("validation = 4", "validation = 0", "1 that validates"),
        ('[1, 2, "all"]', '[0, "all"]', "labelled must be 1 or more"),
        ('[1, 2, "all"]', '["most"]', "labelled must be int"),
        ('[["voco", "scratch"]]', '[["voco", "mae"]]', "comparisons must be pairs"),
        ('[["voco", "scratch"]]', '[["voco", "voco"]]', "comparisons must be pairs"),
        ('[["voco", "scratch"]]', "[]", "comparisons must name a pair"),
        ('name = "scratch"', 'name = "voco"', "names of their own"),
        ("finetuning_steps = 300\npre", "finetuning_steps = 600\npre", "finetuning_steps must be the same"),
        ("pretraining_steps = 800", "pretraining_steps = 800\ntrials = 5", "as many trials .* got 5 and 1"),
        ("pretraining_steps = 800", "pretrainings_steps = 800", "unknown fields"),
        ("name", "name name", "must be a protocol"),
    ],
)  # fmt: skip
def test_a_protocol_that_decides_nothing_or_is_unfair_is_refused(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, TOML.replace(old, new, 1))


def test_pretrained_conditions_have_one_budget(tmp_path):
    other = '[[conditions]]\nname = "mae"\nfinetuning_steps = 300\npretraining_steps = 400\n'
    with pytest.raises(ValueError, match="pretraining_steps must be the same"):
        read(tmp_path, TOML + other)


def test_a_tuned_scratch_and_references_make_it_fair(tmp_path):
    tuned = '[[conditions]]\nname = "scratch, tuned"\nfinetuning_steps = 300\ntrials = 5\n'
    bound = '[[conditions]]\nname = "coordinates"\nfinetuning_steps = 1\nreference = true\n'
    text = TOML.replace("pretraining_steps = 800", "pretraining_steps = 800\ntrials = 5") + tuned + bound
    assert len(read(tmp_path, text.replace('["voco", "scratch"]', '["voco", "scratch, tuned"]')).conditions) == 4
    with pytest.raises(ValueError, match="as many trials"):
        read(tmp_path, text)


def test_too_few_subjects_are_refused(protocol):
    with pytest.raises(ValueError, match="at least 14 different subjects, got 13"):
        protocol.assign(SUBJECTS[:13])


def test_the_example_of_the_documentation_is_a_protocol_that_can_be_run(tmp_path):
    example = textwrap.dedent(protocol_module.__doc__.split("\n\n")[1])
    material, plans = plan_conditions(read(tmp_path, example))
    assert set(plans) == {"voco", "scratch"} and material.source == "msd"


def test_a_protocol_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no protocol .*none\.toml"):
        read_protocol(tmp_path / "none.toml")


# Running


def test_every_cell_is_run_once_on_the_right_subjects(protocol, tmp_path):
    runner, split = Recorder(), protocol.assign(SUBJECTS)
    result = run_benchmark(protocol, SUBJECTS, runner, tmp_path / "run")
    assert len(runner.cells) == 3 * 2 * 3 * 2 and len({cell.file_name for cell in runner.cells}) == 36
    assert all(cell.scored == split.validation and cell.unlabelled == split.training for cell in runner.cells)
    assert len(result.scores) == 36 * 4 * 2 and result.not_run == []


def test_processes_that_share_a_folder_do_each_cell_once(protocol, tmp_path):
    runners = [Recorder(), Recorder()]
    for number, runner in enumerate(runners, start=1):
        shared = run_benchmark(protocol, SUBJECTS, runner, tmp_path / "shared", stage="test", part=(number, 2))
    seeds = [{cell.pretraining_seed for cell in runner.cells} for runner in runners]
    assert seeds[0].isdisjoint(seeds[1]) and sum(len(runner.cells) for runner in runners) == 36
    assert shared == run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "whole", stage="test")


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (1, 4)])
def test_a_part_without_a_seed_of_its_own_is_refused(protocol, tmp_path, part):
    with pytest.raises(ValueError, match="A part must be one of at most"):
        run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "run", part=part)


def test_all_conditions_of_a_run_get_the_same_labels(protocol):
    cells = plan_cells(protocol, protocol.assign(SUBJECTS), "test")
    by_run = {}
    for cell in cells:
        by_run.setdefault((cell.pretraining_seed, cell.finetuning_seed, len(cell.labelled)), set()).add(cell.labelled)
    assert all(len(labels) == 1 for labels in by_run.values())


def test_an_interrupted_benchmark_continues_and_ends_the_same(protocol, tmp_path):
    first, second = Recorder(breaks_at=10), Recorder()
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(protocol, SUBJECTS, first, tmp_path / "broken", stage="test")
    result = run_benchmark(protocol, SUBJECTS, second, tmp_path / "broken", stage="test")
    whole = run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "whole", stage="test")
    assert (len(first.cells), len(second.cells)) == (10, 26) and result == whole
    names = ("scores.csv", "comparisons.csv")
    assert all((tmp_path / "broken/test" / n).read_text() == (tmp_path / "whole/test" / n).read_text() for n in names)


def test_a_finished_benchmark_runs_nothing_again(protocol, tmp_path):
    again = Recorder()
    first = run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "run", stage="test")
    assert run_benchmark(protocol, SUBJECTS, again, tmp_path / "run", stage="test") == first and again.cells == []


def test_without_time_left_cells_are_reported_as_not_run(protocol, tmp_path):
    result = run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "run", stage="test", seconds=-1)
    assert len(result.not_run) == 36 and result.scores == result.comparisons == []
    assert not (tmp_path / "run/test/comparisons.csv").exists()


def test_the_verdicts_are_those_of_the_raw_scores(protocol, tmp_path):
    result = run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "run", stage="test")
    assert [(c.labelled, c.verdict) for c in result.comparisons] == [(1, "better"), (2, "better"), (8, "better")]
    rows = benchmark.read_scores(tmp_path / "run/test/scores.csv")
    assert compare(protocol, rows) == result.comparisons


def test_validation_subjects_decide_nothing(protocol, tmp_path):
    assert run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "run").comparisons == []
    assert not (tmp_path / "run/test_opened.json").exists()


def test_opening_the_test_subjects_is_recorded_once(protocol, tmp_path):
    run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "run", stage="test")
    first = (tmp_path / "run/test_opened.json").read_text()
    run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "run", stage="test")
    assert (tmp_path / "run/test_opened.json").read_text() == first
    assert json.loads(first)["sha256"] == protocol.sha256


def test_the_test_subjects_are_not_opened_by_a_second_protocol(protocol, tmp_path):
    run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "run", stage="test")
    changed = read(tmp_path, TOML.replace("made up", "another"))
    (tmp_path / "run/protocol.json").unlink()
    with pytest.raises(ValueError, match="opened by one protocol, got 'another' after 'made up'"):
        run_benchmark(changed, SUBJECTS, Recorder(), tmp_path / "run", stage="test")


@pytest.mark.parametrize(("text", "subjects", "what"), [("801", 20, "protocol"), ("800", 19, "subjects")])
def test_a_folder_of_another_protocol_or_other_subjects_is_refused(protocol, tmp_path, text, subjects, what):
    run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "run", seconds=-1)
    changed = read(tmp_path, TOML.replace("800", text))
    with pytest.raises(ValueError, match=f"got other {what}"):
        run_benchmark(changed, SUBJECTS[:subjects], Recorder(), tmp_path / "run")


def test_a_runner_that_leaves_out_a_subject_is_refused_and_writes_nothing(protocol, tmp_path):
    with pytest.raises(ValueError, match=r"must score each subject by dice, got \['subject-"):
        run_benchmark(protocol, SUBJECTS, lambda cell: {"dice": {}}, tmp_path / "run")
    assert list((tmp_path / "run").rglob("*.csv")) == []


def test_conditions_that_share_a_file_name_are_refused(tmp_path):
    protocol = read(tmp_path, TOML.replace('name = "scratch"', 'name = "voco!"').replace('"scratch"', '"voco!"'))
    assert isinstance(protocol, Protocol)
    with pytest.raises(ValueError, match="must differ in letters or digits"):
        run_benchmark(protocol, SUBJECTS, Recorder(), tmp_path / "run")
