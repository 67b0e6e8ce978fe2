"""What a report can say about a subject: facts that are known, and several sentences for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor

from voco_lite.downstream.classes import POPULATION, class_name
from voco_lite.samples.lesions import KINDS, LUNG_KIND
from voco_lite.samples.sources import LESION_ORGANS, LUNGS
from voco_lite.volumes import Volume

T = TypeVar("T")
TOPICS = (*POPULATION, "organs")
CLEAR = "clear"


class Fact(NamedTuple):
    """One thing that is true or not of a scan.

    Attributes:
        topic: "contrast_phase", "body_shape", "lesion", or the name of an organ.
        value: The phase, the shape, "present" or "absent"; of an organ, the kind of a lesion in it, or "clear".
    """

    topic: str
    value: str


# The last wording of each fact is never trained on: examinations use it.
_WHOLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("lesion", "absent"): ("There is no lesion.", "No focal lesion is seen.", "The organs are free of lesions."),
    ("lesion", "present"): ("There is a lesion.", "A focal lesion is seen.", "At least one organ holds a lesion."),
    ("contrast_phase", "native"): (
        "The scan is unenhanced.",
        "No contrast agent was given.",
        "Native CT without contrast.",
    ),
    ("contrast_phase", "arterial"): (
        "The scan shows the arterial phase.",
        "Contrast agent fills the arteries.",
        "CT in arterial contrast phase.",
    ),
    ("contrast_phase", "portal venous"): (
        "The scan shows the portal venous phase.",
        "Contrast agent fills the portal vein.",
        "CT in portal venous contrast phase.",
    ),
    ("contrast_phase", "delayed"): (
        "The scan shows the delayed phase.",
        "Contrast agent is being excreted into the bladder.",
        "CT in delayed contrast phase.",
    ),
    ("body_shape", "slim"): ("The patient is slim.", "The body is thin.", "A slender person."),
    ("body_shape", "average"): ("The patient is of average build.", "The body is of normal size.", "A medium person."),
    ("body_shape", "large"): ("The patient is large.", "The body is big.", "A heavily built person."),
}
_IN_AN_ORGAN = {
    CLEAR: ("The {} has no lesion.", "The {} looks normal.", "The {} is free of lesions."),
    "hypodense": (
        "There is a hypodense lesion in the {}.",
        "The {} holds a dark focus.",
        "A dark lesion lies in the {}.",
    ),
    "hyperdense": (
        "There is a hyperdense lesion in the {}.",
        "The {} holds a bright focus.",
        "A bright lesion lies in the {}.",
    ),
    LUNG_KIND[0]: ("There is a nodule in the {}.", "The {} holds a nodule.", "A round nodule lies in the {}."),
}


def _organ_words(organ: str) -> str:
    """The organ as one writes it: the side in front."""
    *words, last = organ.split("_")
    return " ".join([last, *words] if last in ("left", "right") else [*words, last])


def _all_wordings() -> dict[Fact, tuple[str, ...]]:
    found = {Fact(*fact): wordings for fact, wordings in _WHOLE.items()}
    for organ in LESION_ORGANS:
        for kind in (CLEAR, *((LUNG_KIND[0],) if organ in LUNGS else KINDS)):
            found[Fact(organ, kind)] = tuple(wording.format(_organ_words(organ)) for wording in _IN_AN_ORGAN[kind])
    return found


_WORDINGS = _all_wordings()
FACTS = tuple(_WORDINGS)


@dataclass(frozen=True)
class Report:
    """What is said about a scan.

    Attributes:
        facts: What it states; it fits every scan of which all of them are true.
        sentences: One a fact.
    """

    facts: frozenset[Fact]
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.sentences)


def facts_of(volume: Volume) -> frozenset[Fact]:
    """Everything that is known about a made subject.

    An organ that the scan shows is clear, or has the kinds of its lesions; nothing is said about others.

    Raises:
        ValueError: Not a subject of the sample population, with its labels.
    """
    if volume.labels is None:
        raise ValueError(f"{volume.source} must have labels, got none. Reports are written about made subjects.")
    facts = {Fact(attribute, class_name(volume, attribute)) for attribute in POPULATION}
    lesions = volume.attributes["lesions"]
    facts |= {Fact(lesion["organ"], lesion["kind"]) for lesion in lesions}
    shown = {volume.label_names.get(number) for number in volume.labels.unique().tolist()}
    affected = {lesion["organ"] for lesion in lesions}
    return frozenset(facts | {Fact(organ, CLEAR) for organ in LESION_ORGANS if organ in shown - affected})


def facts_about(facts: Iterable[Fact], topic: str) -> list[Fact]:
    """The facts of a topic, in the order of `FACTS`, which does not depend on hashes.

    Raises:
        ValueError: There is none.
    """
    held = frozenset(facts)
    about = [fact for fact in FACTS if fact in held and (fact.topic if fact.topic in POPULATION else "organs") == topic]
    if not about:
        raise ValueError(f"Something must be known about {topic!r}, got {sorted(held)}. Take it out of the topics.")
    return about


def wordings(fact: Fact) -> tuple[str, ...]:
    """The sentences that training says a fact with."""
    return _WORDINGS[fact][:-1]


def unseen_wording(fact: Fact) -> str:
    """The sentence that examinations say a fact with; training never does."""
    return _WORDINGS[fact][-1]


def draw_report(facts: Iterable[Fact], topics: Sequence[str], generator: torch.Generator) -> Report:
    """A report for training, about one or more topics in any order, in any wording that may be trained on.

    Args:
        facts: True of the subject.
        topics: What may be talked about, of `TOPICS`; "organs" says one thing about one organ.
        generator: Every chance comes from it.
    """
    order = torch.randperm(len(topics), generator=generator).tolist()
    most = 1 + int(torch.randint(len(topics), (), generator=generator))
    known = [facts_about(facts, topics[index]) for index in order[:most]]
    stated = [_choose(options, generator) for options in known]
    return Report(frozenset(stated), tuple(_choose(wordings(fact), generator) for fact in stated))


def full_report(facts: Iterable[Fact], topics: Sequence[str]) -> Report:
    """Everything that is to be said, in wordings that training never saw; clear organs only where nothing else is."""
    known = [fact for topic in topics for fact in facts_about(facts, topic)]
    stated = [fact for fact in known if fact.value != CLEAR] or known
    return Report(frozenset(stated), tuple(unseen_wording(fact) for fact in stated))


def marks(facts: Iterable[Fact]) -> Bool[Tensor, " facts"]:
    """Which of `FACTS` are among these."""
    held = frozenset(facts)
    return torch.tensor([fact in held for fact in FACTS])


def _choose(options: Sequence[T], generator: torch.Generator) -> T:
    return options[int(torch.randint(len(options), (), generator=generator))]
