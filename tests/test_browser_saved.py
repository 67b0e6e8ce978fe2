"""Notebooks that were executed and saved show their pictures: as a page of nbconvert, and reopened without a run.

They were saved by the project's runner, or in JupyterLab, which trusts what it ran and then prefers widgets to pictures.
"""

import json
import subprocess
import sys

import pytest

import lab as harness

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PICTURES = ".jp-OutputArea-output img"
# Every explorer, and the shortest notebook with one.
NAMES = ["02_base_crops_and_position_labels", "gallery"]


@pytest.fixture(scope="module", params=NAMES)
def executed(request, tmp_path_factory):
    """A notebook with its outputs, by the project's own runner."""
    return harness.execute(request.param, tmp_path_factory.mktemp(request.param))


def outputs_with_pictures(path):
    """How many outputs of a saved notebook hold a picture, and how many of these are widgets."""
    code = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    bundles = [output.get("data", {}) for cell in code for output in cell["outputs"]]
    kinds = [set(bundle) for bundle in bundles if "image/png" in bundle]
    return len(kinds), len([kind for kind in kinds if "application/vnd.jupyter.widget-view+json" in kind])


def assert_pictures_show(seen, path):
    """All pictures of a page of a notebook are there, and none is blank."""
    count, of_widgets = outputs_with_pictures(path)
    images = seen.page.locator(PICTURES)
    images.nth(count - 1).wait_for(state="attached", timeout=harness.START_S * 1000)
    assert images.count() == count and of_widgets > 0
    for image in images.all():
        png = harness.pixels(image)
        assert png is not None and not harness.is_blank(png), image.get_attribute("alt")


def test_a_converted_notebook_shows_every_picture(executed, browsers):
    command = [sys.executable, "-m", "nbconvert", "--to", "html", str(executed)]
    subprocess.run(command, check=True, capture_output=True, timeout=harness.CELLS_S)
    seen = browsers.page(False)
    # What the page of nbconvert asks of other machines (mathematics) must not hold it up.
    seen.page.goto(executed.with_suffix(".html").as_uri(), timeout=harness.START_S * 1000)
    assert_pictures_show(seen, executed)
    seen.shut_down()


def test_a_reopened_notebook_shows_every_picture(executed, lab, browsers):
    place = lab.work / f"saved-{executed.name}"
    place.write_bytes(executed.read_bytes())
    seen = browsers.page(False, lab)
    seen.open_notebook(place.name)
    assert_pictures_show(seen, executed)
    assert (seen.errors, seen.outside) == ([], [])
    seen.shut_down()


def test_a_notebook_that_lab_saved_shows_every_picture_when_opened_again_and_its_widget_when_run(lab, browsers):
    place = lab.put(NAMES[0], "saved-in-lab")
    first = browsers.page(False, lab)
    first.open_notebook(place)
    first.run_all()
    first.save()
    assert first.said() == ""
    first.shut_down()  # and its kernel, so that no widget is left
    seen = browsers.page(False, lab)
    seen.open_notebook(place)
    assert_pictures_show(seen, lab.work / place)
    assert seen.page.locator(harness.SLIDER).count() == 0
    seen.run_all()
    seen.page.wait_for_selector(harness.SLIDER, timeout=harness.START_S * 1000)
    assert (seen.errors, seen.outside) == ([], [])
    seen.shut_down()
