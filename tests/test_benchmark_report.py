"""The benchmark's report, its pictures and its command, on runs that train nothing."""

import io
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from tiny_benchmark import SUBJECTS, curve, fake_fits, noisy, table, tiny
from voco_lite import viewers
from voco_lite.benchmark import runners
from voco_lite.benchmark.committed import find_results, list_results
from voco_lite.benchmark.planning import fit_folder, plan_cells
from voco_lite.benchmark.protocol import find_protocol
from voco_lite.benchmark.report import read_report, write_report
from voco_lite.benchmark.running import run_benchmark
from voco_lite.benchmark.speeds import Speed, speed_rows
from voco_lite.benchmark.statistics import compare_all
from voco_lite.cli import Benchmark, main
from voco_lite.viewers import benchmarks

NOTEBOOKS = Path(__file__).parents[1] / "notebooks" / "_source"

# The report


def test_a_report_is_rebuilt_from_the_raw_scores(tmp_path):
    protocol = tiny()
    result = run_benchmark(protocol, SUBJECTS, noisy, tmp_path, stage="test")
    fake_fits(tmp_path, protocol)
    written = write_report(tmp_path, "test")
    for name in ("cells", "comparisons.csv", "report.md"):
        remove(tmp_path / "test" / name)
    assert read_report(tmp_path, "test") == written
    assert written.comparisons == result.comparisons and written.missing == 0
    assert [row["verdict"] for row in written.verdicts()] == [found.verdict for found in result.comparisons]


def remove(path):
    for inner in path.iterdir() if path.is_dir() else ():
        inner.unlink()
    path.rmdir() if path.is_dir() else path.unlink()


def test_steps_until_nine_tenths_of_scratch_are_those_of_straight_lines(tmp_path):
    protocol = tiny()
    run_benchmark(protocol, SUBJECTS, noisy, tmp_path)
    fake_fits(tmp_path, protocol)
    report = write_report(tmp_path, "validation")
    assert len(report.speeds) == 3
    # 0.45 lies 4/5 of the way from step 10 to 20, and 3/5 of that from 30 to 40.
    assert {(speed.first_steps, speed.second_steps) for speed in report.speeds} == {(18.0, 36.0)}
    assert report.speeds[0].second_height == pytest.approx((0.125 + 0.3125 + 0.4375) / 3)
    assert "36" in str(report)


def test_runs_that_were_looked_at_once_are_reported_without_curves(tmp_path):
    protocol = tiny()
    run_benchmark(protocol, SUBJECTS, noisy, tmp_path)
    for cell in plan_cells(protocol, protocol.assign(SUBJECTS), "validation"):
        curve(fit_folder(tmp_path, cell, 0), (0.5,))
    report = write_report(tmp_path, "validation")
    assert report.speeds == [] and report.looks == [] and "90 %" not in str(report)
    with pytest.raises(ValueError, match="must hold curves"):
        viewers.plot_learning_curves(report)


def test_curves_are_kept_and_drawn_for_each_number_of_labels(tmp_path):
    protocol = tiny()
    run_benchmark(protocol, SUBJECTS, noisy, tmp_path)
    fake_fits(tmp_path, protocol)
    report = write_report(tmp_path, "validation")
    assert len(report.looks) == 2 * 3 * 4 and report.looks == read_report(tmp_path, "validation").looks
    alt = viewers.plot_learning_curves(report).alt
    assert "voco, 1 labelled, 0.25 to 0.50" in alt and "scratch, 1 labelled, 0.00 to 0.50" in alt


def test_the_interval_of_heights_is_students_over_pre_training_seeds():
    gains = [0.1, 0.2, 0.3]
    runs = [Speed("a", "b", 1, seed, f, 9.0, 10.0, gain, 0.0) for seed, gain in enumerate(gains) for f in (0, 1)]
    half = stats.t.isf(0.025, 2) * np.std(gains, ddof=1) / np.sqrt(3)
    assert speed_rows(runs)[0]["difference of heights (95 %)"] == f"+0.200 ({0.2 - half:+.3f} to {0.2 + half:+.3f})"
    assert speed_rows(runs[:4])[0]["difference of heights (95 %)"] == "+0.150"


def test_curves_of_runs_that_have_not_ended_are_left_out(tmp_path):
    protocol = tiny()
    run_benchmark(protocol, SUBJECTS, noisy, tmp_path)
    fake_fits(tmp_path, protocol)
    [ended, *_] = sorted(tmp_path.glob("fits/**/final.pt"))
    ended.unlink()
    report = write_report(tmp_path, "validation")
    assert len(report.looks) == (2 * 3 - 1) * 4 and len(report.speeds) == 2


def test_a_damaged_table_of_curves_is_named(tmp_path):
    protocol = tiny()
    run_benchmark(protocol, SUBJECTS, noisy, tmp_path)
    fake_fits(tmp_path, protocol)
    write_report(tmp_path, "validation")
    file = tmp_path / "validation" / "curves.csv"
    file.write_text(file.read_text().replace(",10,", ",ten,", 1))
    with pytest.raises(ValueError, match=r"curves\.csv, line \d+ must be condition, .*, step, score, got .*ten"):
        read_report(tmp_path, "validation")


def test_a_run_that_never_arrives_counts_as_later_than_all():
    runs = [Speed("a", "b", 1, seed, 0, steps, 10.0, 0.1, 0.1) for seed, steps in enumerate((None, 20.0, None))]
    assert speed_rows(runs)[0]["steps of first"] == "never" and speed_rows(runs)[0]["steps of second"] == "10"
    assert speed_rows(runs[:2])[0]["steps of first"] == "never" and speed_rows(runs[1:2])[0]["steps of first"] == "20"


def test_an_unfinished_benchmark_is_reported_without_verdicts(tmp_path):
    run_benchmark(tiny(), SUBJECTS, noisy, tmp_path, stage="test", seconds=-1)
    report = write_report(tmp_path, "test")
    assert report.missing == 6 and report.comparisons == []
    assert "6 runs have not been done" in str(report)


def test_validation_scores_come_without_verdicts(tmp_path):
    run_benchmark(tiny(), SUBJECTS, noisy, tmp_path)
    report = write_report(tmp_path, "validation")
    assert report.comparisons == [] and "decide nothing" in str(report)


def test_five_validation_subjects_show_differences_by_every_shared_metric(tmp_path):
    protocol = replace(tiny(split={"validation": 5, "test": 5}, subjects=13), labelled=(1, 2))
    names = [f"subject {n}" for n in range(13)]

    def also_regions(cell):
        scores = noisy(cell)
        return {**scores, "regions": {name: 1 - score for name, score in scores["dice"].items()}}

    run_benchmark(protocol, names, also_regions, tmp_path)
    report = write_report(tmp_path, "validation")
    assert report.comparisons == [] and "better" not in str(report)
    dice, more_dice, regions = report.screened()
    assert [(c.metric, c.labelled) for c in (dice, more_dice, regions)] == [("dice", 1), ("dice", 2), ("regions", 1)]
    # By the fake runs, pre-training is worth 0.3 of the one and costs 0.3 of the other.
    assert dice.difference == pytest.approx(0.3, abs=0.02) and regions.difference == pytest.approx(-dice.difference)
    assert f"{dice.difference:+.3f} ({dice.low:+.3f} to {dice.high:+.3f})" in str(report)
    picture = viewers.plot_differences(report.screened(), screening=True)
    assert f"regions, 1 labelled: {regions.difference:+.3f}" in picture.alt and "better" not in picture.alt


def test_the_legend_of_a_screening_stands_beside_its_curves(monkeypatch):
    drawn = []
    monkeypatch.setattr(benchmarks, "figure_picture", lambda figure, alt: drawn.append(figure))
    for name, stage in (("ci", "test"), ("screen-hippocampus", "validation")):
        viewers.plot_scores(read_report(find_results(name), stage))
    for figure, beside in zip(drawn, (False, True), strict=True):
        figure.canvas.draw()
        [axes] = figure.axes
        legend, curves = axes.get_legend().get_window_extent(), axes.get_window_extent()
        assert (legend.x0 > curves.x1) == beside
        assert legend.y0 >= 0 and legend.y1 <= figure.bbox.y1 and legend.x1 <= figure.bbox.x1


def ink(picture):
    """Dark pixels of a picture."""
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("L"))
    return int((pixels < 128).sum())


def test_an_interval_without_end_runs_off_the_picture_and_leaves_the_others_readable():
    found = read_report(find_results("ci"), "test").comparisons
    endless = replace(found[0], low=-math.inf, high=math.inf)
    # Its middle is the same, so that only the line can tell its picture from one without an interval.
    names = ("endless", "point")
    drawn = dict(
        zip(names, (endless, replace(found[0], low=found[0].difference, high=found[0].difference)), strict=True)
    )
    inks = {name: ink(viewers.plot_differences([one] * 3)) for name, one in drawn.items()}
    assert inks["endless"] > inks["point"] + 500
    assert viewers.plot_differences([endless]).png[:4] == b"\x89PNG"
    low, high = benchmarks._span([endless, *found[1:]])
    assert -1 < low < 0 < high < 1


def test_too_few_validation_subjects_show_no_differences(tmp_path):
    run_benchmark(tiny(), SUBJECTS, noisy, tmp_path)
    assert write_report(tmp_path, "validation").screened() == []


def test_a_record_that_was_changed_is_refused(tmp_path):
    run_benchmark(tiny(), SUBJECTS, noisy, tmp_path)
    file = tmp_path / "protocol.json"
    file.write_text(file.read_text().replace('"finetuning_steps": 2', '"finetuning_steps": 3'))
    with pytest.raises(ValueError, match="was changed after the benchmark began"):
        read_report(tmp_path, "validation")


def test_collected_scores_without_those_of_their_cells_are_not_overwritten(tmp_path):
    place = shutil.copytree(find_results("ci"), tmp_path / "ci")
    before = (place / "test" / "scores.csv").read_bytes()
    with pytest.raises(ValueError, match="got only the collected"):
        write_report(place, "test")
    assert (place / "test" / "scores.csv").read_bytes() == before


def test_all_results_of_the_package_can_be_read_and_name_no_machine():
    found = list_results()
    assert {("ci", "test"), ("probes", "test")} <= set(found)
    for name, stage in found:
        report = read_report(find_results(name), stage)
        assert report.missing == 0 and report.scores
        assert bool(report.comparisons) == (stage == "test")
        assert not any("/" in row.subject for row in report.scores)


def test_the_table_of_the_readme_is_that_of_the_committed_scores():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in readme.splitlines() if line.startswith("|")]
    names = [name for name, stage in list_results() if stage == "test"]
    rows = [row for row in rows if row[0] in names and len(row) == 7]
    verdicts = {}
    for name in names:
        for found in read_report(find_results(name), "test").verdicts():
            columns = ("difference (95 %)", "p, Holm", "verdict")
            verdicts[name, found["labelled"], found["first"], found["second"]] = [found[key] for key in columns]
    assert {row[0] for row in rows} == set(names)
    for row in rows:
        assert row[4:] == verdicts[tuple(row[:4])], row


def test_what_the_readme_says_in_short_holds_for_all_committed_verdicts():
    readme = " ".join((Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split())
    named = [name for name, stage in list_results() if stage == "test" and name != "ci"]
    found = [one for name in named for one in read_report(find_results(name), "test").comparisons]
    frozen = [one.difference for one in found if one.second.startswith("random") and one.verdict != "not decided"]
    assert f"adds {min(frozen):.2f} to {max(frozen):.2f} of Dice over random weights wherever" in readme
    assert {one.verdict for one in found if one.second.startswith("scratch")} == {"not decided"}


def test_the_sentences_of_the_readme_on_the_map_are_those_of_the_committed_scores():
    readme = " ".join((Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split())
    report = read_report(find_results("screen-hippocampus"), "validation")
    screened = report.screened()
    frozen = [c for c in screened if c.first.startswith("ridge") and c.second.startswith("random")]
    gains = [c for c in frozen if (c.metric, c.labelled) == ("dice", 5)]
    regions = [c for c in frozen if c.metric == "regions"]
    assert (len(gains), sum(c.low > 0 for c in gains)) == (10, 7) and "seven of ten intervals above 0" in readme
    least, most = (end(c.difference for c in gains) for end in (min, max))
    assert f"gain {least:.2f} to {most:.2f} of Dice" in readme
    assert sum(c.low > 0 for c in frozen if (c.metric, c.labelled) == ("dice", 1)) == 2
    assert "(with one labelled case two of ten)" in readme
    assert sum(c.difference < 0 for c in regions) == 9 and "*lose* in nine of ten settings" in readme
    assert sum(c.high < 0 for c in regions) == 5 and "in five of them with the whole interval" in readme
    [best] = [c for c in regions if c.difference > 0]
    assert best.first == max(gains, key=lambda c: c.difference).first == "ridge, objective of 2024"
    assert f"({best.difference:+.3f}, {best.low:+.3f} to {best.high:+.3f})" in readme
    [place] = {c.mean_second for c in screened if c.second == "coordinates" and c.labelled == 5}
    assert f"what coordinates alone reach ({place:.2f})" in readme
    assert f"{len(report.split.training)} cases to pre-train on" in readme
    [moved] = [
        c
        for c in read_report(find_results("screen-transfer"), "validation").screened()
        if (c.first, c.second, c.metric, c.labelled) == ("ridge, from CT", "random, ridge", "dice", 5)
    ]
    assert f"{moved.difference:+.3f} ({moved.low:+.3f} to {moved.high:+.3f})" in readme


def gains(report, metric, labelled):
    """Differences of frozen features from those of random weights, by ridge regression."""
    asked = [c for c in report.screened() if (c.metric, c.labelled) == (metric, labelled)]
    return {c.first: c for c in asked if c.second.startswith("random") and c.first != "frozen"}


def test_the_sentences_of_the_readme_on_the_map_of_brains_are_those_of_the_committed_scores():
    readme = " ".join((Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split())
    report = read_report(find_results("screen-brain"), "validation")
    one, four = (gains(report, "dice", labelled) for labelled in (1, 4))
    spans = [[f"{end(c.difference for c in found.values()):.2f}" for end in (min, max)] for found in (one, four)]
    above = [sorted(name for name, c in found.items() if c.low > 0) for found in (one, four)]
    assert f"gains {' to '.join(spans[0])} of Dice with one labelled person" in readme
    assert f"and {' to '.join(spans[1])} with four, two of eight" in readme and len(one) == len(four) == 8
    assert len(above[0]) == 6 and above[1] == ["ridge, group norm", "ridge, instance norm"]
    ends = [f"{end(c.mean_first for c in four.values()):.2f}" for end in (min, max)]
    [place] = [c.mean_second for c in report.screened() if c.second == "coordinates" and c.labelled == 4]
    assert f"({' to '.join(ends)}; coordinates {place:.2f})" in readme
    flips = one["ridge, flips"].mean_first, one["ridge"].mean_first
    assert f"({flips[0]:.3f} against {flips[1]:.3f} without them" in readme
    whole = [c for c in report.screened() if c.second == "scratch"]
    assert not any(c.low > 0 for c in whole)
    means = [m for c in whole for m in (c.mean_first, c.mean_second)]
    assert f"far below ({min(means):.2f} to {max(means):.2f})" in readme


def test_the_sentences_of_the_readme_on_the_map_of_made_subjects_are_those_of_the_committed_scores():
    readme = " ".join((Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split())
    found = gains(read_report(find_results("screen-population"), "validation"), "dice", 1)
    assert len(found) == 9 and "of nine settings none is above the laptop's" in readme
    assert max(found, key=lambda name: found[name].mean_first) == "voco"

    def told(name):
        return f"{found[name].difference:+.3f}, {found[name].low:+.3f} to {found[name].high:+.3f}"

    assert f"({told('flips')}, where without them it is {told('voco')})" in readme
    assert f"nearly so ({found['grid 3x3x3'].difference:+.3f})" in readme
    report = read_report(find_results("screen-population"), "validation")
    scores = [row for row in report.scores if row.metric == "dice"]
    unseen = [("voco", name) for name in ("2 random crops", "8 random crops", "the body only", "grid 4x4x1")]
    assert all(c.low < 0 < c.high for c in compare_all(scores, [*unseen, ("voco", "objective of 2024")]))


def test_the_sentences_of_the_readme_on_what_was_confirmed_are_those_of_the_committed_scores():
    readme = " ".join((Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split())
    report = read_report(find_results("confirm-hippocampus"), "test")

    def mean(condition, labelled):
        return f"{np.mean(report.run_means(condition, labelled)):.3f}"

    ridge, place = ([mean(name, n) for n in (1, 5)] for name in ("objective of 2024, ridge", "coordinates"))
    told = f"({ridge[0]} against {place[0]} with one label, {ridge[1]} against {place[1]} with five)"
    assert told in readme and ridge[0] < place[0] and ridge[1] < place[1]
    assert f"({mean('objective of 2024, frozen', 5)} against {mean('scratch', 5)})" in readme


def test_the_sentences_of_the_readme_on_the_full_protocol_are_those_of_the_committed_scores():
    readme = " ".join((Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split())
    report = read_report(find_results("population"), "test")
    frozen = [found for found in report.comparisons if found.first == "voco, frozen"]
    least, most = (end(found.difference for found in frozen) for end in (min, max))
    assert f"{least:.2f} to {most:.2f} over one on random features" in readme
    assert [found.labelled for found in frozen if found.verdict == "better"] == [5, 10, 24]
    assert {found.verdict for found in report.comparisons if found.first != "voco, frozen"} == {"not decided"}
    steps = [int(row["steps of first"]) for row in speed_rows(report.speeds) if row["first"] == "voco, frozen"]
    assert f"in {min(steps)} to {max(steps)} steps" in readme

    def mean(condition, labelled):
        return f"{np.mean(report.run_means(condition, labelled)):.2f}"

    place, pretrained, scratch = ([mean(name, n) for n in (1, 24)] for name in ("coordinates", "voco", "scratch"))
    assert f"({place[0]} with one label, {place[1]} with 24" in readme
    assert f"pre-trained {pretrained[0]} and {pretrained[1]}, scratch {scratch[0]} and {scratch[1]})" in readme


def test_the_sentence_of_the_readme_on_registration_is_that_of_the_committed_scores():
    readme = " ".join((Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split())
    report = read_report(find_results("registration"), "test")
    mm = {c.name: f"{np.mean(report.run_means(c.name, 8)):.1f} mm" for c in report.protocol.conditions}
    assert (
        f"from {mm['identity']} apart to {mm['voco']} by a pre-trained start and to {mm['scratch']} by a fresh"
        in readme
    )
    assert f"to {mm['affine']} by an affine map" in readme
    notebook = " ".join((NOTEBOOKS / "09_register.py").read_text(encoding="utf-8").replace("\n# ", " ").split())
    gain = report.comparisons[0]
    assert f"scratch is {gain.difference:.2f} mm ({gain.low:.2f} to {gain.high:.2f}), {gain.verdict}" in notebook
    folded = [row.score for row in report.scores if row.metric == "folded share"]
    assert len(folded) == len(report.scores) / 3 and not any(folded)
    # Curves are Dice in every task, whatever a protocol scores by.
    assert "mm" not in viewers.plot_learning_curves(report).alt


def test_the_help_names_every_protocol_of_the_package():
    assert all(f'"{file.stem}"' in Benchmark.__doc__ for file in find_protocol("ci").parent.glob("*.toml"))


def test_a_folder_without_a_benchmark_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="Give the folder of a benchmark"):
        read_report(tmp_path, "test")


# The command


class FakeRunner:
    """Stands in for what trains."""

    subjects = dict.fromkeys(SUBJECTS)

    def __init__(self, protocol, folder, data=None):
        self.split: SubjectSplit = protocol.assign(SUBJECTS)

    def __call__(self, cell):
        return noisy(cell)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `benchmark` on a file with the tiny protocol."""
    monkeypatch.setattr(runners, "open_runner", FakeRunner)
    file = tmp_path / "tiny.toml"
    file.write_text(toml(table()))
    return lambda *more: main(["benchmark", str(file), "--folder", str(tmp_path / "run"), *more])


def toml(content):
    """A protocol as TOML, whose inline tables are near to JSON."""
    lines = [f"{name} = {inline(value)}" for name, value in content.items()]
    return "\n".join(lines) + "\n"


def inline(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {inline(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return json.dumps(value)


def test_the_command_runs_and_reports_and_reports_again(command, tmp_path, capsys):
    assert command("--stage", "test") == 0, capsys.readouterr().err
    first = capsys.readouterr().out
    assert "| voco | scratch |" in first and (tmp_path / "run/test/comparisons.csv").is_file()
    assert command("--stage", "test", "--report") == 0
    assert capsys.readouterr().out == first


def test_a_report_of_the_other_subjects_names_the_stage_and_writes_nothing(command, tmp_path, capsys):
    assert command("--stage", "test") == 0 and capsys.readouterr()
    assert command("--report") == 2 and "Add --stage test" in capsys.readouterr().err
    assert not (tmp_path / "run/validation").exists()


def test_the_command_opens_the_test_subjects_only_when_told(command, tmp_path, capsys):
    assert command() == 0, capsys.readouterr().err
    assert not (tmp_path / "run/test_opened.json").exists() and "decide nothing" in capsys.readouterr().out


def test_the_command_stops_in_time_and_goes_on(command, tmp_path, capsys):
    assert command("--minutes", "-1") == 0 and "6 runs have not been done" in capsys.readouterr().out
    assert command() == 0 and "have not been done" not in capsys.readouterr().out


def test_the_command_names_a_protocol_that_is_not_there(capsys):
    assert main(["benchmark", "nothing.toml"]) == 2
    assert "There is no protocol nothing.toml" in capsys.readouterr().err


# The pictures


@pytest.fixture
def report(tmp_path):
    run_benchmark(tiny(), SUBJECTS, noisy, tmp_path, stage="test")
    return read_report(tmp_path, "test")


def test_scores_are_drawn_and_told_in_words(report):
    picture = viewers.plot_scores(report)
    assert picture.png.startswith(b"\x89PNG") and "voco 0.7" in picture.alt and "scratch 0.4" in picture.alt


def test_differences_are_drawn_and_told_with_their_verdicts(report):
    picture = viewers.plot_differences(report.comparisons)
    assert picture.png.startswith(b"\x89PNG") and "voco against scratch, dice, 1 labelled: better" in picture.alt


def test_half_a_benchmark_is_drawn_without_what_is_missing(tmp_path):
    run_benchmark(tiny(), SUBJECTS, noisy, tmp_path)
    for file in (tmp_path / "validation/cells").glob("scratch*"):
        file.unlink()
    report = write_report(tmp_path, "validation")
    assert "scratch" not in viewers.plot_scores(report).alt and report.missing == 3


def test_a_report_of_nothing_is_refused(tmp_path):
    run_benchmark(tiny(), SUBJECTS, noisy, tmp_path, stage="test", seconds=-1)
    with pytest.raises(ValueError, match="must hold scores"):
        viewers.plot_scores(read_report(tmp_path, "test"))
    with pytest.raises(ValueError, match="at least one"):
        viewers.plot_differences([])
