"""`make app` in a real browser: the page loads without another machine, and its sliders move the picture."""

import sys

import pytest

import lab as harness

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def app(tmp_path_factory, browsers):
    """The page of the app, with its first picture."""
    home = tmp_path_factory.mktemp("app")
    options = "APP_OPTIONS=--no-browser --port={port} --port_retries=0"
    # The environment is there: this test runs in it.
    command = ["make", "--old-file=setup", "app", f"PY={sys.executable}", options]
    with harness.serve(home, command, "/voila/static/none") as server:
        seen = browsers.page(False, server)
        seen.page.goto(server.address, timeout=harness.START_S * 1000)
        try:
            seen.page.wait_for_selector("img.widget-image", timeout=harness.CELLS_S * 1000)
        except Exception as error:
            pytest.fail(f"The app showed no picture: {error}\n{server.tail()}")
        yield seen
        seen.shut_down()


def test_the_app_shows_a_picture(app):
    png = harness.pixels(app.page.locator("img").first)
    assert png is not None and not harness.is_blank(png)


def test_every_slider_of_the_app_moves_its_picture(app):
    page = app.page.locator("body")
    count = page.locator(harness.SLIDER).count()
    still = [number for number in range(count) if not harness.moves_picture(page, number)]
    # Along x and y, and of the block: crops as deep as the block do not move along z.
    assert count == 3 and not still, f"no answer to the keyboard: {still}\n{app.server.tail()}"


def test_the_app_raised_no_error(app):
    assert app.errors == []


def test_the_app_asks_nothing_of_another_machine(app):
    assert app.outside == []
