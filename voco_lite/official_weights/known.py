"""The files that the VoCo authors released, and how to recognise them.

Names and digests: Hugging Face repository `Luffy503/VoCo` (licence Apache-2.0) and, for MD5, the registry of kaiko
eva. Two files have no published digest, so that their content cannot be verified.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = "Luffy503/VoCo"
URL = f"https://huggingface.co/{REPOSITORY}/resolve/main/"


@dataclass(frozen=True)
class KnownFile:
    """A released file.

    Attributes:
        name: Its name in the repository.
        encoder: Name of the encoder that it fits.
        sha256: Digest of the whole file; None: none was published.
        md5: Second digest, where one is published.
        megabytes: Size, in 10^6 bytes, rounded; None: not published.
        content: What it holds.
    """

    name: str
    encoder: str
    sha256: str | None
    md5: str | None
    megabytes: int | None
    content: str

    @property
    def size(self) -> str:
        """Its size in words."""
        return "size unknown" if self.megabytes is None else f"{self.megabytes} MB"

    @property
    def digest(self) -> str:
        """Its SHA-256 in words."""
        return "no published digest" if self.sha256 is None else f"sha256 {self.sha256}"


_SSL = "encoder, self-supervised; no projector and no decoder"
_OMNI = "encoder and decoder with 21 outputs, trained on VoComni"
KNOWN_FILES = {
    file.name: file
    for file in (
        KnownFile("VoCo_B_SSL_head.pt", "swin-b", "06664b629e73a25aacfaf9e0dd3f2df36f93a9f60f0bf8cf4d8b5cc95cd01298",
                  "f80c4da2f81d700bdae3df188f2057eb", 220, _SSL),
        KnownFile("VoCo_L_SSL_head.pt", "swin-l", "47d3646523d93c42d6ed2ada3fc20735af5e414f940b10b910a38ac8db025aec",
                  "795095d1d43ef3808ec4c41798310136", 856, _SSL),
        KnownFile("VoCo_H_SSL_head.pt", "swin-h", "a88216d079191bf7c81319ab468e0f45a0c2e7d3eb46f5964f34a3e1e6a6f4a3",
                  "76f95a474736b60bf5b8aad94643744d", 3397, _SSL),
        KnownFile("VoComni_B.pt", "swin-b", "b3b3e2710eb5c8f08f0e0b54eb0791537f70efc95f725b83d8bb0389ab0dc4a6",
                  None, 299, _OMNI),
        KnownFile("VoComni_L.pt", "swin-l", "03c43e26df671b1036cae55d0fc0e09c1d837b1f1e09928ac62f6fdc2672f63a",
                  None, 1170, _OMNI),
        KnownFile("VoComni_H.pt", "swin-h", "6863af6b5a1f05a2650c867418bb25b30dc951ae63153caa317aac14632bb47a",
                  None, 4650, _OMNI),
        KnownFile("VoComni_nnunet.pt", "plain-conv", None, None, None, "nnU-Net's plain U-Net, trained on VoComni"),
        KnownFile("VoCo_10k.pt", "swin-b", None, None, None, "training checkpoint of the 2024 code"),
    )
}  # fmt: skip


def identify(file: str | Path) -> tuple[KnownFile | None, str]:
    """The released file that this one is, by its digests, and its SHA-256; None: it is none of them.

    Raises:
        FileNotFoundError: There is no such file.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no weight file {path}. Download one from {URL}, for example {next(iter(KNOWN_FILES))}."
        )
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            sha256.update(block)
            md5.update(block)
    for known in KNOWN_FILES.values():
        if known.sha256 == sha256.hexdigest() and known.md5 in (None, md5.hexdigest()):
            return known, sha256.hexdigest()
    return None, sha256.hexdigest()


def require_own_digest(file: str | Path, known: KnownFile | None, sha256: str) -> None:
    """Refuse a file that bears a released name and is not that file.

    Raises:
        ValueError: The name has a published digest, and the file another one.
    """
    named = KNOWN_FILES.get(Path(file).name)
    if named is not None and named.sha256 is not None and named is not known:
        raise ValueError(
            f"{file} should be {named.name} with SHA-256 {named.sha256}, got {sha256}. "
            "Download it again; or, if you trust its origin, pass allow_unverified=True."
        )


def origin(file: str | Path, known: KnownFile | None) -> str:
    """Whether a file is a released one, in words."""
    if known is not None:
        return f"released file {known.name}"
    named = KNOWN_FILES.get(Path(file).name)
    if named is not None and named.sha256 is None:
        return "unverified: no published digest"
    return "unverified: no released file"
