"""The itkwidgets backend: what it hands over, whom it refuses, and that its files ask for nothing elsewhere.

The package itself is an extra with an environment of its own. Where `VOCO_ITK_PYTHON` names a Python that has it, it is
run in JupyterLab and Chromium (marked `browser`; needs npm).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import sys
import tarfile
import time
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from voco_lite.viewers import itk, itk_bundle
from voco_lite.viewers.itk_bundle import EXTENSION, FILES, Package
from voco_lite.volumes import Volume

ROOT = Path(__file__).parents[1]
VERSIONS = {"itkwidgets": "1.0a55", "ngff-zarr": "0.12.2", "imjoy-jupyterlab-extension": "0.2.6"}
SHAPE = (6, 5, 4)
RIGHT_FRONT_HEAD = (5, 4, 3)  # the last voxel along each axis of RAS


def phantom(units="HU"):
    data = torch.zeros(1, *SHAPE)
    data[0, 5, 4, 3] = 0.5 if units == "prepared" else 700.4
    labels = torch.zeros(SHAPE, dtype=torch.long)
    labels[0, 4, 3] = 3
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-17.0, 20.0, 30.0])
    return Volume(data, affine, "phantom", units, labels=labels)


class Watcher:
    def __init__(self, ready):
        self.ready, self.freed = ready, []

    def viewer_ready(self, name):
        return self.ready

    def update_viewer_status(self, name, status):
        self.freed.append((name, status))


@pytest.fixture
def kernel(monkeypatch):
    """A kernel that a page of JupyterLab asks."""
    shell = SimpleNamespace(kernel=object(), parent_header={"header": {"username": ""}})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    for name in ("CI", "VOCO_HEADLESS"):
        monkeypatch.delenv(name, raising=False)
    return shell


@pytest.fixture
def versions(monkeypatch):
    found = dict(VERSIONS)

    def version(package):
        if package not in found:
            raise PackageNotFoundError(package)
        return found[package]

    monkeypatch.setattr(itk, "version", version)
    return found


@pytest.fixture
def bundle(monkeypatch, tmp_path):
    """A folder on JUPYTER_PATH with the viewer's page."""
    page = tmp_path / "labextensions" / EXTENSION / "static" / FILES / "viewer" / "index.html"
    page.parent.mkdir(parents=True)
    page.touch()
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    return page


@pytest.fixture
def package(monkeypatch, kernel, versions, bundle):
    """A fake itkwidgets that keeps what it is given."""
    fake, cells, zarr = ModuleType("itkwidgets"), ModuleType("itkwidgets.cell_watcher"), ModuleType("ngff_zarr")
    seen = SimpleNamespace(given=None, watcher=Watcher(ready=True), words=[])

    def view(**given):
        seen.given = given
        return SimpleNamespace(name="the viewer")

    fake.view, cells.CellWatcher = view, lambda: seen.watcher
    zarr.to_ngff_image = lambda data, **geometry: SimpleNamespace(data=data, **geometry)
    for module in (fake, cells, zarr):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    handle = SimpleNamespace(update=lambda shown: seen.words.append(shown.data))
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: handle)
    return seen


def show(*arguments, wait=0.0, **options):
    async def run():
        shown = itk.show_itkwidgets(*arguments, **options)
        await asyncio.sleep(wait)
        return shown

    return asyncio.run(run())


def place_of(image, value):
    """LPS mm of the only voxel with that value."""
    index = np.argwhere(image.data == value)
    assert len(index) == 1
    return {name: image.translation[name] + image.scale[name] * n for name, n in zip(image.dims, index[0], strict=True)}


def test_image_and_labels_lie_where_the_volume_says_in_lps_millimetres(package):
    volume = phantom()
    show(volume, labels=volume.labels)
    image, labels = package.given["image"], package.given["label_image"]
    for seen, value, voxel in ((image, 700, RIGHT_FRONT_HEAD), (labels, 3, (0, 4, 3))):
        x, y, z = (volume.affine @ torch.tensor([*voxel, 1.0], dtype=torch.float64))[:3].tolist()
        assert place_of(seen, value) == {"x": -x, "y": -y, "z": z}


def test_axes_grow_to_the_left_the_back_and_the_head(package):
    show(phantom())
    image = package.given["image"]
    assert image.data.shape == SHAPE[::-1] and min(image.scale.values()) > 0
    assert np.argwhere(image.data == 700).tolist() == [[3, 0, 0]]  # head end of z, front end of y, right end of x
    assert image.scale == {"x": 2.0, "y": 3.0, "z": 4.0}


def test_a_ct_travels_with_2_bytes_a_voxel_and_labels_with_1(package):
    volume = phantom()
    show(volume, labels=volume.labels, window=(-175, 250))
    assert package.given["image"].data.dtype == np.int16 and package.given["label_image"].data.dtype == np.uint8
    assert (package.given["vmin"], package.given["vmax"]) == (-175, 250)


def test_prepared_values_travel_in_thousandths_of_the_window(package):
    show(phantom("prepared"), window=(0.0, 1.0))
    assert package.given["image"].data.max() == 500 and package.given["image"].data.dtype == np.int16
    assert (package.given["vmin"], package.given["vmax"]) == (0, 1000)


def test_more_than_255_labels_are_kept(package):
    labels = torch.arange(120).reshape(SHAPE) * 3
    show(phantom(), labels=labels)
    assert package.given["label_image"].data.max() == 357


def test_without_labels_none_are_sent(package):
    show(phantom())
    assert "label_image" not in package.given


def test_the_result_shows_a_png_and_holds_the_viewer(package):
    shown = show(phantom())
    data, _ = shown._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG") and shown.viewer.name == "the viewer"


def test_cells_go_on_when_no_viewer_comes(package, monkeypatch):
    monkeypatch.setattr(itk, "PATIENCE_S", 0.0)
    package.watcher.ready = False
    show(phantom(), wait=0.1)
    assert package.watcher.freed == [("the viewer", True)] and "did not come" in package.words[0]


def test_nothing_is_said_when_the_viewer_came(package, monkeypatch):
    monkeypatch.setattr(itk, "PATIENCE_S", 0.0)
    show(phantom(), wait=0.1)
    assert package.watcher.freed == [] and package.words == []


@pytest.mark.parametrize("drawn", [{"boxes": [((0, 0, 0), (2, 2, 2))]}, {"heat": torch.zeros(SHAPE)}])
def test_boxes_and_heat_are_refused_with_a_backend_that_draws_them(package, drawn):
    with pytest.raises(ValueError, match='no boxes and no heat.*backend="niivue"'):
        show(phantom(), **drawn)


def test_labels_of_another_shape_are_refused(package):
    with pytest.raises(ValueError, match="labels must have the volume's shape"):
        show(phantom(), labels=torch.zeros(3, 3, 3, dtype=torch.long))


@pytest.mark.parametrize("name", ["CI", "VOCO_HEADLESS"])
def test_it_is_refused_where_the_environment_says_that_nobody_looks(package, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValueError, match="open in JupyterLab.*papermill"):
        show(phantom())


def test_it_is_refused_when_papermill_asks(package, kernel):
    kernel.parent_header = {"header": {"username": "root"}}
    with pytest.raises(ValueError, match="open in JupyterLab.*papermill"):
        show(phantom())


def test_it_is_refused_without_a_kernel(package, monkeypatch):
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    with pytest.raises(ValueError, match="open in JupyterLab"):
        show(phantom())


def test_a_kernel_run_by_nbclient_is_told_at_once():
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    code = "import torch\nfrom voco_lite.viewers.itk import show_itkwidgets\nshow_itkwidgets(torch.rand(4, 4, 4))"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("1")])
    with pytest.raises(CellExecutionError, match="open in JupyterLab"):
        NotebookClient(book, timeout=300, kernel_name="python3").execute(env=os.environ | {"CI": ""})


def test_a_missing_package_is_named_with_how_to_install_it(package, versions):
    del versions["itkwidgets"]
    with pytest.raises(ValueError, match=r"needs itkwidgets==1.0a55, got none. Run pip install .*itkwidgets"):
        show(phantom())


@pytest.mark.parametrize(
    ("name", "found"), [("ngff-zarr", "0.50.1"), ("ngff-zarr", "0.13.0"), ("itkwidgets", "0.32.6")]
)
def test_a_package_of_another_version_is_named(package, versions, name, found):
    versions[name] = found
    with pytest.raises(ValueError, match=rf"needs {name}.*got {found}"):
        show(phantom())


def test_without_the_viewers_files_it_says_how_to_get_them(package, bundle):
    bundle.unlink()
    with pytest.raises(ValueError, match="itk_bundle FOLDER.*JUPYTER_PATH=FOLDER"):
        show(phantom())


def test_the_pins_are_those_of_the_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {line.replace("[lab]", "") for line in extras["itkwidgets"]} == {f"{n}{v}" for n, v in itk.PINS.items()}


def test_importing_the_backend_imports_no_itkwidgets():
    assert "itkwidgets" not in sys.modules


# The files of the viewer.


def archive(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def npm(monkeypatch):
    """Archives of packages made here; returns what is in them, to be changed by a test."""
    contents = {
        package.name: {theirs: b"x" for theirs in package.files.values() if not theirs.endswith("/")}
        for package in itk_bundle.PACKAGES
    }
    contents["imjoy-core"]["dist/imjoy-core.min.js"] = " ".join(itk_bundle._CORE).encode()
    contents["itk-vtk-viewer"] |= {
        "dist/index.html": " ".join(itk_bundle._PAGE).encode(),
        "dist/itk/pipeline/Downsample.wasm": b"x",
        "dist/itk/image-io/NiftiImageIO.wasm": b"x",
        "dist/../../outside.txt": b"x",
        "src/unused.js": b"x",
    }
    monkeypatch.setattr(
        itk_bundle, "fetch", lambda package, folder: archive(folder / package.name, contents[package.name])
    )
    return contents


@pytest.fixture
def prefix(tmp_path):
    """An environment with the Lab extension."""
    static = tmp_path / "env" / "share" / "jupyter" / "labextensions" / EXTENSION / "static"
    static.mkdir(parents=True)
    (static / "vendors-node_modules_imjoy-core_1.js").write_text("\n".join(itk_bundle._LOADER))
    (static / "lib_index_js.1.js").write_text("\n".join(itk_bundle._GLUE))
    return tmp_path / "env"


def test_the_bundle_asks_for_nothing_elsewhere_and_leaves_the_environment_alone(npm, prefix, tmp_path):
    before = {path: path.read_bytes() for path in prefix.rglob("*.js")}
    made = itk_bundle.make_bundle(tmp_path / "made", prefix)
    assert not [path for path in made.rglob("*") if path.is_file() and b"https://" in path.read_bytes()]
    assert b'startup":true' not in (next(made.rglob("imjoy-core.min.js"))).read_bytes()
    assert before == {path: path.read_bytes() for path in prefix.rglob("*.js")}


def test_only_the_needed_files_are_written(npm, prefix, tmp_path):
    made = itk_bundle.make_bundle(tmp_path / "made", prefix)
    names = {path.name for path in made.rglob("*") if path.is_file()}
    assert {"index.html", "Downsample.wasm", "vue.min.js", "itk-vtk-viewer.txt"} <= names
    assert not {"NiftiImageIO.wasm", "unused.js"} & names and not list(tmp_path.rglob("outside.txt"))


def test_an_empty_folder_is_filled(npm, prefix, tmp_path):
    (tmp_path / "made").mkdir()
    assert next(itk_bundle.make_bundle(tmp_path / "made", prefix).rglob("vue.min.js")).is_file()


def test_jupyter_takes_the_bundle(npm, prefix, tmp_path, monkeypatch):
    assert not itk_bundle.bundle_in_use()
    monkeypatch.setenv("JUPYTER_PATH", str(itk_bundle.make_bundle(tmp_path / "made", prefix)))
    assert itk_bundle.bundle_in_use()


def test_an_extension_of_another_version_is_refused_and_leaves_nothing(npm, prefix, tmp_path):
    next(prefix.rglob("lib_index*")).write_text("something else")
    with pytest.raises(ValueError, match="must hold .* once, got 0. Install imjoy-jupyterlab-extension 0.2.6"):
        itk_bundle.make_bundle(tmp_path / "made", prefix)
    assert [path.name for path in tmp_path.iterdir()] == ["env"]


def test_a_folder_that_holds_something_is_refused(npm, prefix, tmp_path):
    with pytest.raises(ValueError, match="new or empty"):
        itk_bundle.make_bundle(prefix, prefix)


def test_without_the_extra_it_says_how_to_install_it(npm, tmp_path):
    with pytest.raises(FileNotFoundError, match="Install the extra first"):
        itk_bundle.make_bundle(tmp_path / "made", tmp_path)


def test_a_download_is_compared_with_its_digest(tmp_path, monkeypatch):
    def pack(command, cwd, **_):
        archive(cwd / "vue-2.6.10.tgz", {"dist/vue.min.js": b"x"})
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(itk_bundle.shutil, "which", lambda name: name)
    monkeypatch.setattr(itk_bundle.subprocess, "run", pack)
    vue = itk_bundle.PACKAGES[0]
    with pytest.raises(ValueError, match="must have the SHA-512"):
        itk_bundle.fetch(vue, tmp_path)
    digest = base64.b64encode(hashlib.sha512((tmp_path / "vue-2.6.10.tgz").read_bytes()).digest()).decode()
    monkeypatch.setattr(itk_bundle.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stderr=""))
    assert itk_bundle.fetch(Package("vue", "2.6.10", digest, {}), tmp_path).name == "vue-2.6.10.tgz"


def test_without_npm_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(itk_bundle.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="Install Node.js"):
        itk_bundle.fetch(itk_bundle.PACKAGES[0], tmp_path)


# The real package, in a real browser.

CELLS = (
    """
import torch, voco_lite as vl
from voco_lite.viewers.itk import show_itkwidgets
x, y, z = torch.meshgrid(*[torch.arange(n) for n in (48, 40, 32)], indexing="ij")
data = torch.where(((x - 24) / 22) ** 2 + ((y - 20) / 18) ** 2 < 1, 40.0, -1000.0)
data[(x - 37) ** 2 + (y - 20) ** 2 + (z - 16) ** 2 < 40] = 900.0  # the patient's right
labels = ((x - 11) ** 2 + (y - 20) ** 2 + (z - 16) ** 2 < 40).long()
volume = vl.volumes.Volume(data[None], torch.eye(4, dtype=torch.float64), "phantom", labels=labels)
""",
    "shown = show_itkwidgets(volume, labels, window=(-200.0, 1000.0))\nshown",
    'shown.viewer.set_view_mode("ZPlane")',
)


@pytest.mark.browser
@pytest.mark.timeout(900)
def test_it_renders_in_jupyterlab_without_another_machine(browsers, tmp_path, monkeypatch):
    python = os.environ.get("VOCO_ITK_PYTHON")
    if python is None:
        pytest.skip("VOCO_ITK_PYTHON names no Python with the extra itkwidgets")
    import nbformat

    import lab as harness

    prefix = Path(python).parents[1]
    monkeypatch.setenv("JUPYTER_PATH", str(itk_bundle.make_bundle(tmp_path / "viewer", prefix)))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("CI", raising=False)
    home = tmp_path / "lab"
    (home / "work").mkdir(parents=True)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, home / "work" / "itk.ipynb")
    monkeypatch.setattr(harness.sys, "executable", python)
    with harness.jupyterlab(home) as server:
        seen = browsers.page(True, server)
        seen.open_notebook("itk.ipynb")
        seen.run_all()
        side = side_of_the_bright_ball(seen.page)
        said, errors, outside = seen.said(), seen.errors, seen.outside
        seen.shut_down()
    assert side == "left" and said == "" and errors == [] and outside == []


def side_of_the_bright_ball(page, seconds=240):
    """Where the viewer shows it on the screen; "nowhere": it never did."""
    from PIL import Image

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        frame = page.locator("iframe")
        if frame.count():
            picture = Image.open(io.BytesIO(frame.first.screenshot(timeout=120_000))).convert("L")
            # The viewer's words are at its border.
            middle = np.asarray(picture.resize((90, 60)))[12:48, 27:63]
            columns = np.argwhere(middle > 190)[:, 1]
            if len(columns) > 3 and (middle < 20).any():
                return "left" if columns.mean() < 17 else "right" if columns.mean() > 18 else "middle"
        page.wait_for_timeout(500)
    return "nowhere"
