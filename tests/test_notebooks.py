"""Notebooks: built from their sources, short of breath, run offline from top to bottom, with checked parameters."""

import ast
import json
import os
import re
import textwrap
from functools import cache
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient.exceptions import DeadKernelError

from voco_lite import notebooks
from voco_lite.notebooks.build import SOLUTIONS, folder, notebook_text
from voco_lite.notebooks.run import checked_parameters, notebook_path
from widget_cells import MAKERS, calls

NAMES = notebooks.names()
INTERACTIVE = MAKERS | {"webgl_report"}
VERSIONS = [(name, solution) for name in NAMES for solution in (False, True)]
IDS = [f"{name}-{'solution' if solution else 'student'}" for name, solution in VERSIONS]


def source(name):
    return (folder() / "_source" / f"{name}.py").read_text(encoding="utf-8")


@cache
def built(name, solution=False):
    return nbformat.reads(notebook_text(folder() / "_source" / f"{name}.py", solution), as_version=4)


def cells(name, kind, solution=False):
    return [cell for cell in built(name, solution).cells if cell.cell_type == kind]


def written(tmp_path, text):
    """A notebook's source with these cells."""
    path = tmp_path / "07_made_here.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def made_notebook(tmp_path, *code):
    """A built notebook with parameters and these code cells."""
    start = '# %% tags=["parameters"]\nSIZE = "laptop"  # "laptop" or "ci"\nSTEPS = 5\nRATE = 0.5\nOUT = "runs/x"\n'
    path = tmp_path / "made_here.ipynb"
    path.write_text(notebook_text(written(tmp_path, start + "".join(f"\n# %%\n{cell}\n" for cell in code)), False))
    return path


# The files


def test_the_series_is_numbered_from_zero_on_and_the_others_follow():
    numbered = [name for name in NAMES if name[:2].isdigit()]
    assert [name[:2] for name in numbered] == [f"{i:02d}" for i in range(len(numbered))] and len(numbered) >= 4
    assert NAMES[: len(numbered)] == numbered


def test_built_notebooks_are_fresh():
    assert notebooks.build(check=True) == [], "run `make notebooks` and commit what it writes"


@pytest.mark.parametrize(("name", "solution"), VERSIONS, ids=IDS)
def test_a_notebook_is_built_byte_for_byte_alike(name, solution):
    path = folder() / "_source" / f"{name}.py"
    assert notebook_text(path, solution) == notebook_text(path, solution)


@pytest.mark.parametrize(("name", "solution"), VERSIONS, ids=IDS)
def test_a_built_notebook_has_no_outputs(name, solution):
    whole = nbformat.read(folder() / (SOLUTIONS if solution else "") / f"{name}.ipynb", as_version=4)
    code = [cell for cell in whole.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code) and "widgets" not in whole.metadata


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_asks_for_the_kernel_python3(name):
    assert built(name).metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("name", NAMES)
def test_identities_of_cells_are_unique(name):
    found = [cell.id for kind in ("code", "markdown") for cell in cells(name, kind)]
    assert len(found) == len(set(found))


# What they are made of


@pytest.mark.parametrize("name", NAMES)
def test_the_first_code_cell_holds_the_parameters(name):
    first, *others = cells(name, "code")
    assert first.metadata.get("tags") == ["parameters"]
    assert not any("parameters" in cell.metadata.get("tags", []) for cell in others)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_plain_values_in_capitals(name):
    known = checked_parameters_of(name)
    assert {"SIZE", "SEED", "OUT"} <= set(known) and all(key.isupper() for key in known)


def checked_parameters_of(name):
    tree = ast.parse(cells(name, "code")[0].source)
    return {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body}


@pytest.mark.parametrize(("name", "solution"), VERSIONS, ids=IDS)
def test_no_cell_is_longer_than_twenty_lines(name, solution):
    longest = max(cells(name, "code", solution), key=lambda cell: len(cell.source.split("\n")))
    assert len(longest.source.split("\n")) <= 20, longest.source


@pytest.mark.parametrize(("name", "solution"), VERSIONS, ids=IDS)
def test_every_cell_is_python(name, solution):
    for cell in cells(name, "code", solution):
        ast.parse(cell.source)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("heading", ["Goals.", "Prerequisites.", "Time."])
def test_a_notebook_opens_with(name, heading):
    assert f"**{heading}**" in cells(name, "markdown")[0].source


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_says_what_one_should_see_and_asserts_it(name):
    assert "**What you should see:**" in source(name) and "checks.expect(" in source(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("phrase", ["**Try:**", "**What you should see:**"])
def test_every_interactive_cell_stands_beside_what_to_try_and_what_to_see(name, phrase):
    series = ["", *built(name).cells, ""]
    for before, cell, after in zip(series, series[1:], series[2:], strict=False):
        if cell and cell.cell_type == "code" and calls(cell.source) & INTERACTIVE:
            beside = [text.source for text in (before, after) if text and text.cell_type == "markdown"]
            assert phrase in "\n".join(beside), cell.source


@pytest.mark.parametrize(("number", "explorers"), [
    ("01", {"slices", "view"}), ("02", {"explore_positions", "view"}), ("03", {"similarity_map"}),
    ("04", {"explore_positions"}), ("05", {"TrainingTheatre", "explore_positions"}), ("06", {"embedding_map"}),
])  # fmt: skip
def test_a_numbered_notebook_uses_its_explorers(number, explorers):
    name = next(name for name in NAMES if name.startswith(number))
    assert explorers <= set().union(*(calls(cell.source) for cell in cells(name, "code")))


def test_the_gallery_shows_every_explorer():
    made_by_functions = {name for name in MAKERS if name.islower()}
    assert made_by_functions | {"TrainingTheatre"} <= set().union(*(calls(c.source) for c in cells("gallery", "code")))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_ends_with_a_recap(name):
    assert "## Recap" in cells(name, "markdown")[-1].source


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_is_checked(name):
    exercises = re.findall(r"### Exercise ([\d.]+)", source(name))
    answers = source(name).count("# solution\n")
    series = f"{int(name[:2])}." if name[:2].isdigit() else ""
    assert 2 <= len(exercises) == answers and exercises == [f"{series}{i + 1}" for i in range(len(exercises))]


@pytest.mark.parametrize("name", NAMES)
def test_students_do_not_see_the_answers(name):
    student, solved = (notebook_text(folder() / "_source" / f"{name}.py", which) for which in (False, True))
    assert student != solved and "# solution" not in student + solved


@pytest.mark.parametrize("name", NAMES)
def test_later_cells_never_use_an_answer(name):
    exercise_cells = [cell.source for cell in cells(name, "code") if re.search(r"\b(def )?my_\w+", cell.source)]
    for text in exercise_cells:
        assert "checks." in text and ("def my_" in text or "my_" in text.split("\n")[0]), text


# Building


def test_a_solution_becomes_three_dots_at_its_indentation(tmp_path):
    path = written(tmp_path, "# %%\ndef f(x):\n    # solution\n    y = x\n    return y\n    # end solution\n")
    cell = json.loads(notebook_text(path, solution=False))["cells"][0]
    assert "".join(cell["source"]) == "def f(x):\n    ..."


def test_a_solution_is_kept_without_its_markers(tmp_path):
    path = written(tmp_path, "# %%\ndef f(x):\n    # solution\n    return x\n    # end solution\n")
    cell = json.loads(notebook_text(path, solution=True))["cells"][0]
    assert "".join(cell["source"]) == "def f(x):\n    return x"


@pytest.mark.parametrize(
    "text",
    ["# solution\nx = 1", "x = 1\n# end solution", "# solution\n# solution\nx = 1\n# end solution"],
    ids=["never closed", "never opened", "opened twice"],
)
def test_markers_that_do_not_pair_are_refused_with_their_place(tmp_path, text):
    with pytest.raises(ValueError, match=r"07_made_here.py, cell 1: .*solution"):
        notebook_text(written(tmp_path, f"# %%\n{text}\n"), solution=False)


def test_an_edit_leaves_the_identities_of_other_cells_alone(tmp_path):
    def identities(middle):
        path = written(tmp_path, f"# %%\na = 1\n\n# %%\n{middle}\n\n# %%\nc = 3\n")
        return [cell["id"] for cell in json.loads(notebook_text(path, False))["cells"]]

    before, after = identities("b = 2"), identities("b = 4")
    assert before[0] == after[0] and before[2] == after[2] and before[1] != after[1]


def test_cells_of_one_content_get_different_identities(tmp_path):
    made = json.loads(notebook_text(written(tmp_path, "# %%\na = 1\n\n# %%\na = 1\n"), False))["cells"]
    assert made[0]["id"] != made[1]["id"]


# Parameters


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"STEP": 3}, r"no parameter STEP\. Its parameters: SIZE = .*STEPS = 5"),
        ({"STEPS": "many"}, "STEPS must be int, got 'many'"),
        ({"STEPS": True}, "STEPS must be int"),
        ({"STEPS": -1}, "STEPS must be at least 0"),
        ({"STEPS": 1.5}, "STEPS must be int"),
        ({"RATE": float("nan")}, "RATE must be finite"),
        ({"SIZE": "huge"}, "SIZE must be one of laptop, ci, got 'huge'"),
        ({"SIZE": 3}, "SIZE must be str"),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_before_anything_runs(tmp_path, given, message):
    path = made_notebook(tmp_path)
    with pytest.raises(ValueError, match=message):
        notebooks.run(path, given, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_whole_number_may_stand_for_a_fraction_and_out_is_the_working_folder(tmp_path):
    assert checked_parameters(made_notebook(tmp_path), {"RATE": 1}) == {"OUT": ".", "RATE": 1}


def test_an_unknown_notebook_is_refused_with_the_list():
    with pytest.raises(FileNotFoundError, match="00_setup"):
        notebook_path("99_nothing")


def test_a_notebook_is_found_by_its_number():
    assert notebook_path("00").stem == "00_setup"


# Results


def test_results_are_read_back_as_written(tmp_path):
    path = notebooks.write_results(
        tmp_path / "new", loss=torch.tensor(0.5), names=["a"], curve=torch.tensor([1.0, 2.0])
    )
    assert json.loads(path.read_text()) == {"loss": 0.5, "names": ["a"], "curve": [1.0, 2.0]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), [1.0, float("nan")]], ids=repr)
def test_results_that_are_no_finite_numbers_are_refused_and_earlier_ones_kept(tmp_path, value):
    path = notebooks.write_results(tmp_path, loss=1.0)
    with pytest.raises(ValueError, match="loss"):
        notebooks.write_results(tmp_path, loss=value)
    assert json.loads(path.read_text()) == {"loss": 1.0}


def test_a_summary_shows_each_number_beside_its_untrained_level(tmp_path):
    notebooks.write_results(tmp_path / "demo", top1=0.86, untrained_top1=0.67)
    assert "  top1: 0.86 (untrained 0.67)" in notebooks.summary(tmp_path)


def test_a_summary_names_the_files_of_a_run(tmp_path):
    notebooks.write_results(tmp_path, top1=0.5)
    for name in ("figure.png", "05_pretrain.ipynb", "run/final.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    text = "\n".join(notebooks.summary(tmp_path))
    assert all(name in text for name in ("figure.png", "05_pretrain.ipynb", "final.pt", "results.json"))


def test_a_summary_of_nothing_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="Run a notebook into it"):
        notebooks.summary(tmp_path)


def test_a_damaged_results_file_is_named(tmp_path):
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match=r"results\.json"):
        notebooks.summary(tmp_path)


# Running


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Kernels that can reach nothing but this machine."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00_offline.py").write_text(OFFLINE)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))


OFFLINE = """
import socket
_connect = socket.socket.connect


def _guarded(self, address, *rest):
    local = self.family == getattr(socket, "AF_UNIX", None) or str(address[0]) in ("localhost", "::1")
    if not (local or str(address[0]).startswith("127.")):
        raise OSError(f"notebooks run offline, but this one asked for {address}")
    return _connect(self, address, *rest)


socket.socket.connect = _guarded
"""


@pytest.mark.notebook
@pytest.mark.parametrize(("name", "solution"), VERSIONS, ids=IDS)
def test_a_notebook_runs_offline_from_top_to_bottom(name, solution, tmp_path, offline):
    done = notebooks.run(name, {"SIZE": "ci"}, tmp_path / "out", solution=solution, timeout=300)
    assert done["numbers"], "no results.json"
    printed = Path(done["notebook"]).read_text(encoding="utf-8")
    marks = {"✓": solution, "○": not solution, "✗": False}
    assert {mark: f'"{mark} ' in printed for mark in marks} == marks
    assert "widgets" not in json.loads(printed)["metadata"], "the state of widgets must not be stored"


@pytest.mark.notebook
def test_a_notebook_that_asks_for_the_network_would_fail(tmp_path, offline):
    path = made_notebook(tmp_path, "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=5)")
    with pytest.raises(notebooks.NotebookFailed, match="run offline"):
        notebooks.run(path, {}, tmp_path / "out")


@pytest.mark.parametrize("before", [None, "", "yes"], ids=repr)
def test_kernels_are_told_that_nobody_looks_and_the_setting_comes_back(tmp_path, monkeypatch, before):
    if before is None:
        monkeypatch.delenv("VOCO_HEADLESS", raising=False)
    else:
        monkeypatch.setenv("VOCO_HEADLESS", before)
    seen = []

    def execute(*_, **__):
        seen.append(os.environ.get("VOCO_HEADLESS"))
        raise DeadKernelError

    monkeypatch.setattr("papermill.execute_notebook", execute)
    with pytest.raises(notebooks.NotebookFailed):
        notebooks.run(made_notebook(tmp_path), {}, tmp_path / "out")
    assert seen == ["1"] and os.environ.get("VOCO_HEADLESS") == before


@pytest.mark.notebook
def test_a_failure_names_its_cell_and_keeps_what_ran(tmp_path):
    path = made_notebook(tmp_path, "print('came here')", "\nfactor = 0\n1 / factor")
    with pytest.raises(notebooks.NotebookFailed, match=r"'factor = 0'.*ZeroDivisionError: division by zero") as caught:
        notebooks.run(path, {}, tmp_path / "out")
    kept = tmp_path / "out" / "made_here.ipynb"
    assert str(kept) in str(caught.value) and "came here" in kept.read_text()


@pytest.mark.notebook
def test_a_cell_that_takes_too_long_is_stopped(tmp_path):
    path = made_notebook(tmp_path, "import time\ntime.sleep(60)")
    with pytest.raises(notebooks.NotebookFailed, match="took longer than 2 s"):
        notebooks.run(path, {}, tmp_path / "out", timeout=2)


@pytest.mark.notebook
def test_parameters_arrive_and_results_of_an_earlier_run_do_not_stay(tmp_path):
    write = "import voco_lite as vl\nif STEPS > 1:\n    vl.notebooks.write_results(OUT, steps=STEPS)"
    path = made_notebook(tmp_path, write)
    first = notebooks.run(path, {"STEPS": 7}, tmp_path / "out")
    second = notebooks.run(path, {"STEPS": 1}, tmp_path / "out")
    assert first["numbers"] == {"steps": 7} and second["results"] is None


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in notebooks.names() if name[:2].isdigit()])
def test_a_notebook_keeps_its_bands_at_laptop_size(name, tmp_path, offline, monkeypatch):
    # All cores and much patience: without bf16, the training of 05 takes a single thread many times longer.
    monkeypatch.setenv("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    assert notebooks.run(name, {"SIZE": "laptop"}, tmp_path / "out", solution=True, timeout=2800)["numbers"]
