"""The README keeps its word: its code runs, its tables name what there is."""

import ast
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

import voco_lite as vl
from voco_lite import cli, notebooks
from voco_lite.config import PRESETS
from voco_lite.objectives import Objective

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# From laptop size to seconds.
SMALLER = {
    '"laptop", ': '"ci", gauge_every=0, ',
    "800, 0": "3, 0",
    "population(24": "population(4",
    "population(8": "population(2",
}


def code(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def rows(section):
    """The cells of the first table of a section, without its head."""
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("|")]
    # An escaped bar is no border of a cell.
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[2:]]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The names that the dozen lines leave behind, at a size of seconds."""
    [lines] = code("python")
    for ours, smaller in SMALLER.items():
        assert ours in lines
        lines = lines.replace(ours, smaller)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        # An empty data folder: phantoms stand in for the CT, which may not be there.
        patch.setenv("VOCO_LITE_DATA", str(tmp_path_factory.mktemp("data")))
        with pytest.warns(UserWarning, match="Phantoms are used instead"):
            exec(compile(lines, "README.md", "exec"), names)
    return names


def test_the_dozen_lines_run(executed):
    assert executed["history"].steps == 3 and type(executed["model"]) is vl.VoCo


def test_the_dozen_lines_measure_held_out_volumes(executed):
    assert 0 <= executed["history"].last_held_out.top1 <= 1


def test_the_dozen_lines_are_a_dozen():
    [lines] = code("python")
    assert len([line for line in lines.splitlines() if line and not line.startswith("import")]) <= 12


def test_the_notebook_table_names_every_notebook():
    listed = [re.match(r"\[(\w+)\]", cells[0])[1] for cells in rows("Notebooks")]
    assert listed == notebooks.names()


def test_the_preset_table_names_every_preset():
    names = " ".join(cells[0] for cells in rows("Presets")).replace("`, `-", "` `tpami25-")
    assert set(re.findall(r"`([\w-]+)`", names)) == set(PRESETS)


@pytest.mark.parametrize("cells", rows("Presets"), ids=lambda cells: cells[0].split("`")[1])
def test_the_preset_table_tells_the_settings(cells):
    config = PRESETS[cells[0].split("`")[1]]
    steps, volumes = (int(number.replace(",", "")) for number in cells[5].split(" × "))
    assert (steps, volumes) == (config.train.steps, config.train.batch_size)
    assert cells[3].startswith(config.encoder.name) and cells[4] == config.objective.name
    grid, crop, random_crops = cells[2].split(" · ")
    assert grid == "×".join(map(str, config.crops.cells)) and int(random_crops) == config.crops.random_crops
    assert crop.startswith(f"{config.crops.crop_size[0]}³")


def faithfulness():
    return [(cells[0].replace("`", ""), cells[5].strip("`")) for cells in rows("Faithfulness")]


@pytest.mark.parametrize(("choice", "test"), faithfulness(), ids=[choice for choice, _ in faithfulness()])
def test_every_row_of_the_faithfulness_table_names_a_test_that_exists(choice, test):
    file, name = test.split("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_faithfulness_table_has_a_row_for_every_choice_of_an_objective():
    assert {field.name for field in fields(Objective)} <= {choice for choice, _ in faithfulness()}


def test_every_make_target_that_is_named_exists():
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    assert named and all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in named)


def commands():
    lines = "\n".join(code("bash")).splitlines()
    return [line.split("#")[0].strip() for line in lines if " voco_lite " in line]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_understood(command, monkeypatch):
    ran = []
    for kind in cli.COMMANDS:
        monkeypatch.setattr(kind, "run", lambda command: ran.append(command))
    assert cli.main(shlex.split(command)[shlex.split(command).index("voco_lite") + 1 :]) == 0
    assert len(ran) == 1
