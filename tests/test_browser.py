"""Every notebook with widgets in a real JupyterLab and browser: it runs, pictures show, and sliders and words move them.

Which notebooks and cells these are follows from what they call: a name of `viewers` that makes a widget.
"""

from __future__ import annotations

import pytest

import lab as harness
from voco_lite import notebooks
from widget_cells import calls, cells_with_widgets

# Waits poll; their sum may exceed the time that other tests get.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

SOURCES = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === "code").map(cell => cell.model.sharedModel.source)"""
WORDS = ("A slender person.", "Native CT without contrast.", "Nonsense.")
WITHOUT_WEBGL = ("00_setup", "02_base_crops_and_position_labels", "gallery")


def needs_webgl(source):
    """Whether a cell shows a volume by what `view` takes where nothing else is asked for."""
    return "view" in calls(source) and not any(f'"{plain}"' in source for plain in ("slices", "static"))


RUNS = [(name, True) for name in notebooks.names() if cells_with_widgets(name)]
RUNS += [(name, False) for name in WITHOUT_WEBGL]


@pytest.fixture(scope="module", params=RUNS, ids=[f"{name}-{'webgl' if gl else 'no_webgl'}" for name, gl in RUNS])
def opened(request, lab, browsers):
    """A notebook in the browser, with all of its cells run."""
    name, webgl = request.param
    seen = browsers.page(webgl, lab)
    seen.name, seen.webgl = name, webgl
    seen.open_notebook(lab.put(name, f"{name}-webgl-{webgl}"))
    seen.run_all()
    yield seen
    seen.shut_down()


def widgets(seen):
    """The outputs that are widgets with a picture, each with the source of its cell."""
    sources = seen.page.evaluate(SOURCES)
    cells = seen.page.locator(".jp-Notebook .jp-CodeCell").all()
    outputs = [cell.locator(harness.WIDGET).all() for cell in cells]
    return [(source, widget) for source, shown in zip(sources, outputs, strict=True) for widget in shown]


def test_every_cell_runs_without_an_error(opened):
    assert opened.said() == "" and opened.page.evaluate("() => window.ranAll") is True, opened.server.tail()


def test_every_cell_that_makes_a_widget_shows_one(opened):
    made, shown = cells_with_widgets(opened.name), [source for source, _ in widgets(opened)]
    assert made and [source for source in made if source not in shown] == [], opened.server.tail()


def test_every_widget_shows_a_picture(opened):
    for source, widget in widgets(opened):
        in_3d = opened.webgl and needs_webgl(source)
        png = harness.drawn(widget) if in_3d else harness.pixels(widget.locator("img").first)
        assert png is not None and not harness.is_blank(png), f"no picture, or a blank one: {source}"


def test_every_slider_of_every_widget_moves_its_picture(opened):
    sliders = [
        (source, widget, number)
        for source, widget in widgets(opened)
        for number in range(widget.locator(harness.SLIDER).count())
    ]
    still = [
        f"slider {number}: {source}" for source, widget, number in sliders if not harness.moves_picture(widget, number)
    ]
    # A notebook all of whose widgets are scenes in 3-D is turned by the pointer, and has no slider.
    flat = [source for source, _ in widgets(opened) if not (opened.webgl and needs_webgl(source))]
    assert (sliders or not flat) and not still, f"no answer to the keyboard: {still}\n{opened.server.tail()}"


def test_every_text_box_of_a_widget_moves_its_picture(opened):
    boxes = [
        (source, widget, number)
        for source, widget in widgets(opened)
        for number in range(widget.locator(harness.TEXT_BOX).count())
    ]
    still = [source for source, widget, number in boxes if not harness.answers_words(widget, WORDS, number)]
    assert not still, f"no answer to words: {still}\n{opened.server.tail()}"
    assert len(boxes) == (opened.name == "10_align")


def test_every_question_for_webgl_is_answered(opened):
    answer = "yes, drawn by" if opened.webgl else "no, this browser has no WebGL 2"
    answered = opened.page.locator(".jp-OutputArea-output div[role=status]", has_text=answer)
    asked = [source for source in opened.page.evaluate(SOURCES) if "webgl_report" in calls(source)]
    for number in range(len(asked)):
        answered.nth(number).wait_for(timeout=harness.MOVE_S * 1000)
    assert answered.count() == len(asked) == (opened.name == "00_setup")


def test_the_page_raised_no_error(opened):
    assert opened.errors == []


def test_nothing_was_asked_of_another_machine(opened):
    assert opened.outside == []
