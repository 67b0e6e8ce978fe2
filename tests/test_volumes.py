"""Reading, preparing and saving volumes, the way back to the file's grid, and folders of scans."""

import gzip
import itertools
import os
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import ScaleIntensityRange
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

import voco_lite.volumes.folder as folder_module
import voco_lite.volumes.scan as scan_module
from voco_lite.config import CropConfig, PretrainConfig, VolumeConfig
from voco_lite.dataset import VoCoDataset
from voco_lite.volumes import (
    WINDOWS,
    Space,
    Volume,
    VolumeFolder,
    find_scans,
    load_volume,
    load_volumes,
    prepare,
    resampling,
    save_map,
    save_volume,
)
from voco_lite.volumes.cache import as_kept
from voco_lite.volumes.resampling import resample

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no real scans at hand")
RAW = VolumeConfig(intensity="none", spacing=None, foreground=None)
SIZE = (11, 9, 7)
AFFINE = np.array([[2.0, 0, 0, -15], [0, 2.5, 0, 4], [0, 0, 3, 100], [0, 0, 0, 1]])
MOVED = AFFINE + np.outer([5, 0, 0, 0], [0, 0, 0, 1])
ORIENTATIONS = [
    "".join(pairs[axis][side] for axis, side in zip(axes, sides, strict=True))
    for pairs in [("LR", "PA", "IS")]
    for axes in itertools.permutations(range(3))
    for sides in itertools.product((0, 1), repeat=3)
]


def torso(shape=SIZE, seed=0):
    """Noise in HU in RAS order, with a bright voxel on the patient's right, at the front, near the head."""
    hu = np.random.default_rng(seed).integers(-300, 300, shape).astype(np.int16)
    hu[-2, -2, -2] = 1500
    return hu


def write(path, array, affine=AFFINE):
    image = nibabel.Nifti1Image(array, affine)
    nibabel.save(image, path)
    return path


def turned(array, affine, codes):
    """The same scan, stored with other axes."""
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    return nibabel.orientations.apply_orientation(array, turn), affine @ inv_ornt_aff(turn, array.shape)


def smooth(shape=(40, 36, 20), seed=1):
    """A body of smooth HU in air, as a scan whose axes run to the left and the back."""
    rng = np.random.default_rng(seed)
    waves = sum(
        200 * np.sin(f * np.arange(n) / 5).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (n, f) in enumerate(zip(shape, rng.uniform(0.5, 1.5, 3), strict=True))
    )
    hu = np.full(shape, -1000.0)
    inside = tuple(slice(4, n - 3) for n in shape)
    hu[inside] = waves[inside]
    return hu.astype(np.int16), np.array([[-1.9, 0, 0, 30], [0, -2.3, 0, 40], [0, 0, 4.0, -20], [0, 0, 0, 1]])


def volume(data=None, **changes):
    data = torch.from_numpy(torso()).float()[None] if data is None else data
    return Volume(**{"data": data, "affine": torch.from_numpy(AFFINE), "source": "test", **changes})


# Orientation


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_is_read_into_the_same_place(tmp_path, codes):
    array, affine = turned(torso(), AFFINE, codes)
    assert "".join(nibabel.aff2axcodes(affine)) == codes
    read = load_volume(write(tmp_path / "scan.nii", array, affine))
    assert read.data.shape == (1, *SIZE)
    np.testing.assert_array_equal(read.data[0].numpy(), torso())
    np.testing.assert_allclose(read.affine.numpy(), AFFINE, atol=1e-4)


@pytest.mark.parametrize("codes", ["LPS", "SRA", "PIL"])
def test_a_volume_goes_back_to_the_axes_of_its_file(tmp_path, codes):
    array, affine = turned(torso(), AFFINE, codes)
    read = load_volume(write(tmp_path / "scan.nii.gz", array, affine))
    assert read.original.shape == array.shape
    np.testing.assert_array_equal(read.to_original(read.data[0].int()).numpy(), array)


def test_the_first_axis_grows_toward_the_patients_right(tmp_path):
    read = load_volume(write(tmp_path / "scan.nii", *turned(torso(), AFFINE, "LPI")))
    x, y, z = np.unravel_index(int(read.data.argmax()), read.shape)
    assert (x, y, z) == (SIZE[0] - 2, SIZE[1] - 2, SIZE[2] - 2)
    assert nibabel.aff2axcodes(read.affine.numpy()) == ("R", "A", "S")


def test_an_oblique_scan_keeps_every_voxel_at_its_place(tmp_path):
    tilt = nibabel.eulerangles.euler2mat(0.3, -0.2, 0.1)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = tilt @ np.diag([-2.0, 2.5, 3.0]), (10, -20, 30)
    array = torso()
    read = load_volume(write(tmp_path / "scan.nii", array, affine))
    place = affine @ [SIZE[0] - 2, SIZE[1] - 2, SIZE[2] - 2, 1]
    voxel = np.unravel_index(int(read.data.argmax()), read.shape)
    np.testing.assert_allclose(read.affine.numpy() @ [*voxel, 1], place, atol=1e-3)


def test_labels_stored_with_other_axes_than_the_scan_are_turned_onto_it(tmp_path):
    labels = (torso() > 0).astype(np.uint8)
    scan = write(tmp_path / "scan.nii", *turned(torso(), AFFINE, "LPS"))
    ids = write(tmp_path / "labels.nii", *turned(labels, AFFINE, "SAR"))
    read = load_volume(scan, labels=ids)
    assert torch.equal(read.labels.bool(), read.data[0] > 0)


# Preparation


@pytest.mark.parametrize(
    ("intensity", "hu", "expected"),
    [
        ("ct-abdomen", [-1000, -175, -68.75, 37.5, 250, 3000], [0, 0, 0.25, 0.5, 1, 1]),
        ("ct-chest", [-1024, -1000, -625, -250, 500, 900], [0, 0, 0.25, 0.5, 1, 1]),
        ("none", [-1000, 0, 1, 2, 3, 4], [-1000, 0, 1, 2, 3, 4]),
    ],
)
def test_windows_map_known_values(intensity, hu, expected):
    data = torch.tensor(hu).float().reshape(1, 6, 1, 1).expand(1, 6, 2, 2)
    prepared = prepare(volume(data), VolumeConfig(intensity, spacing=None, foreground=None))
    torch.testing.assert_close(prepared.data[0, :, 0, 0], torch.tensor(expected).float())
    assert prepared.units == ("HU" if intensity == "none" else "prepared")


@pytest.mark.parametrize("window", [(-175.0, 250.0), (0.0, 600.0), (900.0, 1400.0)])
def test_a_window_of_two_numbers_is_mapped_as_by_monai(window):
    data = torch.linspace(-1200, 3000, 13 * 9 * 7).reshape(1, 13, 9, 7)
    found = prepare(volume(data), VolumeConfig(window, spacing=None, foreground=None))
    expected = ScaleIntensityRange(*window, b_min=0.0, b_max=1.0, clip=True)(data)
    torch.testing.assert_close(found.data, expected)
    assert found.units == "prepared"


def test_mr_is_mapped_by_percentiles_of_what_is_above_the_background():
    data = torch.zeros(1, 20, 20, 10)
    data[:, :10] = torch.arange(1.0, 2001).reshape(10, 20, 10)
    prepared = prepare(volume(data, units="stored"), VolumeConfig("mr", spacing=None, foreground=None))
    low, high = np.percentile(np.arange(1, 2001), (0.5, 99.5))
    torch.testing.assert_close(prepared.data, ((data - low) / (high - low)).clamp(0, 1))


@pytest.mark.parametrize("spacing", [(1.0, 2.5, 1.5), (3.0, 3.0, 3.0)])
def test_resampled_voxels_show_what_lies_at_their_place(spacing):
    points = torch.stack(torch.meshgrid(*(torch.arange(n).double() for n in (16, 15, 14)), indexing="ij"), -1)
    slope = torch.tensor([1.0, -2, 0.5]).double()
    affine = torch.from_numpy(AFFINE)
    data = ((points @ affine[:3, :3].T + affine[:3, 3]) @ slope).float()[None]
    result = prepare(volume(data), VolumeConfig("none", spacing, foreground=None))
    grid = torch.stack(torch.meshgrid(*(torch.arange(n).double() for n in result.shape), indexing="ij"), -1)
    mm = grid @ result.affine[:3, :3].T + result.affine[:3, 3]
    inner = (slice(1, -1),) * 3
    assert result.spacing == pytest.approx(spacing)
    torch.testing.assert_close(result.data[0][inner].double(), (mm @ slope)[inner], atol=1e-2, rtol=0)


def test_resized_voxels_show_what_lies_at_their_place():
    data = torch.arange(11.0).reshape(1, 11, 1, 1).expand(1, *SIZE).contiguous()
    result = prepare(volume(data), VolumeConfig("none", None, None, size=(21, 5, 7)))
    place = result.affine[0, 0] * torch.arange(21) + result.affine[0, 3]
    torch.testing.assert_close(result.data[0, :, 0, 0].double() * 2 - 15, place)


def test_foreground_is_the_box_of_what_lies_above_the_threshold():
    data = torch.full((1, *SIZE), -1000.0)
    data[0, 3:7, 2:5, 1:6] = 100
    result = prepare(volume(data), VolumeConfig(spacing=None))
    assert result.shape == (4, 3, 5) and float(result.data.min()) > 0.6
    np.testing.assert_allclose(result.affine[:3, 3], AFFINE[:3, :3] @ [3, 2, 1] + AFFINE[:3, 3])


def reference(path, config):
    """The released preparation, as a MONAI pipeline."""
    from monai.transforms import (
        Compose,
        CropForeground,
        EnsureChannelFirst,
        LoadImage,
        Orientation,
        Resize,
        ScaleIntensityRange,
        Spacing,
    )

    steps = [LoadImage(dtype=np.int16, image_only=True), EnsureChannelFirst(), Orientation("RAS", labels=None)]
    if config.spacing is not None:
        steps.append(Spacing(config.spacing, mode="bilinear"))
    steps.append(ScaleIntensityRange(-175, 250, 0.0, 1.0, clip=True))
    steps.append(CropForeground(select_fn=lambda x: x > config.foreground))
    if config.size is not None:
        steps.append(Resize(config.size, mode="trilinear", align_corners=True))
    return Compose(steps)(str(path))


@pytest.mark.parametrize(
    ("preset", "size"), [("cvpr24", (48, 40, 12)), ("tpami25-B", None), ("tpami25-B", (24, 24, 8))]
)
def test_preparation_equals_the_released_monai_pipeline(tmp_path, preset, size):
    config = PretrainConfig.preset(preset, size=size).volume
    path = write(tmp_path / "scan.nii.gz", *smooth())
    ours, theirs = load_volume(path, config), reference(path, config)
    torch.testing.assert_close(ours.data, theirs.as_tensor(), atol=2e-4, rtol=0)
    np.testing.assert_allclose(ours.affine.numpy(), theirs.affine.numpy(), atol=1e-4)


def test_labels_are_resampled_like_monai_does():
    from monai.data import MetaTensor
    from monai.transforms import Spacing

    labels = torch.randint(0, 200, SIZE, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    ours = prepare(volume(labels=labels), VolumeConfig("none", (1.31, 1.1, 1.7), None))
    theirs = Spacing((1.31, 1.1, 1.7), mode="nearest")(
        MetaTensor(labels[None].float(), affine=torch.from_numpy(AFFINE))
    )
    assert ours.labels.dtype == torch.uint8
    assert (ours.labels == theirs[0].as_tensor()).float().mean() > 0.999


def test_labels_stay_on_the_organ_through_the_whole_preparation(tmp_path):
    hu, affine = smooth()
    ids = np.where(hu > 40, 7, np.where(hu > -500, 3, 0)).astype(np.uint8)
    scan, labels = write(tmp_path / "scan.nii", hu, affine), write(tmp_path / "labels.nii", ids, affine)
    result = load_volume(scan, VolumeConfig(size=(40, 40, 40)), labels, {7: "dense"})
    dense = (result.data[0] > (40 + 175) / 425) == (result.labels == 7)
    assert dense.float().mean() > 0.9 and set(result.labels.unique().tolist()) <= {0, 3, 7}
    assert result.label_names == {7: "dense"}


def test_preparation_leaves_the_volume_as_it_was():
    raw = volume()
    before = raw.data.clone()
    prepare(raw, VolumeConfig(size=(8, 8, 8)))
    assert torch.equal(raw.data, before) and raw.units == "HU" and raw.original is None


def test_prepared_tensors_are_plain():
    result = prepare(volume(labels=torch.zeros(SIZE, dtype=torch.uint8)), VolumeConfig(size=(8, 8, 8)))
    assert {type(result.data), type(result.labels), type(result.affine)} == {torch.Tensor}


# Back to the original grid


def test_what_is_computed_on_the_prepared_grid_goes_back_to_the_file(tmp_path):
    hu, affine = smooth()
    prepared = load_volume(write(tmp_path / "scan.nii", hu, affine), VolumeConfig(size=(80, 72, 60)))
    back = prepared.to_original(prepared.data)
    expected = np.clip((hu + 175) / 425, 0, 1)
    assert back.shape == (1, *hu.shape)
    assert np.abs(back[0].numpy() - expected)[6:-6, 6:-6, 6:-6].max() < 0.1
    assert not back[:, :3].any()  # air, which was cut away


def test_labels_go_back_to_the_file_without_new_values(tmp_path):
    hu, affine = smooth()
    ids = np.where(hu > -500, np.where(hu > 0, 90, 5), 0).astype(np.uint8)
    path, labels = write(tmp_path / "scan.nii", hu, affine), write(tmp_path / "labels.nii", ids, affine)
    prepared = load_volume(path, VolumeConfig(size=(80, 72, 60)), labels)
    back = prepared.to_original(prepared.labels)
    assert back.dtype == torch.uint8 and set(back.unique().tolist()) <= {0, 5, 90}
    assert (back.numpy() == ids).mean() > 0.97


def test_what_was_cut_away_is_0_on_the_original_grid():
    data = torch.full((1, *SIZE), -1000.0)
    data[0, 3:7, 2:5, 1:6] = 100
    prepared = prepare(volume(data), VolumeConfig(spacing=None))
    back = prepared.to_original(torch.ones(2, *prepared.shape, dtype=torch.bool))
    assert back.shape == (2, *SIZE) and torch.equal(back[0], data[0] > 0)


@pytest.mark.parametrize("kind", [torch.float32, torch.uint8])
def test_parallel_grids_are_sampled_like_turned_ones(kind):
    values = (200 * torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(0))).to(kind)
    to_voxel = torch.tensor([[0, 0, 0.61, -1.3], [-0.83, 0, 0, 9.4], [0, 0.37, 0, 0.21], [0, 0, 0, 1]]).double()
    fast, slow = resample(values, to_voxel, (12, 17, 20)), resampling._anywhere(values, to_voxel, (12, 17, 20))
    assert fast.any() and not fast.all()
    torch.testing.assert_close(fast, slow, atol=2e-3, rtol=0)


def test_a_sheared_scan_goes_back_to_its_grid(tmp_path):
    affine = AFFINE @ np.array([[1, 0, 0, 0], [0, 1, 0.4, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    points = np.stack(np.meshgrid(*(np.arange(n) for n in (20, 20, 12)), indexing="ij"), -1)
    mm = points @ affine[:3, :3].T + affine[:3, 3]
    prepared = load_volume(
        write(tmp_path / "scan.nii", mm[..., 1], affine), VolumeConfig("none", (2.0, 2.0, 2.0), None)
    )
    back = prepared.to_original(prepared.data)[0].numpy()
    assert np.abs(back - mm[..., 1])[3:-3, 3:-3, 3:-3].max() < 0.1


def test_a_map_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"values must end in this volume's shape \(11, 9, 7\), got \(4, 4, 4\)"):
        volume().to_original(torch.zeros(4, 4, 4))


# Saving


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_saved_volume_is_read_back(tmp_path, name):
    saved = volume(labels=torch.from_numpy(torso() > 0).to(torch.uint8))
    save_volume(saved, tmp_path / "new" / name, tmp_path / "labels.nii.gz")
    read = load_volume(tmp_path / "new" / name, labels=tmp_path / "labels.nii.gz")
    assert torch.equal(read.data, saved.data) and torch.equal(read.labels, saved.labels)
    torch.testing.assert_close(read.affine, saved.affine, atol=1e-4, rtol=0)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


def test_a_prediction_is_saved_on_the_grid_of_the_file(tmp_path):
    array, affine = turned(torso(), AFFINE, "LSP")
    read = load_volume(write(tmp_path / "scan.nii", array, affine))
    save_map(read.to_original(read.data[0] > 0), read.original, tmp_path / "prediction.nii.gz")
    saved = nibabel.load(tmp_path / "prediction.nii.gz")
    np.testing.assert_array_equal(saved.get_fdata(), array > 0)
    np.testing.assert_allclose(saved.affine, affine, atol=1e-4)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_volume(volume(), tmp_path / "scan.nii")
    before = path.read_bytes()

    def broken(image, target):
        Path(target).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nibabel, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        save_volume(volume(torch.zeros(1, *SIZE)), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: save_volume(volume(), path / "scan.mha"), "must end in .nii or .nii.gz, got 'scan.mha'"),
        (lambda path: save_volume(volume(torch.zeros(2, *SIZE)), path / "a.nii"), "must have one channel"),
        (lambda path: save_volume(volume(), path / "a.nii", path / "b.nii"), "must have labels to save, got none"),
        (
            lambda path: save_map(torch.zeros(2, 2, 2), Space(torch.eye(4).double(), (3, 3, 3)), path / "a.nii"),
            "values must have the grid's shape",
        ),
    ],
)
def test_what_cannot_be_saved_is_refused(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


# Volumes that are refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": torch.zeros(4, 4, 4)}, r"Add a channel with volume\[None\]"),
        ({"data": torch.zeros(1, 4, 4, 4, dtype=torch.int16)}, r"Convert with data.float\(\)"),
        ({"affine": torch.eye(4)}, "must be a \\(4, 4\\) float64 tensor, got \\(4, 4\\) of torch.float32"),
        ({"affine": torch.diag(torch.tensor([1.0, 0, 1, 1]).double())}, "voxel size of test must be positive"),
        ({"affine": torch.eye(4).double() * torch.nan}, "voxel size of test must be positive"),
        ({"labels": torch.zeros(4, 4, 4, dtype=torch.uint8)}, r"labels must have the shape \(11, 9, 7\)"),
    ],
)
def test_a_volume_that_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        volume(**changes)


def test_a_prepared_volume_is_not_prepared_again():
    prepared = prepare(volume(), VolumeConfig(spacing=None))
    with pytest.raises(ValueError, match="prepared already"):
        prepare(prepared, VolumeConfig(spacing=None))


def test_a_volume_without_foreground_is_refused():
    with pytest.raises(ValueError, match="voxel above the foreground threshold 0 .* got at most 0"):
        prepare(volume(torch.full((1, *SIZE), -1000.0)), VolumeConfig(spacing=None))


def test_a_constant_mr_is_refused():
    with pytest.raises(ValueError, match="intensities of test must differ"):
        prepare(volume(torch.zeros(1, *SIZE)), VolumeConfig("mr", None, None))


def test_intensities_that_cannot_be_hu_are_warned_about():
    with pytest.warns(UserWarning, match="test holds no intensity below 0"):
        prepare(volume(torch.rand(1, *SIZE)), VolumeConfig(spacing=None))


# Files that are refused


def with_header(path, **fields):
    """A NIfTI file whose header says something else than what follows it."""
    header = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)).header
    header["magic"], header["vox_offset"] = b"n+1", 352
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + b"\0" * 4 + bytes(64)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def array_file(array, affine=AFFINE):
    return lambda path: write(path / "scan.nii.gz", array, affine)


def bytes_file(name, content):
    def make(path):
        (path / name).write_bytes(content)
        return path / name

    return make


def cut_short(path):
    whole = write(path / "whole.nii.gz", torso((40, 40, 40))).read_bytes()
    return bytes_file("scan.nii.gz", whole[: len(whole) // 2])(path)


def cut_short_plain(path):
    whole = write(path / "whole.nii", torso((40, 40, 40))).read_bytes()
    return bytes_file("scan.nii", whole[: len(whole) // 2])(path)


def colours(path):
    rgb = np.zeros((5, 5, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return write(path / "scan.nii.gz", rgb)


def not_finite(value):
    array = torso().astype(np.float32)
    array[1, 2, 3] = value
    return array_file(array)


REFUSED = {
    "empty": (bytes_file("scan.nii", b""), "must be a NIfTI file, got an empty file"),
    "empty gzip": (bytes_file("scan.nii.gz", b""), "must be a NIfTI file, got an empty file"),
    "text": (bytes_file("scan.nii", b"patient,age\n" * 100), "must be a NIfTI file, got another format"),
    "text named gz": (bytes_file("scan.nii.gz", b"patient,age\n"), "must be a gzipped NIfTI file"),
    "gzip named nii": (bytes_file("scan.nii", gzip.compress(bytes(600))), "Rename it to .nii.gz"),
    "cut short, gzip": (cut_short, "cut short or damaged"),
    "cut short": (cut_short_plain, "cut short or damaged"),
    "2-D": (array_file(np.zeros((8, 9), np.int16)), r"at least 2 voxels along every axis, got shape \(8, 9\)"),
    "one slice": (array_file(np.zeros((8, 9, 1), np.int16)), r"got shape \(8, 9, 1\)"),
    "4-D": (array_file(np.zeros((5, 6, 7, 3), np.int16)), r"got shape \(5, 6, 7, 3\). Take one of its images"),
    "colours": (colours, r"one number per voxel, got colours \(R, G, B\)"),
    "complex": (array_file(np.zeros((5, 5, 5), np.complex64)), "one number per voxel, got complex64"),
    "NaN": (not_finite(np.nan), "must be a finite number, got 1 that are NaN or infinite"),
    "infinite": (not_finite(-np.inf), "must be a finite number, got 1 that are NaN or infinite"),
    "no spacing": (
        lambda path: with_header(path / "scan.nii", sform_code=1, srow_x=[2, 0, 0, 0], srow_y=0, srow_z=[0, 0, 3, 0]),
        "voxel size of .* must be positive",
    ),
    "gzip bomb": (
        lambda path: with_header(path / "scan.nii.gz", dim=[3, 20000, 20000, 20000, 1, 1, 1, 1]),
        r"at most 536,870,912 voxels, got 8,000,000,000,000 .* it was not read",
    ),
    "far voxels": (lambda path: with_header(path / "scan.nii.gz", vox_offset=4e9), "must begin within the first"),
    "negative size": (lambda path: with_header(path / "scan.nii", dim=[3, -4, 4, 4, 1, 1, 1, 1]), "got shape|header"),
    "another format": (bytes_file("scan.mha", b"ObjectType = Image"), "must be a scan that can be read, got scan.mha"),
    "one DICOM file": (bytes_file("slice.dcm", b""), "one slice, which has no depth"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path, case):
    make, message = REFUSED[case]
    path = make(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        load_volume(path)
    assert path.name in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*scan\.nii\.gz"):
        load_volume(tmp_path / "scan.nii.gz")


def test_a_link_to_itself_is_named(tmp_path):
    (tmp_path / "scan.nii.gz").symlink_to(tmp_path / "scan.nii.gz")
    with pytest.raises(FileNotFoundError, match=r"scan\.nii\.gz.* is a link whose target is missing"):
        load_volume(tmp_path / "scan.nii.gz")


def test_a_voxel_limit_is_kept_before_anything_is_read(tmp_path, monkeypatch):
    path = write(tmp_path / "scan.nii.gz", torso())
    monkeypatch.setattr(scan_module, "VOXEL_LIMIT", 100)
    monkeypatch.setattr(nibabel, "load", lambda path: pytest.fail("it was read"))
    with pytest.raises(ValueError, match=r"at most 100 voxels, got 693 \(\(11, 9, 7\)\)"):
        load_volume(path)


def test_one_image_with_a_fourth_axis_of_one_is_read(tmp_path):
    assert load_volume(write(tmp_path / "scan.nii.gz", torso()[..., None])).shape == SIZE


def test_scaled_integers_are_read_in_their_units(tmp_path):
    image = nibabel.Nifti1Image(np.full(SIZE, 100, np.int16), AFFINE)
    image.header.set_slope_inter(2, -1024)
    nibabel.save(image, tmp_path / "scan.nii")
    assert load_volume(tmp_path / "scan.nii").data.unique().tolist() == [2 * 100 - 1024]


def test_a_file_that_does_not_say_how_it_lies_is_warned_about(tmp_path):
    with pytest.warns(UserWarning, match="left and right may be swapped"):
        load_volume(with_header(tmp_path / "scan.nii", sform_code=0, qform_code=0))


@pytest.mark.parametrize(
    ("labels", "affine", "message"),
    [
        (np.zeros((4, 4, 4), np.uint8), AFFINE, "must lie on the grid of the scan"),
        (np.zeros(SIZE, np.uint8), MOVED, "must lie on the grid of the scan"),
        (np.full(SIZE, 0.5, np.float32), AFFINE, "must be whole numbers from 0 to 32767, got 0.5 to 0.5"),
        (np.full(SIZE, -3, np.int16), AFFINE, "must be whole numbers from 0 to 32767, got -3 to -3"),
    ],
)
def test_labels_that_do_not_fit_the_scan_are_refused(tmp_path, labels, affine, message):
    scan = write(tmp_path / "scan.nii", torso())
    with pytest.raises(ValueError, match=message):
        load_volume(scan, labels=write(tmp_path / "labels.nii", labels, affine))


# DICOM


def slice_file(path, pixels, place, series="1.2.3", **tags):
    """One CT slice; pixels are (x, y), the patient's left and back are positive."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.SeriesInstanceUID, data.PatientName = "CT", series, "Nobody^Anna"
    data.Columns, data.Rows = pixels.shape
    data.ImagePositionPatient, data.ImageOrientationPatient = list(place), [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [2.5, 1.5]  # between rows (y), between columns (x)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.InstanceNumber = int(place[2]) + 100
    data.RescaleSlope, data.RescaleIntercept = 2, -1024
    data.PixelData = np.ascontiguousarray(pixels.T).astype(np.uint16).tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


STORED = np.random.default_rng(3).integers(0, 1500, (7, 6, 5))


def series_folder(folder, leave_out=(), name="{}.dcm", **tags):
    """Five slices, 4 mm apart, whose names do not follow their places."""
    folder.mkdir(exist_ok=True)
    for i, number in enumerate((3, 0, 4, 1, 2)):
        if number not in leave_out:
            slice_file(folder / name.format(i), STORED[..., number], (-20, 30, 4 * number - 8), **tags)
    return folder


def test_a_dicom_series_is_sorted_scaled_and_turned_into_ras(tmp_path):
    read = load_volume(series_folder(tmp_path / "series"))
    assert read.units == "HU" and read.spacing == (1.5, 2.5, 4.0)
    np.testing.assert_array_equal(read.data[0].numpy(), (STORED * 2 - 1024)[::-1, ::-1])
    np.testing.assert_allclose(read.affine[:3, 3], [20 - 6 * 1.5, -30 - 5 * 2.5, -8])


def test_a_dicom_series_is_read_like_monai_does(tmp_path):
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation

    folder = series_folder(tmp_path / "series")
    steps = [LoadImage(reader="PydicomReader"), EnsureChannelFirst(), Orientation("RAS", labels=None)]
    theirs, ours = Compose(steps)(str(folder)), load_volume(folder)
    np.testing.assert_array_equal(ours.data.numpy(), theirs.numpy())
    np.testing.assert_allclose(ours.affine.numpy(), theirs.affine.numpy(), atol=1e-5)


def test_nothing_about_the_patient_is_kept(tmp_path):
    assert load_volume(series_folder(tmp_path / "series")).attributes == {"modality": "CT"}


@pytest.mark.parametrize("name", ["{}.dcm", "{}.IMA", "slice{}", "CT.1.3.12.{}"])
def test_slices_are_found_whatever_their_names(tmp_path, name):
    folder = series_folder(tmp_path / "series", name=name)
    (folder / "notes.txt").write_text("not a slice")
    (folder / "LICENSE").write_text("not a slice either")
    assert find_scans(tmp_path) == [folder] and load_volume(folder).shape == (7, 6, 5)


def test_one_of_several_series_is_read_by_its_name(tmp_path):
    series_folder(tmp_path / "mixed")
    slice_file(tmp_path / "mixed" / "scout.dcm", STORED[..., 0], (0, 0, 0), series="9.9")
    assert load_volume(tmp_path / "mixed", series="1.2.3").shape == (7, 6, 5)


def folder_with(**tags):
    return lambda path: series_folder(path / "series", **tags)


def with_odd_slice(**tags):
    def make(path):
        folder = series_folder(path / "series", leave_out=(4,))
        slice_file(folder / "odd.dcm", STORED[..., 4], (-20, 30, 8), **tags)
        return folder

    return make


def with_file(name, content):
    def make(path):
        folder = series_folder(path / "series")
        (folder / name).write_bytes(content)
        return folder

    return make


def again(path):
    folder = series_folder(path / "series")
    slice_file(folder / "again.dcm", STORED[..., 2], (-20, 30, 0))
    return folder


REFUSED_SERIES = {
    "no slices": (lambda path: path, "must hold the slices of a DICOM series, got none"),
    "one slice": (folder_with(leave_out=(0, 1, 2, 3)), "at two or more places, each once, got one slice"),
    "a slice missing": (folder_with(leave_out=(2,)), "must be evenly spaced, got gaps of 4.00 to 8.00 mm"),
    "a slice twice": (again, "each once, got two slices at one place"),
    "two series": (with_odd_slice(series="9.9"), r"must hold one DICOM series, got 2: .*9\.9 \(1 files\)"),
    "another tilt": (with_odd_slice(ImageOrientationPatient=[1, 0, 0, 0, 0.9, 0.436]), "same ImageOrientationPatient"),
    "other pixels": (with_odd_slice(PixelSpacing=[2.5, 1.0]), r"same PixelSpacing, got \[2\.5, 1\.0\] in .*odd\.dcm"),
    "no pixel size": (
        with_odd_slice(PixelSpacing=None),
        r"odd\.dcm must say where its one slice lies, got none of Pixel",
    ),
    "several frames": (with_odd_slice(NumberOfFrames=4), r"odd\.dcm must hold one slice with one number per pixel"),
    "colours": (with_odd_slice(SamplesPerPixel=3), r"odd\.dcm must hold one slice with one number per pixel"),
    "no pixels": (with_odd_slice(PixelData=None), r"odd\.dcm must hold pixels that can be decoded"),
    "pixels cut short": (with_odd_slice(PixelData=b"\0\0"), r"odd\.dcm must hold pixels that can be decoded"),
    "text": (with_file("notes.dcm", b"patient,age\n" * 100), r"notes\.dcm must be a DICOM file"),
    "empty": (with_file("notes.dcm", b""), r"notes\.dcm must be a DICOM file"),
    "no size": (folder_with(PixelSpacing=[0.0, 1.5]), "voxel size of .* must be positive"),
}


@pytest.mark.parametrize("case", REFUSED_SERIES)
def test_a_series_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path, case):
    make, message = REFUSED_SERIES[case]
    with pytest.raises(ValueError, match=message):
        load_volume(make(tmp_path))


def test_a_deflated_slice_is_refused_before_it_is_inflated(tmp_path):
    import pydicom

    folder = series_folder(tmp_path / "series")
    data = pydicom.dcmread(folder / "0.dcm")
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    pydicom.dcmwrite(folder / "0.dcm", data)
    with pytest.raises(ValueError, match=r"0\.dcm must be a DICOM file, got: a deflated file"):
        load_volume(folder)


def test_a_series_larger_than_the_limit_is_refused_before_its_pixels_are_read(tmp_path):
    folder = series_folder(tmp_path / "series", Rows=60000, Columns=60000)
    with pytest.raises(ValueError, match=r"at most 536,870,912 voxels, got 18,000,000,000"):
        load_volume(folder)


# Folders


def scans(folder, n=3):
    for i in range(n):
        folder.joinpath(f"{'ab'[i % 2]}").mkdir(parents=True, exist_ok=True)
        write(folder / "ab"[i % 2] / f"scan_{i}.nii.gz", torso(seed=i))
    return folder


@pytest.fixture
def counted(monkeypatch):
    """Names of the scans that were read and prepared."""
    read = []

    def counting(path, config=None):
        read.append(Path(path).name)
        return load_volume(path, config)

    monkeypatch.setattr(folder_module, "load_volume", counting)
    return read


def test_a_folder_is_searched_with_its_subfolders_in_order_of_names(tmp_path):
    scans(tmp_path)
    series_folder(tmp_path / "aa")
    (tmp_path / "readme.txt").write_text("text")
    (tmp_path / ".hidden").mkdir()
    write(tmp_path / ".hidden" / "scan.nii", torso())
    names = [str(path.relative_to(tmp_path)) for path in find_scans(tmp_path)]
    assert names == ["a/scan_0.nii.gz", "a/scan_2.nii.gz", "aa", "b/scan_1.nii.gz"]


def test_a_pattern_chooses_scans_by_their_names(tmp_path):
    scans(tmp_path)
    assert [path.name for path in find_scans(tmp_path, "*_[12].nii.gz")] == ["scan_2.nii.gz", "scan_1.nii.gz"]


def test_paths_are_taken_in_the_order_given(tmp_path):
    paths = find_scans(scans(tmp_path))[::-1]
    assert [volume.source for volume in load_volumes(paths, RAW)] == [str(path) for path in paths]


def test_all_volumes_of_a_folder_are_loaded_and_prepared(tmp_path):
    loaded = load_volumes(scans(tmp_path), VolumeConfig(spacing=None, size=(8, 8, 8)), progress=False)
    assert [(volume.shape, volume.units) for volume in loaded] == [((8, 8, 8), "prepared")] * 3


def test_one_bad_file_of_a_folder_is_named(tmp_path):
    (scans(tmp_path) / "b" / "scan_9.nii.gz").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"scan_9\.nii\.gz must be a gzipped NIfTI file"):
        load_volumes(tmp_path, RAW, progress=False)


@pytest.mark.parametrize("pattern", [None, "*_ct.nii.gz"])
def test_a_folder_without_scans_is_refused(tmp_path, pattern):
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(ValueError, match="There must be scans in .*, got none"):
        VolumeFolder(tmp_path, RAW, pattern)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no scan .*nowhere"):
        VolumeFolder(tmp_path / "nowhere", RAW)


def test_a_link_back_to_a_folder_above_is_named(tmp_path):
    scans(tmp_path)
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ValueError, match=r"a/loop is a link that leads back to .* Delete the link"):
        find_scans(tmp_path)


def test_a_link_to_itself_in_a_folder_is_named_when_it_is_read(tmp_path):
    (scans(tmp_path) / "a" / "scan_5.nii.gz").symlink_to(tmp_path / "a" / "scan_5.nii.gz")
    with pytest.raises(FileNotFoundError, match=r"scan_5\.nii\.gz.* is a link whose target is missing"):
        load_volumes(tmp_path, RAW, progress=False)


def test_linked_folders_are_followed(tmp_path):
    scans(tmp_path / "real")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    assert len(find_scans(tmp_path / "data")) == 3


def test_ten_thousand_scans_open_without_being_read(tmp_path):
    for number in range(10_000):
        os.close(os.open(tmp_path / f"{number:05}.nii.gz", os.O_CREAT))
    folder = VolumeFolder(tmp_path, RAW)
    assert len(folder) == len(folder.sources) == 10_000 and folder[5000:].sources[0] == str(tmp_path / "05000.nii.gz")
    with pytest.raises(ValueError, match=r"00003\.nii\.gz must be a NIfTI file, got an empty file"):
        folder[3]


def test_a_folder_reads_a_volume_when_it_is_asked_for(tmp_path, counted):
    folder = VolumeFolder(scans(tmp_path), RAW)
    assert not counted and folder[1].source == folder.sources[1] and counted == ["scan_2.nii.gz"]


def test_a_slice_of_a_folder_is_a_folder(tmp_path, counted):
    part = VolumeFolder(scans(tmp_path), RAW)[1:]
    assert not counted and isinstance(part, VolumeFolder) and [v.source for v in part] == part.sources


def test_a_dataset_reads_a_folder_draw_by_draw(tmp_path, counted):
    folder = VolumeFolder(scans(tmp_path), VolumeConfig(spacing=None, size=(12, 12, 4)))
    data = VoCoDataset(folder, CropConfig(crop_size=(4, 4, 4)))
    assert data.sources == folder.sources and counted == ["scan_0.nii.gz"]
    assert data[2].source.startswith(folder.sources[2]) and counted == ["scan_0.nii.gz", "scan_1.nii.gz"]


def test_a_volume_that_does_not_go_with_the_first_is_named_when_it_is_drawn(tmp_path):
    class Two(VolumeFolder):
        def __getitem__(self, index):
            return volume(torch.zeros(1 + index, *SIZE), source=self.sources[index])

    data = VoCoDataset(Two(scans(tmp_path, 2), RAW), CropConfig(crop_size=(4, 4, 4)))
    with pytest.raises(ValueError, match=r"volumes must all be .*scan_1\.nii\.gz"):
        data[1]


# The cache of prepared volumes

CONFIG = VolumeConfig(spacing=(3.0, 3.0, 3.0), size=(8, 8, 8))


def cached(folder, config=CONFIG):
    return VolumeFolder(folder / "scans", config, cache=folder / "cache")


def test_a_prepared_volume_comes_back_from_the_cache_as_it_was(tmp_path, counted):
    scans(tmp_path / "scans")
    first, second = cached(tmp_path)[0], cached(tmp_path)[0]
    assert counted == ["scan_0.nii.gz"]
    assert torch.equal(first.data, second.data) and torch.equal(first.affine, second.affine)
    assert (first.source, first.units, first.attributes) == (second.source, second.units, second.attributes)
    ones = torch.ones(second.shape, dtype=torch.uint8)
    assert torch.equal(first.to_original(ones), second.to_original(ones))


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_kept_intensities_are_off_by_half_a_step_at_most_and_stay_what_they_are(values):
    data = torch.tensor([0.0, 1.0, *values])
    kept = as_kept(volume(data[None, :, None, None], units="prepared")).data.flatten()
    assert kept[:2].tolist() == [0, 1] and torch.equal(kept.unique(), kept.sort().values.unique())
    assert float((kept.double() - data.double()).abs().max()) <= 0.5 / 65535 + 1e-7
    assert torch.equal(as_kept(volume(kept[None, :, None, None], units="prepared")).data.flatten(), kept)


@pytest.mark.parametrize("intensity", ["ct-abdomen", "ct-chest"])
def test_every_hounsfield_unit_of_a_window_comes_back_from_the_cache(tmp_path, intensity):
    low, high = WINDOWS[intensity]
    hu = np.arange(low, high + 1, dtype=np.int16)
    hu = np.pad(hu, (0, len(hu) % 2)).reshape(2, -1, 1).repeat(2, axis=2)
    write(tmp_path / "scan.nii", hu, np.eye(4))
    config = VolumeConfig(intensity, spacing=None, foreground=None)
    for _ in range(2):
        back = VolumeFolder(tmp_path, config, cache=tmp_path / ".cache")[0].data[0] * (high - low) + low
        assert torch.equal(back.round(), torch.from_numpy(hu).float().clamp(low, high))
        assert float((back - back.round()).abs().max()) < 0.012


def test_other_intensities_are_kept_exactly(tmp_path, counted):
    (tmp_path / "scans").mkdir()
    write(tmp_path / "scans" / "scan.nii", np.random.default_rng(0).normal(0, 1e5, SIZE))
    first, second = cached(tmp_path, RAW)[0].data, cached(tmp_path, RAW)[0].data
    assert torch.equal(first, load_volume(tmp_path / "scans" / "scan.nii", RAW).data) and torch.equal(first, second)
    assert counted == ["scan.nii"]


OTHERS = [
    {"intensity": "ct-chest"}, {"intensity": (-175.0, 600.0)}, {"intensity": "mr"}, {"intensity": "none"},
    {"spacing": (3.0, 3.0, 2.0)},
    {"spacing": None}, {"foreground": None}, {"foreground": 0.1}, {"size": (6, 6, 6)}, {"size": None},
]  # fmt: skip


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_another_preparation_never_reads_the_same_entry(tmp_path, counted, changes):
    scans(tmp_path / "scans", 1)
    other = replace(CONFIG, **changes)
    cached(tmp_path)[0]
    found = cached(tmp_path, other)[0].data
    assert len(counted) == 2 and torch.equal(found, as_kept(load_volume(cached(tmp_path).paths[0], other)).data)


def test_a_changed_scan_is_prepared_anew(tmp_path, counted):
    scans(tmp_path / "scans")
    before = cached(tmp_path)[0].data
    write(tmp_path / "scans" / "a" / "scan_0.nii.gz", torso(seed=99))
    assert not torch.equal(cached(tmp_path)[0].data, before) and len(counted) == 2


def test_a_scan_of_the_same_size_and_another_date_is_prepared_anew(tmp_path, counted):
    path = scans(tmp_path / "scans") / "a" / "scan_0.nii.gz"
    cached(tmp_path)[0]
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))
    cached(tmp_path)[0]
    assert len(counted) == 2


def test_a_changed_slice_of_a_series_is_prepared_anew_and_a_cache_in_its_folder_is_none(tmp_path, counted):
    series_folder(tmp_path / "series")
    config = VolumeConfig(spacing=None, foreground=None)

    def draw():
        return VolumeFolder([tmp_path / "series"], config, cache=tmp_path / "series" / ".cache")[0]

    draw(), draw()
    assert len(counted) == 1
    first = min(file for file in (tmp_path / "series").iterdir() if file.is_file())
    os.utime(first, ns=(0, first.stat().st_mtime_ns + 1_000_000))
    draw()
    assert len(counted) == 2


@pytest.mark.filterwarnings("error:Prepared volumes cannot be kept")
def test_two_may_write_one_entry_at_the_same_time(tmp_path, monkeypatch):
    scans(tmp_path / "scans", 1)
    both, write_arrays = threading.Barrier(2, timeout=60), np.savez

    def together(*arguments, **arrays):
        write_arrays(*arguments, **arrays)
        both.wait()

    monkeypatch.setattr(np, "savez", together)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: cached(tmp_path)[0].data, range(2))
    assert torch.equal(one, other) and torch.equal(cached(tmp_path)[0].data, one)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npz"]


@pytest.mark.parametrize("content", [b"", b"broken", b"PK\x03\x04 broken"])
def test_a_broken_entry_is_prepared_anew_and_replaced(tmp_path, counted, content):
    scans(tmp_path / "scans")
    before = cached(tmp_path)[0].data
    next((tmp_path / "cache").iterdir()).write_bytes(content)
    assert torch.equal(cached(tmp_path)[0].data, before) and torch.equal(cached(tmp_path)[0].data, before)
    assert len(counted) == 2


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    """A folder with a cache, the cache's one entry, and the volume that it holds."""
    place = tmp_path_factory.mktemp("damaged")
    scans(place / "scans", 1)
    data = cached(place)[0].data
    return place, next((place / "cache").iterdir()), data


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_entry_with_a_damaged_byte_never_gives_another_volume(entry, data):
    place, path, expected = entry
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert torch.equal(cached(place)[0].data, expected)


def test_an_entry_cut_short_is_prepared_anew(tmp_path, counted):
    scans(tmp_path / "scans")
    before = cached(tmp_path)[0].data
    entry = next((tmp_path / "cache").iterdir())
    entry.write_bytes(entry.read_bytes()[:-40])
    assert torch.equal(cached(tmp_path)[0].data, before) and len(counted) == 2


def test_an_entry_that_holds_code_is_not_run(tmp_path, counted):
    scans(tmp_path / "scans")
    before = cached(tmp_path)[0].data

    class Bomb:
        def __reduce__(self):
            return Path(tmp_path / "ran").touch, ()

    np.savez(next((tmp_path / "cache").iterdir()), data=np.array([Bomb()], dtype=object))
    assert torch.equal(cached(tmp_path)[0].data, before) and not (tmp_path / "ran").exists()


def test_a_failed_write_leaves_no_entry_and_is_warned_about(tmp_path, monkeypatch):
    scans(tmp_path / "scans")

    def full(stream, **arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match=r"cannot be kept in .*cache \(No space left on device\)"):
        assert cached(tmp_path)[0].shape == (8, 8, 8)
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_made_is_warned_about(tmp_path):
    scans(tmp_path / "scans")
    (tmp_path / "cache").write_text("a file")
    with pytest.warns(UserWarning, match="cannot be kept in"):
        assert cached(tmp_path)[0].shape == (8, 8, 8)


# Weight


def test_importing_volumes_loads_no_heavy_library():
    code = "import sys, voco_lite.volumes; print([m for m in ('monai', 'nibabel', 'pydicom', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Real scans


@needs_shared
def test_a_real_ct_is_read_prepared_and_taken_back():
    folder = SHARED / "ct_totalsegmentator"
    raw = load_volume(folder / "abdomen_ct_3mm.nii.gz", labels=folder / "abdomen_labels117_fast.nii.gz")
    liver, spleen = raw.labels == 5, raw.labels == 1
    middle = [torch.nonzero(organ)[:, 0].float().mean() for organ in (liver, spleen)]
    assert middle[0] > middle[1]  # the liver lies on the right, where x is large
    prepared = prepare(raw, VolumeConfig(spacing=(4.0, 4.0, 4.0)))
    back = prepared.to_original(prepared.labels)
    file = np.asarray(nibabel.load(folder / "abdomen_labels117_fast.nii.gz").dataobj)
    assert 2 * ((back.numpy() == 5) & (file == 5)).sum() / ((back == 5).sum() + (file == 5).sum()) > 0.9


@needs_shared
def test_a_real_mr_is_prepared():
    prepared = load_volume(SHARED / "ct_totalsegmentator" / "abdomen_slab_mr_3mm.nii.gz", VolumeConfig("mr"))
    assert 0 == prepared.data.min() < prepared.data.mean() < prepared.data.max() == 1


@needs_shared
def test_a_real_dicom_series_lies_where_its_label_map_says(tmp_path):
    with zipfile.ZipFile(SHARED / "ct_totalsegmentator" / "dicom_series_ct.zip") as archive:
        archive.extractall(tmp_path)
    (folder,) = find_scans(tmp_path)
    read = load_volume(folder, labels=SHARED / "ct_totalsegmentator" / "dicom_series_labels117.nii.gz")
    assert read.shape == (512, 512, 20) and 40 < float(read.data[0][read.labels == 5].mean()) < 150
