"""Findings sentences: what is known about a subject, said in several ways, always truly."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_reports import lesion, scan
from voco_lite.config import PretrainConfig
from voco_lite.downstream.sentences import (
    CLEAR,
    FACTS,
    TOPICS,
    Fact,
    draw_report,
    facts_about,
    facts_of,
    full_report,
    marks,
    unseen_wording,
    wordings,
)
from voco_lite.samples import phantoms

SEEDS = st.integers(0, 2**32 - 1)
SOME_TOPICS = st.lists(st.sampled_from(TOPICS), min_size=1, unique=True)
LESIONS = st.lists(
    st.sampled_from([lesion("liver"), lesion("liver", "hyperdense"), lesion("lung_upper_lobe_left", "nodule")]),
    max_size=3,
)


def drawn(facts, topics, seed):
    return draw_report(facts, topics, torch.Generator().manual_seed(seed))


def meaning(sentence):
    """Every fact that some wording says with this sentence."""
    return [fact for fact in FACTS if sentence in (*wordings(fact), unseen_wording(fact))]


def test_every_sentence_says_one_fact_and_no_other():
    for fact in FACTS:
        said = (*wordings(fact), unseen_wording(fact))
        assert len(said) >= 3 and len(set(said)) == len(said)
        assert all(meaning(sentence) == [fact] for sentence in said)


def test_known_facts_of_a_scan():
    facts = facts_of(scan(6, [lesion("liver"), lesion("liver", "hyperdense")]))
    assert facts == {
        Fact("contrast_phase", "portal venous"),
        Fact("body_shape", "slim"),
        Fact("lesion", "present"),
        Fact("liver", "hypodense"),
        Fact("liver", "hyperdense"),
        Fact("kidney_right", CLEAR),
        Fact("lung_upper_lobe_left", CLEAR),
    }


def test_an_organ_that_is_not_shown_is_not_called_clear():
    topics = {fact.topic for fact in facts_of(scan(0))}
    assert "kidney_right" in topics and not topics & {"spleen", "pancreas"}


def test_facts_of_the_population_are_what_is_known_about_it():
    for subject in phantoms(3, PretrainConfig.preset("ci").volume):
        facts = facts_of(subject)
        assert facts <= set(FACTS)
        assert Fact("contrast_phase", subject.attributes["contrast_phase"]) in facts
        assert Fact("body_shape", subject.attributes["body_shape"]["name"]) in facts
        for found in subject.attributes["lesions"]:
            assert Fact(found["organ"], found["kind"]) in facts and Fact(found["organ"], CLEAR) not in facts


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 50), LESIONS, SOME_TOPICS, SEEDS)
def test_a_drawn_report_is_true_and_says_one_thing_a_topic(subject, lesions, topics, seed):
    facts = facts_of(scan(subject, lesions, size=(4, 4, 4)))
    report = drawn(facts, topics, seed)
    assert report.facts <= facts and 1 <= len(report.sentences) == len(report.facts) <= len(topics)
    assert {fact for sentence in report.sentences for fact in meaning(sentence)} == report.facts


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 50), LESIONS, SOME_TOPICS, SEEDS)
def test_training_never_uses_the_wordings_of_the_examination(subject, lesions, topics, seed):
    facts = facts_of(scan(subject, lesions, size=(4, 4, 4)))
    examined = {unseen_wording(fact) for fact in FACTS}
    assert not examined & set(drawn(facts, topics, seed).sentences)
    assert set(full_report(facts, topics).sentences) <= examined


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 50), SOME_TOPICS, SEEDS)
def test_the_same_generator_draws_the_same_report_whatever_the_order_of_facts(subject, topics, seed):
    facts = facts_of(scan(subject, size=(4, 4, 4)))
    assert drawn(facts, topics, seed) == drawn(sorted(facts), topics, seed) == drawn(sorted(facts)[::-1], topics, seed)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), SEEDS)
def test_a_report_names_no_subject(subject, seed):
    volume = replace(scan(subject, size=(4, 4, 4)), source=f"patient Miller {subject}")
    said = f"{drawn(facts_of(volume), TOPICS, seed)} {full_report(facts_of(volume), TOPICS)}"
    assert "Miller" not in said and not any(letter.isdigit() for letter in said)


def test_every_wording_and_number_of_topics_is_drawn():
    facts = facts_of(scan(1))
    reports = [drawn(facts, TOPICS, seed) for seed in range(300)]
    assert {len(report.sentences) for report in reports} == set(range(1, len(TOPICS) + 1))
    assert {s for r in reports for s in r.sentences} == {wording for fact in facts for wording in wordings(fact)}


def test_a_full_report_speaks_of_clear_organs_only_where_it_says_nothing_else():
    healthy, ill = facts_of(scan(0, [])), facts_of(scan(0, [lesion("liver")]))
    assert full_report(ill, ("organs",)).facts == {Fact("liver", "hypodense")}
    assert full_report(healthy, ("lesion", "organs")).facts == {Fact("lesion", "absent")}
    assert {fact.value for fact in full_report(healthy, ("organs",)).facts} == {CLEAR}


def test_a_report_reads_as_a_text():
    said = str(full_report(facts_of(scan(1)), ("contrast_phase", "organs")))
    assert said == "CT in arterial contrast phase. A dark lesion lies in the liver."
    assert "right kidney" in unseen_wording(Fact("kidney_right", CLEAR))


def test_marks_are_places_among_all_facts():
    chosen = [FACTS[3], FACTS[0]]
    assert marks(chosen).nonzero().flatten().tolist() == [0, 3]


def test_a_scan_about_which_nothing_is_known_is_refused():
    with pytest.raises(ValueError, match="scan 0 must have labels"):
        facts_of(replace(scan(0), labels=None))
    with pytest.raises(ValueError, match="must have the attribute 'lesion'"):
        facts_of(replace(scan(0), attributes={}))
    with pytest.raises(ValueError, match="known about 'organs'"):
        facts_about([Fact("lesion", "absent")], "organs")
