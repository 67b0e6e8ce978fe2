"""What a weight file is, in a few lines, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from voco_lite.encoders.swin import FEATURE_SIZES
from voco_lite.official_weights.known import identify, origin
from voco_lite.official_weights.reading import read_weights


def describe_weights(file: str | Path) -> str:
    """Identity, tensors, fitting encoder, input channels and decoder of a weight file, as printable lines.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read safely, or holds no tensors.
    """
    known, sha256 = identify(file)
    state, record = read_weights(file)
    numbers = sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())
    lines = [
        f"{Path(file).name}: {origin(file, known)}{f' ({known.content})' if known else ''}",
        f"  SHA-256   {sha256}",
        f"  tensors   {len(state)}, {numbers / 1e6:.1f} million numbers",
    ]
    embedding = state.get("swinViT.patch_embed.proj.weight")
    if embedding is None:
        return "\n".join([*lines, "  encoder   no Swin encoder"])
    size, channels = embedding.shape[:2]
    name = next((name for name, feature_size in FEATURE_SIZES.items() if feature_size == size), "none here")
    outputs = state.get("out.conv.conv.weight")
    decoder = "none" if outputs is None else f"{outputs.shape[0]} outputs"
    return "\n".join(
        [
            *lines,
            f"  encoder   feature size {size} ({name}), {channels} input channel(s)",
            f"  decoder   {decoder}",
            f"  merging   {record.get('merging', 'legacy, as in all released code')}",
        ]
    )
