"""The app without a browser: choices make explorers, and wrong ones are explained."""

import pytest

import voco_lite as vl
from voco_lite.viewers import app as apps

CONFIG = vl.PretrainConfig.preset("ci")


@pytest.fixture
def app(tmp_path):
    return apps.PositionApp(tmp_path, CONFIG)


def press(app, **choices):
    for name, value in choices.items():
        getattr(app, name).value = value
    app.button.click()


def test_the_app_begins_with_a_body_and_true_overlaps(app):
    assert app.explorer is app.children[-1] and app.explorer.predicted is None and app.message.value == ""


def test_an_untrained_network_predicts(app):
    press(app, network=apps.UNTRAINED)
    assert app.explorer.predicted is not None and len(app.explorer.predicted) == 9


def test_a_trained_network_is_found_below_the_runs_and_brings_its_configuration(tmp_path):
    config = CONFIG.changed(cells=(2, 2, 1))
    vl.save_checkpoint(tmp_path / "mine" / "first" / "final.pt", vl.VoCo(config))
    app = apps.PositionApp(tmp_path, CONFIG)
    press(app, network="trained: mine/first")
    assert len(app.explorer.predicted) == 4


def test_a_file_is_shown(app, tmp_path):
    vl.save_volume(vl.samples.phantom(0, (24, 24, 24)), tmp_path / "scan.nii.gz")
    press(app, volume=apps.FILE, file=str(tmp_path / "scan.nii.gz"))
    assert app.message.value == "" and app.explorer.volume.source.endswith("scan.nii.gz")


@pytest.mark.parametrize(
    ("file", "message"), [("", "must be named, got nothing"), ("no<where>.nii", "no&lt;where&gt;.nii")]
)
def test_a_wrong_file_is_explained_and_the_explorer_stays(app, file, message):
    before = app.explorer
    press(app, volume=apps.FILE, file=file)
    assert message in app.message.value and app.children[-1] is before


def test_a_right_choice_takes_the_explanation_away(app):
    press(app, volume=apps.FILE, file="")
    press(app, volume=apps.DRAWN)
    assert app.message.value == ""


def test_the_real_ct_is_asked_for_where_it_was_not_fetched(app, tmp_path, monkeypatch):
    monkeypatch.setenv("VOCO_LITE_DATA", str(tmp_path / "empty"))
    press(app, volume=apps.WARPED)
    assert "samples fetch" in app.message.value
