"""The project around the package: dependencies, pins, targets, layout, links, import order, and the parts runner."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import run_parts
import voco_lite

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "voco_lite"
# Fixed by the project's user, and what a Python project needs.
TOP_LEVEL = {
    *("notebooks", "voco_lite", "data_samples", "tests", "environment.yml", "README.md"),
    *(
        "pyproject.toml",
        "constraints.txt",
        "Makefile",
        "LICENSE",
        "CITATION.cff",
        "CONTRIBUTING.md",
        ".ci",
        ".gitignore",
    ),
}
CONDA_TO_PYPI = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
ABSENT_FROM_TEXTS = tuple("/" + word + "/" for word in ("work", "tmp", "root", "home"))


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(lines):
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def dependencies():
    return requirements(pyproject()["project"]["dependencies"])


def extra(name):
    return requirements(pyproject()["project"]["optional-dependencies"][name])


def dev_dependencies():
    return extra("dev")


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return requirements(line for line in lines if line and not line.startswith("#"))


def environment():
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def conda_requirements():
    """What environment.yml asks for, as PyPI requirements: of conda, then of pip."""
    entries = environment()["dependencies"]
    conda = [entry for entry in entries if isinstance(entry, str)]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    renamed = [CONDA_TO_PYPI.get(line.split()[0], line.split()[0]) + "".join(line.split()[1:]) for line in conda]
    return requirements(line for line in renamed if line != "pip"), pip


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    # A file that was removed but whose removal is not committed yet is still listed.
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


# Dependencies


def test_constraints_pin_every_direct_dependency_within_its_range():
    exact = pins()
    for name, wanted in (dependencies() | dev_dependencies() | extra("vlp")).items():
        assert name in exact, f"{name} has no pin"
        [pin] = exact[name].specifier
        assert pin.operator == "==" and wanted.specifier.contains(pin.version, prereleases=True), f"{wanted} | {pin}"


def test_constraints_fit_a_cuda_build_too():
    assert "+" not in str(pins()["torch"].specifier)


def test_every_import_of_the_package_is_a_declared_dependency():
    declared = set(dependencies() | extra("vlp") | extra("medmnist"))
    distributions = packages_distributions()
    for path in PACKAGE.rglob("*.py"):
        for name in imported(path):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top in ("voco_lite", "__future__"):
                continue
            owners = {canonicalize_name(owner) for owner in distributions.get(top, [top])}
            assert owners & declared, f"{path.relative_to(ROOT)} imports {name}, which pyproject.toml does not list"


def test_itkwidgets_is_an_extra_and_no_part_of_the_set_up():
    extras = pyproject()["project"]["optional-dependencies"]
    assert any(line.startswith("itkwidgets") for line in extras["itkwidgets"])
    assert "itkwidgets" not in dependencies() | dev_dependencies() | pins()


def test_the_text_encoder_is_an_extra_that_the_set_up_installs():
    assert extra("vlp") and not set(dependencies()) & set(extra("vlp"))
    assert '--editable ".[dev,vlp]"' in (ROOT / "Makefile").read_text()


# environment.yml


def test_environment_asks_for_what_pyproject_asks_for():
    conda, pip = conda_requirements()
    python = conda.pop("python")
    both = conda | requirements(line for line in pip if not line.startswith("-"))
    assert {name: r.specifier for name, r in both.items()} == {n: r.specifier for n, r in dependencies().items()}
    assert str(python.specifier) == pyproject()["project"]["requires-python"]


def test_environment_takes_torch_from_conda_so_that_pip_does_not_bring_a_second_one():
    conda, _ = conda_requirements()
    assert "torch" in conda


def test_environment_uses_conda_forge_only():
    assert environment()["channels"] == ["conda-forge", "nodefaults"]


def test_environment_installs_the_package_last():
    _, pip = conda_requirements()
    assert pip[-1] == "-e .[vlp]"


# Makefile and continuous integration


@pytest.mark.parametrize(
    "target", ["help", "setup", "demo", "test", "lab", "app", "lint", "notebooks", "figures", "clean"]
)
def test_makefile_has_the_target(target):
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE) and target in phony


def test_set_up_runs_again_only_when_the_dependencies_change():
    assert "$(STAMP): pyproject.toml constraints.txt\n" in (ROOT / "Makefile").read_text()


def test_continuous_integration_runs_make_test_as_its_last_word():
    script = (ROOT / ".ci" / "run").read_text()
    assert script.rstrip().endswith("\nmake test") and run_parts.REQUIRE_BROWSER in script


# Layout, texts, order of modules


def test_the_top_level_is_the_fixed_one():
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert found <= TOP_LEVEL, f"not agreed: {sorted(found - TOP_LEVEL)}"
    assert {name for name in TOP_LEVEL if (ROOT / name).exists()} == TOP_LEVEL


def test_every_link_in_the_texts_resolves():
    broken = []
    for path in tracked("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            linked = (path.parent / file).resolve() if file else path
            if not linked.exists() or (anchor and anchor not in anchors(linked)):
                broken.append(f"{path.name}: {target}")
    assert not broken


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_text_names_a_folder_of_one_machine():
    suffixes = {".py", ".md", ".toml", ".txt", ".yml", ".cff", ".json", ".ipynb", ""}
    named = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked()
        if path.suffix in suffixes
        for word in ABSENT_FROM_TEXTS
        if word in path.read_text(encoding="utf-8")
    ]
    assert not named


def module_rank(path):
    """Place of a file's module in the order, None for those that stand outside it."""
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return voco_lite._MODULES.index(part) if part in voco_lite._MODULES else None


def imported(path, at_run_time=False):
    """Names of the modules that a file imports, in functions too; with `at_run_time` not those for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if at_run_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "voco_lite":
            yield from (f"voco_lite.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def test_every_module_of_the_package_has_its_place_in_the_order():
    outside = {"__init__", "__main__", "cli"}
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert modules - outside == set(voco_lite._MODULES)


def test_a_module_imports_only_from_modules_above_it():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        rank = module_rank(path)
        if rank is None:
            continue
        for name in imported(path, at_run_time=True):
            if not name.startswith("voco_lite."):
                continue
            other = name.split(".")[1]
            owner = voco_lite._OWNER.get(other, other)
            if owner not in voco_lite._MODULES or voco_lite._MODULES.index(owner) > rank:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


@pytest.mark.parametrize("name", sorted(voco_lite._OWNER))
def test_every_public_name_is_there(name):
    assert getattr(voco_lite, name) is not None


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("torch", "monai", "matplotlib", "sklearn", "scipy", "accelerate", "IPython", "plotly", "papermill")
    code = f"import sys, voco_lite; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_is_installed_from_this_checkout():
    assert Path(importlib.util.find_spec("voco_lite").origin).resolve() == PACKAGE / "__init__.py"


# The runner of the parts

REPORT = """<testsuites><testsuite>
<testcase file="tests/test_a.py" name="test_good"/>
<testcase file="tests/test_a.py" name="test_bad"><failure message="x"/></testcase>
<testcase file="tests/test_b.py" name="test_set_up"><error message="x"/></testcase>
<testcase file="tests/test_b.py" name="test_left_out"><skipped/></testcase>
</testsuite></testsuites>"""


def test_a_part_counts_and_names_what_failed(tmp_path):
    (tmp_path / "report.xml").write_text(REPORT)
    found = run_parts.outcome(tmp_path / "report.xml", code=1)
    assert (found.passed, found.skipped) == (1, 1)
    assert found.failed == ["tests/test_a.py::test_bad", "tests/test_b.py::test_set_up"]


def test_a_part_that_died_without_a_report_has_failed(tmp_path):
    assert run_parts.outcome(tmp_path / "report.xml", code=-11).failed == ["pytest ended with exit code -11"]


def test_a_part_without_tests_is_no_failure(tmp_path):
    assert run_parts.outcome(tmp_path / "report.xml", code=5).failed == []


def test_all_parts_run_after_one_that_fails_and_the_end_names_it(monkeypatch, capsys):
    outcomes = {"lint": run_parts.Outcome(failed=["mypy (exit code 1)"])}
    monkeypatch.setattr(run_parts, "run", lambda part: outcomes.get(part, run_parts.Outcome(passed=2)))
    assert run_parts.main([]) == 1
    printed = capsys.readouterr().out
    assert "FAILED lint: mypy (exit code 1)" in printed and printed.endswith("10 passed, 1 failed, 0 skipped\n")


def test_an_unknown_part_is_refused(capsys):
    assert run_parts.main(["quick"]) == 2
    assert "must be one of lint, default" in capsys.readouterr().err


def test_without_a_browser_the_browser_tests_are_left_out_loudly(monkeypatch):
    monkeypatch.setattr(run_parts, "BROWSERS", ())
    monkeypatch.setattr(run_parts, "_call", lambda *_, **__: 0)
    monkeypatch.delenv(run_parts.REQUIRE_BROWSER, raising=False)
    found = run_parts.browser()
    assert not found.failed and "did NOT run" in found.note


def test_without_a_browser_continuous_integration_fails(monkeypatch):
    monkeypatch.setattr(run_parts, "BROWSERS", ())
    monkeypatch.setattr(run_parts, "_call", lambda *_, **__: 0)
    monkeypatch.setenv(run_parts.REQUIRE_BROWSER, "1")
    assert run_parts.browser().failed
