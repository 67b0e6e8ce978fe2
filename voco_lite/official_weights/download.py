"""Released weights from the internet, checked, when there is one."""

from __future__ import annotations

from pathlib import Path

from voco_lite.official_weights.known import KNOWN_FILES, REPOSITORY, URL, identify


def download_official_weights(name: str = "VoCo_B_SSL_head.pt", folder: str | Path | None = None) -> Path:
    """Fetch a released file from Hugging Face, or find it in the cache, and check its digests.

    Args:
        name: A key of `KNOWN_FILES`, with a published digest.
        folder: Where to put it; None: the cache of `huggingface_hub`.

    Raises:
        ValueError: Unknown name, or a file with other digests than the released one.
        ConnectionError: The file is not at hand and cannot be fetched.
    """
    if name not in KNOWN_FILES:
        raise ValueError(
            f"name must be one of {', '.join(KNOWN_FILES)}, got {name!r}. B fits swin-b, L swin-l, H swin-h."
        )
    if KNOWN_FILES[name].sha256 is None:
        raise ValueError(
            f"name must be a file with a published digest, got {name!r}. Download it yourself and give its path."
        )
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(REPOSITORY, name, local_dir=folder))
    except Exception as error:  # the client's own errors, and those of its HTTP library, which changed with versions
        raise ConnectionError(
            f"{name} ({KNOWN_FILES[name].size}) could not be fetched ({type(error).__name__}). Download it "
            f"elsewhere from {URL}{name} and give its path to load_official_weights."
        ) from error
    known, sha256 = identify(path)
    if known is None or known.name != name:
        raise ValueError(
            f"{path} should be {name} with SHA-256 {KNOWN_FILES[name].sha256}, got {sha256}. "
            "The download is damaged or the file was changed: delete it and try again."
        )
    return path
