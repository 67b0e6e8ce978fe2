"""Make the itkwidgets viewer work without the internet: its files from npm, and a Lab extension that looks for them here.

`python -m voco_lite.viewers.itk_bundle FOLDER`, then start Jupyter with `JUPYTER_PATH=FOLDER`. Nothing that was installed is
changed: Jupyter prefers what lies in FOLDER.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro

EXTENSION = "imjoy-jupyterlab-extension"
FILES = "offline"  # below the extension's static files, which the Jupyter server serves


@dataclass(frozen=True)
class Package:
    """A package of npm, and which of its files are needed.

    Attributes:
        name: On npm.
        version: Exactly this one.
        sha512: Of its archive, base64, as npm states it.
        files: Path in the package by path in the bundle; a path that ends in / is a folder.
    """

    name: str
    version: str
    sha512: str
    files: Mapping[str, str]


PACKAGES = (
    Package("vue", "2.6.10",
            "ImThpeNU9HbdZL3utgMCq0oiMzAkt1mcgy3/E6zWC/G6AaQoeuFdsl9nDhTDU3X1R6FK7nsIUuRACVcjI+A2GQ==",
            {"vue.min.js": "dist/vue.min.js", "licences/vue.txt": "LICENSE"}),
    Package("vue-js-modal", "1.3.34",
            "S7sybSuSXDaHQS0mgMWCSarPndGfk2OjjHui7bMkPmHoVzSVitw5cCb1e0wOk5XvdEqt0cm5DIB83mO8e9mLqw==",
            {"vue-js-modal.js": "dist/index.js", "vue-js-modal.css": "dist/styles.css",
             "licences/vue-js-modal.txt": "LICENSE.md"}),
    Package("imjoy-core", "0.14.5",
            "G0ybhLq57vOSM+4DhJ7A/3WSjJdbzk+WoEqg4+c5clkRhLOYY5VfI6oJ4MI664ZsVVgIinswsEJWbHAWQOBxFg==",
            {"imjoy-core.min.js": "dist/imjoy-core.min.js", "viewer/imjoy-loader.js": "dist/imjoy-loader.min.js",
             "licences/imjoy-core.txt": "LICENSE"}),
    Package("imjoy-rpc", "0.5.59",
            "6eM7MG+A49K7n3rL+F8dQxCZP7YsH3ufNbtJr+EioeSUxHmHTFj1AGtSa/tO895MASXKfqHv1zWAUwr4j/q/2w==",
            {"viewer/imjoy-rpc.min.js": "dist/imjoy-rpc.min.js", "licences/imjoy-rpc.txt": "LICENSE"}),
    Package("itk-viewer-bootstrap-ui", "0.30.0",
            "JfXAeCEgllRblolFwB4HaPQp+AyPzUt8s3g74LVnWLkvOyng4p24aO2Sjsk6ZIkWyZjdfZWAtvrdScKh/RPkKw==",
            {"viewer/bootstrap-ui.js": "dist/bootstrapUIMachineOptions.js.es.js",
             "licences/itk-viewer-bootstrap-ui.txt": "LICENSE"}),
    Package("itk-vtk-viewer", "14.51.0",
            "i1H0PfekLdCfL45lZ96aWCoh4thzxeexiGJ3NYC9euF1WefXW0P1JijBLIJfrDBvp5fhjncj/EEnIW1auBh+zw==",
            {"viewer/": "dist/", "licences/itk-vtk-viewer.txt": "LICENSE"}),
)  # fmt: skip
# Readers of file formats, 74 MB that no notebook asks for, and a second build of the viewer.
_LEFT_OUT = ("dist/itk/image-io/", "dist/itk/mesh-io/", "dist/itkVtkViewerCDN")

_WHERE = f"""window.imjoyFiles = new URL(
  JSON.parse(document.getElementById("jupyter-config-data").textContent).fullLabextensionsUrl
    + "/{EXTENSION}/static/{FILES}/", location.href).href;
"""
_ICON = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"
_WINDOW = "async createWindow(_plugin, w, extra_config) {"
_LOCAL_VIEWER = """
                    if (w.type === "itk-vtk-viewer") {
                        w.src = window.imjoyFiles + "viewer/index.html";
                        if (w.config && w.config.uiMachineOptions && w.config.uiMachineOptions.href)
                            w.config.uiMachineOptions.href = window.imjoyFiles + "viewer/bootstrap-ui.js";
                    }"""
# What stands in the extension 0.2.6 and in the viewer's page, and what replaces it; its code is text inside a string.
_LOADER = {
    r"\"https://cdn.jsdelivr.net/npm/vue@2.6.10/dist/vue.min.js\"": r"window.imjoyFiles + \"vue.min.js\"",
    r"\"https://imjoy-team.github.io/vue-js-modal/index.js\"": r"window.imjoyFiles + \"vue-js-modal.js\"",
    r"\"https://imjoy-team.github.io/vue-js-modal/styles.css\"": r"window.imjoyFiles + \"vue-js-modal.css\"",
    # Floating windows, which JupyterLab's cells do not use; no registry has the package.
    r"await injectScript(\"https://cdn.jsdelivr.net/npm/@oeway/vue-window@2.4.1-a/lib/index.js\");": "",
    "Vue.use(window.VueWindow);": "",
}
_GLUE = {
    "process_url_query: true,": """process_url_query: true,
            base_url: window.imjoyFiles,
            default_rpc_base_url: window.imjoyFiles + "viewer/",""",
    "https://imjoy.io/static/img/imjoy-logo-black.svg": _ICON,
    _WINDOW: _WINDOW + _LOCAL_VIEWER,
}
# Plugins that it would load from the internet at its start.
_CORE = {
    'Jupyter-Engine-Manager.imjoy.html","startup":true': 'Jupyter-Engine-Manager.imjoy.html","startup":false',
    'WebPythonWorker.imjoy.html","startup":true': 'WebPythonWorker.imjoy.html","startup":false',
}
_PAGE = {
    "https://lib.imjoy.io/imjoy-loader.js": "imjoy-loader.js",
    "api_version: '0.2.3'": "base_url: new URL('.', location.href).href",
}


def make_bundle(folder: str | Path, prefix: str | Path = sys.prefix) -> Path:
    """Write the viewer's files and a Lab extension that uses them into a folder for JUPYTER_PATH.

    Args:
        folder: Where to; must not exist yet or be empty.
        prefix: The environment that holds the extra `itkwidgets`.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: The Lab extension or npm is not there.
        ValueError: The folder holds something, a download is damaged, or the extension is of another version.
    """
    target, installed = Path(folder), Path(prefix) / "share" / "jupyter" / "labextensions" / EXTENSION
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"folder must be new or empty, got {target}. Remove it, or name another one.")
    if not installed.is_dir():
        raise FileNotFoundError(
            f'{EXTENSION} is expected in {installed.parent}. Install the extra first: pip install -e ".[itkwidgets]".'
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as place:
        made = Path(place) / "bundle"
        extension = made / "labextensions" / EXTENSION
        shutil.copytree(installed, extension)
        static = extension / "static"
        for package in PACKAGES:
            unpack(package, fetch(package, Path(place)), static / FILES)
        rewrite(one_file(static, "vendors-node_modules_imjoy-core*.js"), _LOADER, _WHERE)
        rewrite(one_file(static, "lib_index_js*.js"), _GLUE)
        rewrite(static / FILES / "imjoy-core.min.js", _CORE)
        rewrite(static / FILES / "viewer" / "index.html", _PAGE)
        if target.exists():
            target.rmdir()  # some systems rename onto no folder, not even an empty one
        made.rename(target)
    return target


def bundle_in_use() -> bool:
    """Whether the Lab extension that Jupyter takes is one that was made here."""
    from jupyter_core.paths import jupyter_path

    taken = next((place for path in jupyter_path("labextensions") if (place := Path(path) / EXTENSION).is_dir()), None)
    return taken is not None and (taken / "static" / FILES / "viewer" / "index.html").is_file()


def fetch(package: Package, folder: Path) -> Path:
    """The archive of a package, by npm, compared with its known digest."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            "npm is needed to fetch the viewer, and was not found. Install Node.js, then run again."
        )
    name = f"{package.name}@{package.version}"
    run = subprocess.run([npm, "pack", "--silent", name], cwd=folder, capture_output=True, text=True, check=False)
    archive = folder / f"{package.name}-{package.version}.tgz"
    if run.returncode or not archive.is_file():
        raise ValueError(
            f"npm must fetch {name}, got: {run.stderr.strip()[-500:]}. Try again with a connection to npm."
        )
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != package.sha512:
        raise ValueError(f"{name} must have the SHA-512 {package.sha512}, got {found}. Do not use it; fetch it again.")
    return archive


def unpack(package: Package, archive: Path, target: Path) -> None:
    """Write the files of a package that are needed, and no others."""
    with tarfile.open(archive) as tar:
        for member in tar:
            inside = member.name.removeprefix("package/")
            place = next((where(inside, ours, theirs) for ours, theirs in package.files.items()
                          if where(inside, ours, theirs)), None)  # fmt: skip
            content = tar.extractfile(member) if member.isfile() and place else None
            if content is None or place is None:
                continue
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            (target / place).write_bytes(content.read())


def where(inside: str, ours: str, theirs: str) -> str | None:
    """Path in the bundle of a file of a package; None: not needed."""
    if inside.startswith(_LEFT_OUT) or ".." in Path(inside).parts:
        return None
    if theirs.endswith("/"):
        return ours + inside.removeprefix(theirs) if inside.startswith(theirs) else None
    return ours if inside == theirs else None


def one_file(folder: Path, pattern: str) -> Path:
    """The only file of that pattern.

    Raises:
        ValueError: There is none, or several.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ValueError(f"expected one file {pattern} in {folder}, got {len(found)}. Install {EXTENSION} 0.2.6.")
    return found[0]


def rewrite(file: Path, changes: Mapping[str, str], head: str = "") -> None:
    """Replace each text, which must stand there once.

    Raises:
        ValueError: It does not.
    """
    text = file.read_text(encoding="utf-8")
    for old, new in changes.items():
        if text.count(old) != 1:
            raise ValueError(f"{file.name} must hold {old!r} once, got {text.count(old)}. Install {EXTENSION} 0.2.6.")
        text = text.replace(old, new)
    file.write_text(head + text, encoding="utf-8")


def main(folder: Path, /) -> None:
    """Fetch the itkwidgets viewer for use without the internet.

    Args:
        folder: Where to write it, about 40 MB.
    """
    try:
        made = make_bundle(folder).resolve()
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    print(f"The viewer is in {made}. Start Jupyter with it: JUPYTER_PATH={made} jupyter lab")


if __name__ == "__main__":
    tyro.cli(main)
